"""Photographs every page of the dashboard for the README.

    saescope demo --llm --no-serve --store saescope-demo
    python docs/make_pictures.py [--store saescope-demo] [--port 8598] [--only anomalies family]

Without a language model in the store, its two pictures are left as they are. Needs Playwright and a Chromium
($CHROMIUM, or the one on the path). Writes docs/pictures/*.png.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from saescope.dashboard import server
from saescope.store import Entry, FeatureStore

PICTURES = Path(__file__).parent / "pictures"
WIDTH, HEIGHT, SHORTEST = 1280, 900, 560
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
IDLE = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  return app && app.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid="stSkeleton"], [data-testid="stSpinner"]')
    && [...document.images].every(i => i.complete)
}"""
PROMPT = "def mean(numbers):\n    return sum(numbers) / len(numbers)"
BOTTOM = """() => Math.max(0, ...[...document.querySelectorAll('[data-testid="stElementContainer"]')]
  .map(e => e.getBoundingClientRect().bottom))"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("saescope-demo"))
    parser.add_argument("--port", type=int, default=8598)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="pictures to take; all if left out")
    options = parser.parse_args()
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        parser.error("no Chromium is installed; set CHROMIUM to one")
    PICTURES.mkdir(exist_ok=True)
    addresses = pages(FeatureStore(options.store))
    running = server.start(options.store, "127.0.0.1", options.port)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            for name, address in addresses.items():
                if options.only and name not in options.only:
                    continue
                photograph(page, f"http://127.0.0.1:{options.port}/{address}", PICTURES / f"{name}.png")
            browser.close()
    finally:
        server.stop(running)
    return 0


def pages(store: FeatureStore) -> dict[str, str]:
    """Picture -> address, on SAEs and a feature that show something."""
    entries = store.entries()
    digits = closest_l0([e for e in entries if e.manifest.source["kind"] == "pixels"], 4)
    denoiser = next(e for e in entries if e.noise_levels())
    patches = closest_l0([e for e in entries if e.manifest.source["kind"] == "patches"], 8)
    texts = [e for e in entries if e.manifest.source["kind"] == "tokens"]
    found = {
        "library": "library",
        "sparsity": f"sparsity?sae={digits.sae_id}",
        "features": f"features?sae={digits.sae_id}",
        "feature": f"feature?sae={digits.sae_id}&feature={telling_feature(digits)}",
        "atoms": f"atoms?sae={patches.sae_id}",
        "health": f"health?sae={digits.sae_id}",
        "reconstructions": f"reconstructions?sae={digits.sae_id}",
        "denoising": f"reconstructions?sae={denoiser.sae_id}",
        "family": f"family?sae={digits.sae_id}",
        "anomalies": f"anomalies?report={store.anomaly_names()[0]}",
    }
    if texts:
        read = closest_l0(texts, 32)
        found["text-feature"] = f"feature?sae={read.sae_id}&feature={telling_feature(read)}"
        found["probe"] = f"probe?sae={read.sae_id}&prompt={quote(PROMPT)}"
    return found


def closest_l0(entries: list[Entry], wanted: float) -> Entry:
    """The entry whose L0 comes closest to `wanted`."""
    return min(entries, key=lambda e: abs((e.metrics["l0"] or 0) - wanted))


def telling_feature(entry: Entry) -> int:
    """The feature whose automatic label is the most precise among those that fire often."""
    rows = entry.table("features").to_pylist()
    labelled = [r for r in rows if r["auto_label"] and r["n_firing"] >= 50]
    best = max(labelled or rows, key=lambda r: (r["label_precision"] or 0, r["n_firing"]))
    return int(best["feature_id"])


def photograph(page: Page, address: str, out: Path) -> None:
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_function(IDLE, timeout=60_000)
    page.wait_for_timeout(1500)  # charts draw after the script has run
    page.wait_for_function(IDLE, timeout=60_000)
    bottom = min(HEIGHT, max(SHORTEST, int(page.evaluate(BOTTOM)) + 24))
    page.screenshot(path=str(out))
    with Image.open(out, formats=("PNG",)) as picture:
        picture.convert("RGB").crop((0, 0, WIDTH, bottom)).save(out, optimize=True)
    print(f"{out.name}: {out.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
