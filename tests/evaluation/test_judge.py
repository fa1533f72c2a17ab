"""What the weights and a toy's true dictionary add to the metrics of a pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig
from saescope.evaluation import evaluate, judge
from saescope.metrics import metric
from saescope.sources import SourceOptions, open_source
from saescope.sources.toy.source import ToySource
from saescope.store.errors import UserError


def sae_of(atoms: torch.Tensor) -> ReluAutoencoder:
    sae = ReluAutoencoder(ReluConfig(d_in=atoms.shape[1], n_features=len(atoms)))
    with torch.no_grad():
        sae.encoder.copy_(atoms)
        sae.W_dec.copy_(atoms)
    return sae


@pytest.fixture
def toy() -> ToySource:
    source = open_source(SourceOptions(toy="20x16:items=2000"))
    assert isinstance(source, ToySource)
    return source


def test_the_true_dictionary_is_recovered_by_itself_and_not_by_others(toy: ToySource) -> None:
    true = toy.true_features
    perfect = judge(sae_of(true.flip(0)), toy).metrics
    assert perfect["mmcs_true_to_learned"] == pytest.approx(1, abs=1e-6)
    assert perfect["n_true_matched"] == 20
    assert perfect["n_true_unmatched"] == perfect["n_learned_unmatched"] == 0
    half = judge(sae_of(torch.cat([true[:10], torch.eye(16)[:5]])), toy, match_cosine=0.99).metrics
    assert half["n_true_matched"] == 10
    assert (half["n_true_unmatched"], half["n_learned_unmatched"]) == (10, 5)
    learned, found = half["mmcs_learned_to_true"], half["mmcs_true_to_learned"]
    cosines = np.concatenate([true[:10].numpy(), np.eye(16, dtype=np.float32)[:5]]) @ true.numpy().T
    assert learned == pytest.approx(cosines.max(1).mean(), abs=1e-6)
    assert found == pytest.approx(cosines.max(0).mean(), abs=1e-6)


def test_metrics_of_the_pass_stay_and_every_name_has_a_formula(toy: ToySource) -> None:
    sae, other = sae_of(toy.true_features), sae_of(torch.eye(16))
    plain, found = evaluate(sae, toy), judge(sae, toy, against=other, probes=["label"])
    assert {name: found.metrics[name] for name in plain.metrics} == plain.metrics
    assert found.n_positions == plain.n_positions
    assert all(metric(name).formula for name in found.metrics)
    cosines = toy.true_features.numpy() @ np.eye(16, dtype=np.float32)
    assert found.metrics["mmcs_to_other"] == pytest.approx(cosines.max(1).mean(), abs=1e-6)
    assert found.metrics["mmcs_from_other"] == pytest.approx(cosines.max(0).mean(), abs=1e-6)
    matched = found.metrics["n_matched_with_other"]
    assert (found.metrics["n_unmatched_here"], found.metrics["n_unmatched_there"]) == (20 - matched, 16 - matched)
    assert judge(other, toy).metrics["max_atom_cosine"] == pytest.approx(0, abs=1e-6)
    assert judge(other, toy).metrics["max_encoder_cosine"] == pytest.approx(0, abs=1e-6)
    assert "max_atom_cosine" not in judge(sae_of(torch.eye(16)[:1]), toy).metrics


def test_another_width_cannot_be_compared(toy: ToySource) -> None:
    with pytest.raises(UserError, match="16 and of 8 dimensions"):
        judge(sae_of(toy.true_features), toy, against=sae_of(torch.eye(8)))
