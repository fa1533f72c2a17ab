"""Sparse probing on sources where the answer is known, and against plain scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig
from saescope.evaluation import judge
from saescope.metrics import sparse_probing
from saescope.metrics.sparse_probing import plan_probe
from saescope.sources import SourceOptions, open_source
from saescope.sources.activations.shards import Shards
from saescope.sources.activations.source import ActivationSource
from saescope.store.errors import UserError
from tests.precompute.small_builds import codes_seen, make_sae
from tests.precompute.small_texts import MemoryTexts

WORDS = np.array(["red", "green", "blue"])


class Marked(ActivationSource):
    """Noise in which, at one position of each item, dimension j is large where the item's colour is j."""

    def __init__(self, colours: np.ndarray, columns: Mapping[str, Any], groups: np.ndarray | None = None) -> None:
        rng = np.random.default_rng(0)
        x = rng.uniform(0, 1, (len(colours), 4, 6)).astype(np.float32)
        x[np.arange(len(colours)), rng.integers(0, 4, len(colours)), colours] = 5
        super().__init__(Shards([x], [False]), None, path="marked", format="npy")
        self._columns = dict(columns)
        if groups is not None:
            self.groups = groups

    def metadata(self) -> Mapping[str, Any]:
        return self._columns


def marked(n: int = 120, **columns: Any) -> Marked:
    colours = np.random.default_rng(1).integers(0, 3, n)
    return Marked(colours, {"colour": pa.array(WORDS[colours]), **columns})


def identity(d: int = 6) -> ReluAutoencoder:
    sae = ReluAutoencoder(ReluConfig(d_in=d, n_features=d))
    with torch.no_grad():
        sae.encoder.copy_(torch.eye(d))
        sae.W_dec.copy_(torch.eye(d))
    return sae


def probed(metrics: dict[str, float | None]) -> dict[str, float | None]:
    return {name: v for name, v in metrics.items() if name.startswith("probe_")}


def test_a_feature_that_equals_the_label_is_found_and_ranks_all_items() -> None:
    found = probed(judge(identity(), marked(), probes=["colour"]).metrics)
    expected = {f"probe_auc_k{k}.colour{value}" for k in (1, 5, 16) for value in ("", *(f".{w}" for w in WORDS))}
    assert set(found) == expected
    assert all(found[f"probe_auc_k1.colour.{w}"] == 1 for w in WORDS)
    assert found["probe_auc_k1.colour"] == 1


def test_labels_by_chance_are_not_predicted() -> None:
    by_chance = pa.array(np.random.default_rng(2).integers(0, 2, 2000).astype(str))
    found = probed(judge(identity(), marked(2000, other=by_chance), probes=["other"]).metrics)
    assert all(v is not None and abs(v - 0.5) < 0.08 for v in found.values())


@pytest.mark.parametrize("name", ["topk", "relu", "jumprelu"])
def test_against_scikit_learn_on_digits(name: str) -> None:
    source: Any = open_source(SourceOptions(images="embedded:digits", patch=4))
    sae = make_sae(name, source)
    found = probed(judge(sae, source, probes=["label"]).metrics)
    codes, _, items, _ = codes_seen(sae, source)
    pooled = np.zeros((source.n_items, sae.n_features), np.float32)
    np.maximum.at(pooled, items, codes)
    plan = plan_probe(source, "label")
    assert plan.items.tolist() == list(range(source.n_items))
    labels = np.array(source.metadata()["label"].to_pylist())
    assert abs(plan.judging.mean() - 0.5) < 0.01
    train, other = pooled[~plan.judging], pooled[plan.judging]
    for value in ("0", "7"):
        y, truth = labels[~plan.judging] == value, labels[plan.judging] == value
        difference = np.abs(train[y].astype(float).mean(0) - train[~y].astype(float).mean(0))
        for k in (1, 5, 16):
            chosen = np.sort(np.argsort(-difference, kind="stable")[:k])
            scaler = StandardScaler().fit(train[:, chosen])
            model = LogisticRegression(max_iter=1000).fit(scaler.transform(train[:, chosen]), y)
            area = roc_auc_score(truth, model.decision_function(scaler.transform(other[:, chosen])))
            assert found[f"probe_auc_k{k}.label.{value}"] == pytest.approx(area, abs=1e-3)
    means = [found[f"probe_auc_k5.label.{digit}"] for digit in range(10)]
    assert found["probe_auc_k5.label"] == pytest.approx(np.mean(means))


