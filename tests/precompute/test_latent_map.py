"""Codes of two or three units are kept whole, for a larger sample of items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saescope.autoencoders import architecture
from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.tables import item_samples
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from tests.precompute.small_builds import codes_seen, digits, save_sae


@pytest.mark.parametrize(
    ("n_features", "patch", "most", "name"),
    [
        (2, None, 10_000, "abstopk"),
        (3, None, 100, "abstopk"),
        (3, 4, 130, "abstopk"),
        (4, None, 9, "abstopk"),
        (2, 4, 130, "contractive"),  # what does not fire is part of the code too
    ],
)
def test_the_map_holds_the_whole_codes_of_its_items(
    n_features: int, patch: int | None, most: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_samples, "MAPPED_POSITIONS", most)
    source = digits(patch)
    kind = architecture(name)
    own = {"k": 2} if name == "abstopk" else {}
    sae = kind.module(kind.config(d_in=source.d_in, n_features=n_features, **own)).requires_grad_(False)
    torch.manual_seed(0)
    for tensor in sae.tensors().values():
        tensor.copy_(torch.randn(tensor.shape))
    checkpoint = save_sae(sae, tmp_path / "sae")
    build_entry(checkpoint, source, tmp_path / "store", sae_id="it", options=BuildOptions(n_sample_items=4))
    assert verify(tmp_path / "store") == []
    entry = FeatureStore(tmp_path / "store")["it"]
    table = entry.latent_map()
    if n_features == 4:
        assert table is None
        return
    codes, _, items, positions = codes_seen(sae, source)
    expected = dict(zip(zip(items.tolist(), positions.tolist(), strict=True), codes, strict=True))
    assert table.num_rows == min(most // source.positions_per_item * source.positions_per_item, len(codes))
    labels = source.metadata()["label"].to_pylist()
    for row in table.to_pylist():
        code = expected[row["item_id"], row["position"]]
        np.testing.assert_allclose(row["values"], code, rtol=0 if name == "abstopk" else 1e-5)
        assert row["label"] == str(labels[row["item_id"]])
    assert len(set(entry.sample_item_ids())) == 4
