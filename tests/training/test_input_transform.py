"""The input transform: what it does to the data, and exact folding into the weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders import architecture
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig
from saescope.store.errors import UserError
from saescope.training.export import folded
from saescope.training.input_transform import InputTransform, TransformKind, fit
from tests.training.arrays import ArrayTable, digits

KINDS: list[TransformKind] = ["scale", "zca", "none"]


def transformed(kind: TransformKind) -> tuple[InputTransform, torch.Tensor, torch.Tensor]:
    table = digits()
    x = table.rows(np.arange(table.n_rows)).double()
    transform = fit(table, kind)
    return transform, x, transform.apply(x)


@pytest.mark.parametrize("kind", ["scale", "zca"])
def test_mean_zero_and_mean_norm_sqrt_d_in(kind: TransformKind) -> None:
    _, _, t = transformed(kind)
    torch.testing.assert_close(t.mean(0), torch.zeros(64, dtype=torch.float64), atol=1e-6, rtol=0)
    assert float(t.norm(dim=1).mean()) == pytest.approx(math.sqrt(64), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_variance_is_that_of_the_transformed_data(kind: TransformKind) -> None:
    transform, _, t = transformed(kind)
    assert transform.variance == pytest.approx(float((t - t.mean(0)).square().sum(1).mean()), rel=1e-6)


def test_scale_keeps_directions_and_none_keeps_all() -> None:
    transform, x, t = transformed("scale")
    torch.testing.assert_close(t, (x - x.mean(0)) * transform.scale)
    _, x, t = transformed("none")
    assert torch.equal(t, x)


def test_zca_whitens_and_is_invertible() -> None:
    transform, x, t = transformed("zca")
    assert transform.inverse is not None
    torch.testing.assert_close(t @ transform.inverse + transform.mean, x, atol=1e-9, rtol=1e-9)
    spectrum = torch.linalg.eigvalsh(torch.cov(t.T))
    assert float(spectrum[-1]) < 1.6  # 21 in the raw data's units of mean variance
    raw = torch.linalg.eigvalsh(torch.cov(x.T))
    assert float(raw[-1] / raw.mean()) > 9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["relu", "kl", "topk", "jumprelu", "gated", "batchtopk", "matryoshka"])
@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_folding_is_exact(kind: TransformKind, name: str, subtract: bool, tied: bool) -> None:
    table = digits()
    transform = fit(table, kind)
    found = architecture(name)
    own: dict[str, Any] = {"k": 5} if name in ("topk", "batchtopk", "matryoshka") else {}
    if name == "matryoshka":
        own["group_sizes"] = (30, 60)
    model = found.module(found.config(d_in=64, n_features=90, apply_b_dec_to_input=subtract, tied=tied, **own))
    assert isinstance(model, LinearAutoencoder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    x = table.rows(np.arange(300))
    inside = model(transform.apply(x))
    export = folded(model, transform)
    outside = export(x)
    torch.testing.assert_close(outside.codes, inside.codes, rtol=1e-4, atol=2e-4)
    back = inside.reconstruction.double()
    back = back / transform.scale if transform.inverse is None else back @ transform.inverse
    torch.testing.assert_close(outside.reconstruction, (back + transform.mean).float(), rtol=1e-4, atol=2e-4)
    assert export.config.tied is False or model.config == export.config


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target_kind", KINDS)
def test_folding_a_transcoder_with_a_skip_term(kind: TransformKind, target_kind: TransformKind) -> None:
    table = digits()
    x = table.rows(np.arange(300))
    y = torch.cat([x.square(), x[:, :6] - 3], dim=1)
    into, out_of = fit(table, kind), fit(ArrayTable(y.numpy()), target_kind)
    model = ReluAutoencoder(ReluConfig(d_in=64, n_features=90, d_out=70, skip=True))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
        inside = model(into.apply(x))
        outside = folded(model, into, out_of)(x)
    torch.testing.assert_close(outside.codes, inside.codes, rtol=1e-4, atol=2e-4)
    back = out_of.apply(outside.reconstruction.double())
    torch.testing.assert_close(back.float(), inside.reconstruction, rtol=1e-3, atol=3e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_data_is_refused(kind: TransformKind) -> None:
    with pytest.raises(UserError, match=r"equal|vary"):
        fit(ArrayTable(np.full((20, 3), 7.0)), kind)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    values = np.ones((20, 3))
    values[4, 1] = bad
    with pytest.raises(UserError, match="NaN or infinite"):
        fit(ArrayTable(values), "scale")


def test_round_trip_through_tensors() -> None:
    for kind in KINDS:
        transform, x, _ = transformed(kind)
        again = InputTransform.from_tensors(kind, transform.tensors())
        assert torch.equal(again.apply(x), transform.apply(x))
        assert again.variance == transform.variance
