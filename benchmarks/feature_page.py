"""How long the Feature page takes from a click to the next feature on the screen, in Chromium and on the server.

    python benchmarks/feature_page.py STORE [SAE_ID] [--moves 20]

STORE may be any store; `saescope sweep --images embedded:photos --patch 8 --arch topk --n-features 16384 --values 32
--steps 20 --store STORE --name big` makes one with many features. Prints the milliseconds from a click (on "next", and
on the first of the nearest features) until the new title and the new atom or examples are drawn and the app is idle,
and the CPU time of one run of the page on the server. Needs the extra `test` and a Chromium (CHROMIUM, or
/usr/bin/chromium).
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from streamlit.testing.v1 import AppTest

from saescope.dashboard import navigation, server
from saescope.store import FeatureStore

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]

MOVE = r"""(chip) => new Promise((done) => {
  const start = performance.now();
  const title = () => document.querySelector(".st-key-feature-title h3").textContent;
  const roots = () => [...document.querySelectorAll("[data-testid=stBidiComponentIsolated]")].map((e) => e.shadowRoot);
  const before = title();
  const near = document.querySelector(".st-key-_feature_neighbours [data-testid=stBidiComponentIsolated]");
  const target = chip ? near.shadowRoot.querySelector("a")
                      : document.querySelector(".st-key-_feature_next button");
  target.click();
  const look = () => {
    const number = title().match(/#0*(\d+)/)[1];
    const atoms = roots().flatMap((r) => [...(r?.querySelectorAll(".tile") ?? [])]);
    const texts = roots().flatMap((r) => [...(r?.querySelectorAll("a.meta") ?? [])]);
    const drawn = atoms.some((tile) => tile._tip?.startsWith(`atom of feature ${number}\n`))
      || texts.some((link) => link.search.includes(`feature=${number}&`));
    const idle = document.querySelector("[data-testid=stApp]").dataset.testScriptState === "notRunning";
    if (title() !== before && drawn && idle) requestAnimationFrame(() => done(performance.now() - start));
    else if (performance.now() - start > 30000) done(-1);
    else requestAnimationFrame(look);
  };
  look();
})"""


def moves(page: Page, chip: bool, n: int) -> list[float]:
    """Milliseconds of `n` moves."""
    taken = []
    for _ in range(n):
        taken.append(float(page.evaluate(MOVE, chip)))
        page.wait_for_timeout(200)
    assert min(taken) > 0, "a move did not finish within 30 s"
    return taken


def server_cpu(store: Path, sae_id: str, n: int) -> list[float]:
    """CPU milliseconds of `n` whole runs of the page, each for another feature."""
    os.environ[server.STORE_VARIABLE] = str(store)
    navigation.HOME = "feature"
    app = AppTest.from_file(str(Path(server.__file__).with_name("app.py")), default_timeout=60)
    app.query_params["sae"] = sae_id
    taken = []
    for feature in range(n + 1):
        app.query_params["feature"] = str(feature)
        start = time.process_time()
        app.run()
        taken.append((time.process_time() - start) * 1e3)
        assert not app.exception
    return taken[1:]


def show(name: str, taken: list[float]) -> None:
    worst = sorted(taken)[round(0.95 * (len(taken) - 1))]
    print(f"{name:34s} median {statistics.median(taken):6.0f} ms   95 % {worst:6.0f} ms   n {len(taken)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("sae_id", nargs="?")
    parser.add_argument("--moves", type=int, default=20)
    options = parser.parse_args()
    with FeatureStore(options.store) as store:
        entry = store[options.sae_id or store.ids()[0]]
        sae_id, n_features = entry.sae_id, entry.n_features
    print(f"{sae_id}: {n_features:,} features; load of this machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        server.command("127.0.0.1", port),
        env={**os.environ, server.STORE_VARIABLE: str(options.store)},
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        with sync_playwright() as playwright:
            executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
            browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"http://127.0.0.1:{port}/feature?sae={sae_id}&feature=0")
            page.locator(".st-key-_feature_neighbours a").first.wait_for(timeout=60_000)
            page.wait_for_timeout(1_000)
            show("click on 'next' to drawn", moves(page, False, options.moves))
            show("click on a near feature to drawn", moves(page, True, options.moves))
            browser.close()
    finally:
        process.terminate()
        process.wait(timeout=30)
    show("one run on the server (CPU)", server_cpu(options.store, sae_id, options.moves))


if __name__ == "__main__":
    main()
