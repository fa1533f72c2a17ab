"""Every table of the fixture store against brute force over its dense codes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from saescope.store import Entry, FeatureStore
from saescope.store.read.atoms import Weights
from tests import reference
from tests.store.digits_sae import Data, Floats, digits


def dense_codes(entry: Entry) -> tuple[Data, Floats, Floats]:
    """The data of an entry, its dense codes and reconstruction, computed from the published weights."""
    source = entry.manifest.source
    data = digits(source["patch"], source["stride"])
    weights = Weights(entry.paths.weights)
    z = np.maximum(data.x @ weights.tensor("W_enc") + weights.tensor("b_enc"), 0)
    if entry.manifest.architecture == "topk":
        k = entry.table("item_codes")["feature_ids"].to_pylist()
        limit = max(len(ids) for ids in k)
        np.put_along_axis(z, np.argpartition(-z, limit, axis=1)[:, limit:], 0, axis=1)
    return data, z, z @ weights.tensor("W_dec") + weights.tensor("b_dec")


@pytest.mark.parametrize("sae_id", ["digits-topk-k4", "digits-relu", "digits-patches"])
def test_every_table_equals_brute_force(store: FeatureStore, sae_id: str) -> None:
    entry = store[sae_id]
    data, codes, rebuilt = dense_codes(entry)
    items = np.repeat(np.arange(len(data.images)), data.n_positions_per_item)
    positions = np.tile(np.arange(data.n_positions_per_item), len(data.images))

    features = entry.table("features").to_pylist()
    for row, truth in zip(features, reference.feature_statistics(codes, entry.manifest.histogram_edges), strict=True):
        for name, value in truth.items():
            assert row[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name
        counts = reference.interval_counts(codes[:, row["feature_id"]], row["interval_lower"])
        assert row["interval_counts"] == counts

    top, sampled = defaultdict(list), 0
    for row in entry.table("examples").to_pylist():
        i = row["item_id"] * data.n_positions_per_item + row["position"]
        assert row["activation"] == codes[i, row["feature_id"]]
        if row["kind"] == "top":
            top[row["feature_id"]].append((row["item_id"], row["position"], row["activation"]))
        else:
            sampled += 1
            lower = features[row["feature_id"]]["interval_lower"]
            assert row["interval"] == reference.interval_of(row["activation"], lower)
        if row["window_activations"] is not None:
            start = row["item_id"] * data.n_positions_per_item
            window = codes[start : start + data.n_positions_per_item, row["feature_id"]]
            assert row["window_activations"] == window.tolist()
    assert sampled
    truth_top = reference.top_examples(codes, items, positions, k=20)
    assert [top[i] for i in range(entry.n_features)] == truth_top

    atoms = entry.atoms()
    for i, near in enumerate(reference.neighbours(atoms, k=3)):
        got = entry.neighbours(i)[:3]
        assert [n.cosine for n in got] == pytest.approx([cosine for _, cosine in near], abs=1e-6)
    for i, often in enumerate(reference.coactivations(codes, k=5)):
        got_often = [(c.other_id, c.n_both, pytest.approx(c.jaccard)) for c in entry.coactivations(i)[:5]]
        assert got_often == often

    truth_metrics = reference.metrics(codes, data.x, rebuilt)
    assert {"l0", "fvu", "cosine", "n_dead"} <= set(entry.metrics)
    assert entry.metrics == pytest.approx({name: truth_metrics[name] for name in entry.metrics}, rel=1e-5)
