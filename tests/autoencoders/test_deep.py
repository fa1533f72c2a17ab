"""The deep SAE against plain NumPy, its checkpoint, and its folding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.deep.module import DeepAutoencoder, DeepConfig
from saescope.checkpoints import load_sae
from saescope.checkpoints.formats import native
from saescope.store.errors import UserError
from saescope.training.export import folded
from saescope.training.input_transform import fit
from tests.training.arrays import ArrayTable, digits

CASES: dict[str, dict[str, Any]] = {
    "one layer each way": {},
    "two and three": {"encoder_widths": (11,), "decoder_widths": (12, 13)},
    "topk": {"encoder_widths": (11, 10), "decoder_widths": (12,), "k": 3},
    "linear decoder": {"encoder_widths": (11,), "k": 3},
    "sigmoid code": {"encoder_widths": (11,), "decoder_widths": (12,), "sigmoid_code": True},
    "transcoder": {"encoder_widths": (11,), "decoder_widths": (8,), "d_out": 5},
}


def filled(d_in: int = 7, n_features: int = 20, **fields: Any) -> DeepAutoencoder:
    model = DeepAutoencoder(DeepConfig(d_in=d_in, n_features=n_features, **fields))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model


def through(t: dict[str, np.ndarray], side: str, h: np.ndarray) -> np.ndarray:
    if f"W_{side}" in t:
        assert f"W_{side}_0" not in t
        return h @ t[f"W_{side}"] + t[f"b_{side}"]
    i = 0
    while f"W_{side}_{i}" in t:
        h = np.maximum(h, 0) if i else h
        h = h @ t[f"W_{side}_{i}"] + t[f"b_{side}_{i}"]
        i += 1
    assert i > 1
    return h


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_codes_and_reconstructions_follow_the_formulas(fields: dict[str, Any]) -> None:
    model = filled(**fields)
    x = torch.randn(33, 7, generator=torch.Generator().manual_seed(1))
    t = {name: value.detach().double().numpy() for name, value in model.tensors().items()}
    z = through(t, "enc", x.double().numpy())
    codes = 1 / (1 + np.exp(-z)) if fields.get("sigmoid_code") else np.maximum(z, 0)
    if model.config.k:
        codes[codes < np.sort(codes, axis=1)[:, -3][:, None]] = 0
    with torch.no_grad():
        out = model(x)
        np.testing.assert_allclose(out.codes, codes, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(out.reconstruction, through(t, "dec", codes), rtol=1e-3, atol=2e-2)
        chosen = model.select(x)
        assert (chosen is None) == (model.config.k == 0)
        if chosen is not None:
            torch.testing.assert_close(model.reconstruct_selection(x, chosen), out.reconstruction)


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_checkpoint_round_trip(fields: dict[str, Any], tmp_path: Path) -> None:
    model = filled(**fields)
    native.save(model, tmp_path)
    loaded = load_sae(tmp_path)
    assert loaded.config == model.config
    x = torch.randn(9, 7, generator=torch.Generator().manual_seed(1))
    for got, expected in zip(loaded(x), model(x), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("kind", ["scale", "zca", "none"])
@pytest.mark.parametrize("fields", [CASES["one layer each way"], CASES["topk"]], ids=["shallow", "deep"])
def test_folding_is_exact(kind: Any, fields: dict[str, Any]) -> None:
    x = digits().rows(np.arange(300))
    y = x[:, :50].square() - 3
    into, out_of = fit(digits(), kind), fit(ArrayTable(y.numpy()), kind)
    model = filled(64, 90, **fields, d_out=50)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 0.3
        inside, outside = model(into.apply(x)), folded(model, into, out_of)(x)
    torch.testing.assert_close(outside.codes, inside.codes, rtol=1e-3, atol=1e-3)
    back = out_of.apply(outside.reconstruction.double()).float()
    torch.testing.assert_close(back, inside.reconstruction, rtol=1e-3, atol=5e-2)


def test_only_a_linear_decoder_has_atoms() -> None:
    linear, deep = filled(**CASES["linear decoder"]), filled(**CASES["topk"])
    assert torch.equal(linear.atoms, linear.tensors()["W_dec"])
    codes = torch.rand(4, 20)
    torch.testing.assert_close(codes @ linear.atoms + linear.decoder_bias, linear.decode(codes).detach())
    assert deep.decoder_bias is None
    with pytest.raises(UserError, match="no atoms"):
        _ = deep.atoms
    assert torch.equal(deep.encoder_bias, deep.tensors()["b_enc_2"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder_widths": (0,)}, "encoder_widths are"),
        ({"decoder_widths": (4, -1)}, "decoder_widths are"),
        ({"k": 30}, "k is 30"),
        ({"k": 3, "sigmoid_code": True}, "a sigmoid code keeps all features"),
        ({"firing_threshold": 1.0, "sigmoid_code": True}, "a sigmoid code stays below 1"),
        ({"apply_b_dec_to_input": True}, "subtracts nothing"),
    ],
)
def test_bad_settings(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DeepConfig(d_in=3, n_features=20, **fields)
