"""A store of a vision model's patches: what is stored is what the model and the SAE say of each patch."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saescope.precompute import build_entry
from saescope.store import FeatureStore
from tests.precompute.small_builds import codes_seen, make_sae, save_sae
from tests.sources.hooked.test_vision import pictures, save, source_of

N_PREFIX, N_PATCHES = 3, 9


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAESCOPE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("special", ["out", "in"])
def test_what_is_stored_of_patches_is_what_the_model_and_the_sae_say(tmp_path: Path, special: str) -> None:
    images = pictures(120)
    source = source_of(save("dinov2-registers", tmp_path / "m"), images, special_positions=special)
    sae = make_sae("relu", source)
    codes, _, items, positions = codes_seen(sae, source)
    at = {(item, position): row for row, (item, position) in enumerate(zip(items, positions, strict=True))}
    per_item = N_PATCHES + (N_PREFIX if special == "in" else 0)
    assert len(codes) == 120 * per_item
    build_entry(save_sae(sae, tmp_path / "sae"), source, tmp_path / "store", sae_id="patches")
    with FeatureStore(tmp_path / "store") as store:
        entry = store["patches"]
        assert entry.n_positions == len(codes)
        n_firing = entry.table("features")["n_firing"].to_numpy()
        np.testing.assert_array_equal(n_firing, (codes > 0).sum(axis=0))
        examples = entry.table("examples").to_pylist()
        assert examples
        for example in examples:
            feature, item, position = example["feature_id"], example["item_id"], example["position"]
            assert special == "in" or position >= N_PREFIX
            assert example["activation"] == codes[at[item, position], feature]
            assert example["window_start"] == 0
            window = [float(codes[at[item, p], feature]) if (item, p) in at else 0.0 for p in range(12)]
            assert example["window_activations"] == window
        rows = entry.table("item_codes").to_pylist()
        assert {row["position"] for row in rows} == {p for _, p in at}
        for row in rows:
            fired = codes[at[row["item_id"], row["position"]]]
            assert sorted(row["feature_ids"]) == np.flatnonzero(fired).tolist()
        shown = entry.items([row["item_id"] for row in rows][:1])
        with Image.open(io.BytesIO(shown["image"][0].as_py())) as picture:
            np.testing.assert_array_equal(np.asarray(picture), images[shown["item_id"][0].as_py()])
        assert entry.manifest.source["grid"] == [3, 3]
        assert not entry.has_table("reconstructions")