def test_texts_are_probed_by_document_over_the_positions_that_count() -> None:
    source: Any = MemoryTexts()
    sae = make_sae("topk", source)
    found = probed(judge(sae, source, probes=["kind"], n_ce_positions=0).metrics)
    codes, _, items, _ = codes_seen(sae, source)
    pooled = np.zeros((source.n_items, sae.n_features), np.float32)
    np.maximum.at(pooled, items, codes)
    plan = plan_probe(source, "kind")
    assert plan.values == ("prose", "code")
    assert (plan.judging[::2] == plan.judging[1::2]).all()  # the source's documents are two items each
    y, truth = source.kinds[~plan.judging] == "code", source.kinds[plan.judging] == "code"
    train, other = pooled[~plan.judging], pooled[plan.judging]
    best = np.abs(train[y].astype(float).mean(0) - train[~y].astype(float).mean(0)).argmax()
    sign = 1 if train[y, best].mean() > train[~y, best].mean() else -1
    assert found["probe_auc_k1.kind.code"] == pytest.approx(roc_auc_score(truth, sign * other[:, best]), abs=1e-6)
    assert found["probe_auc_k16.kind.code"] > 0.7


def test_the_size_of_batches_and_which_items_are_chosen_change_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    source = marked(400)
    whole = judge(identity(), source, probes=["colour"])
    monkeypatch.setattr("saescope.precompute.one_pass.run.block_rows", lambda *_: 3)
    small = judge(identity(), source, probes=["colour"])
    assert probed(small.metrics) == probed(whole.metrics)
    monkeypatch.setattr(sparse_probing, "MOST_ITEMS", 100)
    plan = plan_probe(source, "colour")
    assert len(plan.items) == 100
    assert (np.diff(plan.items) > 0).all()
    assert probed(judge(identity(), source, probes=["colour"]).metrics)["probe_auc_k1.colour"] == 1


def test_documents_stay_on_one_side() -> None:
    colours = np.random.default_rng(1).integers(0, 2, 300)
    groups = np.arange(300) // 6
    plan = plan_probe(Marked(colours, {"colour": pa.array(WORDS[colours])}, groups), "colour")
    sides = [set(plan.judging[groups[plan.items] == g].tolist()) for g in range(50)]
    assert all(len(side) == 1 for side in sides)
    assert 10 < sum(True in side for side in sides) < 40


def test_unknown_and_rare_values_are_left_out() -> None:
    values = [None] * 20 + ["rare"] * 3 + ["a"] * 60 + ["b"] * 37
    plan = plan_probe(marked(120, place=pa.array(values)), "place")
    assert plan.values == ("a", "b")
    assert plan.items.tolist() == list(range(20, 120))
    assert set(plan.value_of[:3].tolist()) == {-1}


@pytest.mark.parametrize(
    ("columns", "column", "says"),
    [
        ({}, "label", "no metadata column 'label'"),
        ({"x": pa.array(np.arange(120) / 7)}, "x", "holds no categories"),
        ({"x": pa.array([str(i) for i in range(120)])}, "x", "no value of column 'x' can be probed"),
        ({"x": pa.array(["a"] * 120)}, "x", "no value of column 'x' can be probed"),
        ({"x": pa.nulls(120, pa.string())}, "x", "holds no categories"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_the_pass(columns: dict, column: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_probe(marked(**columns), column)
    assert says in caught.value.message
