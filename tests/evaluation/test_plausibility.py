"""Checkpoints read wrongly in each of the usual ways, and the readings that explain them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.corrections import corrected
from saescope.evaluation.plausibility import check, check_on_source
from saescope.sources import SourceOptions, open_source
from saescope.store.errors import UserError
from tests.precompute.small_builds import digits

D = 24
SCALE = 0.2


def data(n_features: int = D) -> tuple[Tensor, Tensor, Tensor]:
    """Sparse sums of orthogonal directions about a mean of its own, with norms near sqrt(d) / SCALE; the directions
    [n_features, d] and that mean."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(D, D, generator=generator)).Q[:n_features]
    codes = (torch.rand(600, n_features, generator=generator) < 0.08) * (
        1 + torch.rand(600, n_features, generator=generator)
    )
    mean = torch.randn(D, generator=generator) * 0.4
    x = codes @ basis + mean
    return (
        x * (math.sqrt(D) / SCALE / x.norm(dim=1).mean()),
        basis,
        mean * (math.sqrt(D) / SCALE / x.norm(dim=1).mean()),
    )


def fitting(name: str = "relu", space: float = 1.0, threshold: float = 2.0, **fields: Any) -> Autoencoder:
    """An SAE that rebuilds `space` times the data: for raw data, or for data that were scaled."""
    _, basis, mean = data()
    tensors = {"W_enc": basis.T.clone(), "W_dec": basis.clone(), "b_dec": mean * space}
    tensors["b_enc"] = torch.full((D,), -0.01 * space)
    if name == "jumprelu":
        tensors["threshold"] = torch.full((D,), threshold)
    return assemble(name, tensors, apply_b_dec_to_input=True, **fields).eval()


def likely(sae: Autoencoder, x: Tensor | None = None) -> list[dict[str, Any]]:
    found = check(sae, data()[0] if x is None else x)
    assert found.as_read.fvu > 0.3 or found.as_read.l0 > 0.1 * D
    return [reading.assume for reading in found.better]


def test_a_good_sae_is_left_alone() -> None:
    found = check(fitting(), data()[0])
    assert found.as_read.fvu < 0.01
    assert found.warning is None


def test_subtraction_of_the_bias() -> None:
    wrong = corrected(fitting(), {"subtract_b_dec": False})
    assert likely(wrong)[0] == {"subtract_b_dec": True}
    warning = check(wrong, data()[0]).warning
    assert warning is not None
    assert "b_dec's subtraction from the input, --assume subtract_b_dec=yes" in warning


def test_the_scale_of_the_input() -> None:
    best = likely(fitting(space=SCALE))[0]
    assert best["input_scale"] == pytest.approx(SCALE, rel=0.05)
    assert "--assume input_scale=0.2" in str(check(fitting(space=SCALE), data()[0]).warning)


def test_a_bias_that_was_not_folded() -> None:
    """As SAELens before 4.1 left it: too large by the scale that the two matrices were folded by."""
    wrong = corrected(fitting(), {"b_dec_scale": SCALE})
    assert any(found.get("b_dec_scale") == pytest.approx(1 / SCALE, rel=0.05) for found in likely(wrong))
    assert "SAELens before 4.1" in str(check(wrong, data()[0]).warning)


def test_matrices_the_other_way_round() -> None:
    wrong = corrected(fitting(), {"transposed": True})
    assert likely(wrong)[0] == {"transposed": True}


def test_the_units_of_thresholds() -> None:
    found = likely(fitting("jumprelu", threshold=2.0 / SCALE**3))
    assert found == [] or all("threshold_scale" in assume for assume in found)
    best = likely(fitting("jumprelu", threshold=1.5 / SCALE**2))[0]
    assert best["threshold_scale"] == pytest.approx(SCALE, rel=0.05)


def test_thresholds_that_know_the_norms_of_atoms() -> None:
    sae = fitting("jumprelu", threshold=2.0)
    tensors = {name: t.detach().clone() for name, t in sae.tensors().items()}
    factor = torch.linspace(0.01, 0.05, D)
    tensors["W_enc"], tensors["b_enc"] = tensors["W_enc"] / (1 / factor), tensors["b_enc"] * factor
    tensors["W_dec"] = tensors["W_dec"] / factor.unsqueeze(1)
    wrong = assemble("jumprelu", tensors, apply_b_dec_to_input=True).eval()
    assert check(wrong, data()[0]).as_read.l0 == 0
    assert {"threshold_times_norm": True} in likely(wrong)


def test_a_normalisation_of_each_input() -> None:
    x = data()[0] * torch.logspace(-1.5, 1.5, 600).unsqueeze(1)
    normed = x * math.sqrt(D) / x.norm(dim=1, keepdim=True)
    basis = torch.linalg.svd(normed - normed.mean(0)).Vh[: D // 2]
    rows = torch.cat([basis, -basis, torch.zeros(5 * D, D)])
    tensors = {"W_enc": rows.T.clone(), "W_dec": rows, "b_dec": normed.mean(0), "b_enc": torch.full((len(rows),), -0.3)}
    wrong = assemble("relu", tensors, apply_b_dec_to_input=True).eval()
    assert check(corrected(wrong, {"input_normalization": "norm"}), x).as_read.fvu < 0.25
    assert {"input_normalization": "norm"} in likely(wrong, x)


def test_activations_from_elsewhere_are_told_without_a_guess() -> None:
    generator = torch.Generator().manual_seed(5)
    sae = fitting("jumprelu", threshold=500.0)
    found = check(sae, torch.randn(600, D, generator=generator))
    assert found.better == ()
    assert "check the model, hook and layer" in str(found.warning)


def test_a_source_is_sampled_all_over() -> None:
    source = digits()
    sae = assemble(
        "relu", {"W_enc": torch.eye(64), "W_dec": torch.eye(64), "b_enc": torch.zeros(64), "b_dec": torch.zeros(64)}
    )
    found = check_on_source(sae.eval(), source)
    assert found.n_positions == 512
    assert found.as_read.fvu == 0
    toy = open_source(SourceOptions(toy="24x12:p=0.05,items=900"))
    assert toy.d_in == 12


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"threshold_scale": 2.0}, "has no thresholds"),
        ({"threshold_times_norm": True}, "has no thresholds"),
    ],
)
def test_corrections_that_do_not_apply(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        corrected(fitting(), wanted)
