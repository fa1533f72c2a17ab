"""The page Samples and traversals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saescope.store import FeatureStore
from tests.dashboard.pages import components, run_page, texts
from tests.small_stores.making import saescope

DIGITS = ("--images", "embedded:digits")


@pytest.fixture(scope="module")
def vae_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae")
    small = ("--n-features", 6, "--steps", 60, "--batch-size", 64, "--encoder-widths", 32, "--loss", "bce")
    sweep = ("--values", "0.5,4", "--store", folder / "store", "--name", "vae")
    saescope("sweep", *DIGITS, "--arch", "variational", *small, *sweep)
    return folder / "store"


def matrices(at: Any) -> dict[str, dict[str, Any]]:
    return {found["label"]: found for found in components(at, "saescope_picture_matrix")}


def test_a_sweep_varies_beta(vae_store: Path) -> None:
    with FeatureStore(vae_store) as store:
        found = {entry.sae_id: entry.manifest.sweep for entry in store.entries()}
        assert sorted(s["value"] for s in found.values()) == [0.5, 4.0]
        assert {s["parameter"] for s in found.values()} == {"beta"}
        kl = [entry.metrics["kl_prior"] for entry in sorted(store.entries(), key=lambda e: e.manifest.sweep["value"])]
    assert kl[0] > kl[1]


def test_samples_traversals_and_interpolations_are_shown(vae_store: Path) -> None:
    with FeatureStore(vae_store) as store:
        entry = store.entries()[0]
        order = entry.generated("traversal_mean")["feature_id"].to_pylist()[::7]
        sample = entry.sample_item_ids()
    at = run_page("generated", vae_store, sae=entry.sae_id)
    (tiles,) = components(at, "saescope_picture_tiles")
    assert len(tiles["tiles"]) == 64
    shown = matrices(at)
    rows = shown["Pictures as one unit moves"]["rows"]
    assert [row["heading"]["title"] for row in rows] == [f"#{unit}" for unit in order]
    assert [column["title"] for column in shown["Pictures as one unit moves"]["columns"]][1:4] == ["-3", "-2", "-1"]
    assert [[len(cell["pictures"]) for cell in row["cells"]] for row in rows] == [[1] * 7] * 6
    ways = shown["Pictures on the way from one item to another"]["rows"]
    assert [[len(cell["pictures"]) for cell in row["cells"]] for row in ways] == [[1] * 8] * 8
    assert ways[0]["cells"][0]["pictures"][0]["tip"] == f"item {sample[0]}"
    assert "units are used (KL above 0.01 nats)" in texts(at)
    assert "ELBO" in texts(at)
    elsewhere = run_page("generated", vae_store, sae=entry.sae_id, at="traversal_item")
    assert f"the code of item {sample[0]}" in texts(elsewhere)
    sheets = [matrices(page)["Pictures as one unit moves"]["sheets"] for page in (at, elsewhere)]
    assert sheets[0] != sheets[1]


def test_entries_without_are_told(digits_store: Path) -> None:
    at = run_page("generated", digits_store, sae="digits-relu")
    assert "Only variational autoencoders of images have a prior" in texts(at)
