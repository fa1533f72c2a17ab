"""AbsTopK, GroupMax, BatchTopK and Matryoshka: what is kept, against NumPy, and losses against plain autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.batchtopk.module import BatchtopkAutoencoder
from saescope.autoencoders.batchtopk.objective import exact_threshold, kept
from saescope.autoencoders.objectives import sparse_codes
from saescope.autoencoders.settings.run import DataSize
from saescope.store.errors import UserError
from saescope.training import TrainingConfig
from tests.training.arrays import digits
from tests.training.test_objectives import D_IN, VARIANCE, N, inputs, prepared
from tests.training.test_run import advance, new_run

OWN: dict[str, dict[str, Any]] = {
    "abstopk": {"k": 3},
    "groupmax": {"k": 4},
    "batchtopk": {"k": 3},
    "matryoshka": {"k": 3, "group_sizes": (3, 8, 13)},
}


def expected_mask(name: str, z: np.ndarray, k: int) -> np.ndarray:
    mask = np.zeros(z.shape, dtype=bool)
    if name == "abstopk":
        for row, values in enumerate(np.abs(z)):
            mask[row, np.argsort(-values)[:k]] = True
    elif name == "groupmax":
        for row, values in enumerate(z.reshape(len(z), k, -1)):
            for group, best in enumerate(values.argmax(1)):
                mask[row, group * values.shape[1] + best] = True
    else:
        mask.ravel()[np.argsort(-z.ravel())[: k * len(z)]] = True
    return mask


@pytest.mark.parametrize("path", ["sparse", "dense"])
@pytest.mark.parametrize("name", OWN)
def test_loss_and_gradients_are_those_of_plain_autograd(name: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_codes, "pays", lambda fraction, device: path == "sparse")
    goal, model = prepared(name, revival="none", **OWN[name])
    result = goal.loss(model, inputs())
    result.total.backward()
    own = {key: t.detach().double().requires_grad_() for key, t in model.tensors().items()}
    x = inputs().x.double()
    z = x @ own["W_enc"] + own["b_enc"]
    codes = torch.where(torch.from_numpy(expected_mask(name, z.detach().numpy(), OWN[name]["k"])), z, 0.0)
    if name != "abstopk":
        codes = torch.relu(codes)
    ends = (3, 11, 24) if name == "matryoshka" else (N,)
    errors = [(x - codes[:, :end] @ own["W_dec"][:end] - own["b_dec"]).square().sum(1).mean() for end in ends]
    total = sum(errors[1:], errors[0]) / len(errors) / VARIANCE
    assert result.total.item() == pytest.approx(total.item(), rel=1e-5)
    assert float(result.squared_error) == pytest.approx(errors[-1].item(), rel=1e-5)
    assert result.firing.tolist() == (codes != 0).sum(0).tolist()
    total.backward()
    for ours, theirs in (("encoder", "W_enc"), ("b_enc", "b_enc"), ("W_dec", "W_dec"), ("b_dec", "b_dec")):
        gradient, reference = dict(model.named_parameters())[ours].grad, own[theirs].grad
        assert gradient is not None
        assert reference is not None
        reference = reference.T if ours == "encoder" else reference
        torch.testing.assert_close(gradient.double(), reference, rtol=1e-4, atol=1e-6)


def test_dead_features_rebuild_the_error_with_their_own_sign() -> None:
    goal, model = prepared("abstopk", k=2, revival="auxk", aux_k=3, aux_weight=0.25, dead_after=100)
    dead = [1, 4, 5, 8, 13, 20, 23]
    silent = torch.full((N,), 99, dtype=torch.int64)
    silent[dead] = 100
    t = {name: value.detach().double().numpy() for name, value in model.tensors().items()}
    x = inputs().x.double().numpy()
    z = x @ t["W_enc"] + t["b_enc"]
    error = x - (z * expected_mask("abstopk", z, 2)) @ t["W_dec"] - t["b_dec"]
    aux = z[:, dead] * expected_mask("abstopk", z[:, dead], 3)
    assert (aux < 0).any()
    auxiliary = ((error - aux @ t["W_dec"][dead]) ** 2).sum() / ((error - error.mean(0)) ** 2).sum()
    result = goal.loss(model, inputs(silent=silent))
    assert float(result.terms["auxiliary"]) == pytest.approx(auxiliary, rel=1e-4)


@pytest.mark.parametrize("likely", [0.0, 0.5, 1.2, 50.0])
def test_the_guess_changes_nothing(likely: float) -> None:
    z = torch.randn(50, 30, generator=torch.Generator().manual_seed(4))
    best = torch.zeros(1500, dtype=torch.bool).index_fill_(0, z.flatten().topk(100).indices, True).view(50, 30)
    assert torch.equal(kept(z, 100, likely), best)
    assert torch.equal(kept(z - 2, 100, likely), z > 2)
    tied = torch.tensor([[1.0, 2.0, 2.0], [3.0, 2.0, -1.0]])
    assert kept(tied, 2, likely).tolist() == [[False, True, True], [True, True, False]]


def test_the_running_threshold_follows_the_smallest_kept_value() -> None:
    run = new_run(digits(), "batchtopk", k=5)
    assert isinstance(run.model, BatchtopkAutoencoder)
    x = run.data.rows(np.arange(64))
    expected, rate = None, 0.01
    for _ in range(4):
        z = run.model.pre_activations(x).detach().flatten()
        smallest = float(z.topk(5 * 64).values[-1])
        expected = smallest if expected is None else expected + rate * (smallest - expected)
        run.advance(x)
        assert float(run.model.threshold.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["batchtopk", "matryoshka"])
def test_under_the_final_threshold_k_features_fire_on_average(name: str) -> None:
    run = new_run(digits(), name, k=5)
    advance(run, 100)
    run.finish()
    codes = run.model.encode(run.data.rows(np.arange(digits().n_rows)))
    assert int((codes > 0).sum()) == 5 * digits().n_rows
    assert int((codes > 0).sum(1).max()) > 5


def test_with_too_few_positive_values_the_threshold_is_zero() -> None:
    _, model = prepared("batchtopk", k=20)
    with torch.no_grad():
        model.b_enc.fill_(-3)
    assert exact_threshold(model, inputs().x, 20) == 0.0
    assert exact_threshold(model, inputs().x, 1) > 0.0


def test_groups_of_a_matryoshka() -> None:
    sizes = [
        TrainingConfig("matryoshka", n, k=2)
        .resolve(DataSize(1000, D_IN))
        .objective()
        .new_model(D_IN)
        .config.group_sizes  # type: ignore[attr-defined]
        for n in (64, 2048, 10)
    ]
    assert sizes == [(2, 4, 8, 16, 34), (64, 128, 256, 512, 1088), (1, 2, 7)]
    with pytest.raises(UserError, match="group_sizes are 3,4"):
        TrainingConfig("matryoshka", 8, k=2, group_sizes=(3, 4))


def test_groups_of_groupmax_have_one_size() -> None:
    with pytest.raises(UserError, match="do not divide into 5 groups"):
        TrainingConfig("groupmax", 24, k=5)


def test_a_prefix_alone_reconstructs() -> None:
    """The first group of a Matryoshka SAE explains more than the same features of a BatchTopK SAE."""
    unexplained = {}
    x = digits().rows(np.arange(digits().n_rows))
    for name in ("batchtopk", "matryoshka"):
        run = new_run(digits(), name, k=5, **({"group_sizes": (16, 48)} if name == "matryoshka" else {}))
        advance(run, 200)
        t = run.data.transform.apply(x)
        codes = run.model.encode(t).detach()
        rest = t - codes[:, :16] @ run.model.atoms[:16] - run.model.b_dec.detach()
        unexplained[name] = float(rest.square().sum() / (t - t.mean(0)).square().sum())
    assert unexplained["matryoshka"] < 0.8 * unexplained["batchtopk"]
