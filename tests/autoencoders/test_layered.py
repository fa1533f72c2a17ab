"""Autoencoders of several layers against plain NumPy: activation functions, batch normalisation, folding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.layered import EPSILON, MOMENTUM, BatchNorm, Regularisation
from saescope.autoencoders.undercomplete.module import UndercompleteAutoencoder, UndercompleteConfig
from saescope.checkpoints import load_sae
from saescope.checkpoints.formats import native
from saescope.store.errors import UserError
from saescope.training.export import folded
from saescope.training.input_transform import fit
from tests.training.arrays import digits

CASES: dict[str, dict[str, Any]] = {
    "no hidden layers": {},
    "relu": {"encoder_widths": (11, 9), "decoder_widths": (8,)},
    "leaky": {"encoder_widths": (11,), "decoder_widths": (8, 10), "activation": "leaky_relu"},
    "sigmoid": {"encoder_widths": (11,), "decoder_widths": (8,), "sigmoid_output": True},
}


def filled(d_in: int = 7, n_features: int = 4, *, batch_norm: bool = False, **fields: Any) -> UndercompleteAutoencoder:
    model = UndercompleteAutoencoder(UndercompleteConfig(d_in=d_in, n_features=n_features, **fields))
    if batch_norm:
        model.add_batch_norm()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
            parameter *= 0.5
    return model


def through(t: dict[str, np.ndarray], side: str, h: np.ndarray, slope: float) -> np.ndarray:
    names = [name for name in t if name.startswith(f"W_{side}")]
    for i, name in enumerate(names):
        h = (np.where(h > 0, h, slope * h) if i else h) @ t[name] + t[name.replace("W_", "b_", 1)]
    return h


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_codes_and_reconstructions_follow_the_formulas(fields: dict[str, Any]) -> None:
    model = filled(**fields)
    x = torch.randn(33, 7, generator=torch.Generator().manual_seed(1))
    t = {name: value.detach().double().numpy() for name, value in model.tensors().items()}
    slope = 0.01 if fields.get("activation") == "leaky_relu" else 0.0
    codes = through(t, "enc", x.double().numpy(), slope)
    rebuilt = through(t, "dec", codes, slope)
    if fields.get("sigmoid_output"):
        rebuilt = 1 / (1 + np.exp(-rebuilt))
    with torch.no_grad():
        out = model(x)
    np.testing.assert_allclose(out.codes, codes, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out.reconstruction, rebuilt, rtol=1e-4, atol=1e-5)
    assert (codes < 0).any()
    assert model.has_linear_decoder == (not fields)


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_checkpoint_round_trip(fields: dict[str, Any], tmp_path: Path) -> None:
    model = filled(**fields)
    native.save(model, tmp_path)
    loaded = load_sae(tmp_path)
    assert loaded.config == model.config
    x = torch.randn(9, 7, generator=torch.Generator().manual_seed(1))
    for got, expected in zip(loaded(x), model(x), strict=True):
        assert torch.equal(got, expected)


def test_batch_normalisation_is_that_of_the_batch_in_training_and_of_running_statistics_otherwise() -> None:
    norm = BatchNorm(3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        norm.gain.uniform_(0.5, 2, generator=generator)
        norm.bias.normal_(generator=generator)
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(3):
        h = torch.randn(20, 3, generator=generator) * 3 + 1
        values = h.double().numpy()
        expected = (values - values.mean(0)) / np.sqrt(values.var(0) + EPSILON)
        expected = expected * norm.gain.detach().numpy() + norm.bias.detach().numpy()
        np.testing.assert_allclose(norm(h, training=True).detach(), expected, rtol=1e-4, atol=1e-5)
        mean += MOMENTUM * (values.mean(0) - mean)
        variance += MOMENTUM * (values.var(0, ddof=1) - variance)
    expected = (values - mean) / np.sqrt(variance + EPSILON)
    expected = expected * norm.gain.detach().numpy() + norm.bias.detach().numpy()
    np.testing.assert_allclose(norm(h, training=False).detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["scale", "zca", "none"])
@pytest.mark.parametrize("noise_input", [False, True])
def test_folding_is_exact_with_batch_normalisation(kind: Any, noise_input: bool) -> None:
    x = digits().rows(np.arange(300))
    transform = fit(digits(), kind)
    levels = torch.linspace(0, 1, 300)[:, None]
    model = filled(
        64,
        5,
        batch_norm=True,
        encoder_widths=(20, 12),
        decoder_widths=(9, 30),
        activation="leaky_relu",
        noise_input=noise_input,
    )
    seen = transform.apply(x)
    raw = x
    if noise_input:
        seen, raw = torch.cat([seen, levels], 1), torch.cat([x, levels], 1)
    with torch.no_grad():
        for _ in range(40):  # running statistics near the batch's
            model.outputs(model.pre_activations(seen, Regularisation()), Regularisation())
        inside, plain = model(seen), folded(model, transform)
        outside = plain(raw)
    assert not plain.encoder_norms
    torch.testing.assert_close(outside.codes, inside.codes, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(transform.apply(outside.reconstruction), inside.reconstruction, rtol=1e-3, atol=2e-3)


def test_dropout_keeps_the_mean_and_follows_its_generator() -> None:
    h = torch.ones(4000, 5)
    first, again, other = (Regularisation(0.25, torch.Generator().manual_seed(seed)).dropped(h) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.testing.assert_close(first.unique(), torch.tensor([0, 1 / 0.75]))
    assert float(first.mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(Regularisation().dropped(h), h)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"encoder_widths": (0,)}, "encoder_widths are"), ({"apply_b_dec_to_input": True}, "subtracts nothing")],
)
def test_bad_settings(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        UndercompleteConfig(d_in=3, n_features=2, **fields)
