"""Gated codes against the formula written out in NumPy, and through a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saescope.autoencoders.gated.module import GatedAutoencoder, GatedConfig
from saescope.checkpoints import load_sae
from saescope.checkpoints.formats import native

D_IN, N, BATCH = 7, 19, 200


def filled(subtract: bool = False, tied: bool = False) -> GatedAutoencoder:
    model = GatedAutoencoder(GatedConfig(D_IN, N, apply_b_dec_to_input=subtract, tied=tied))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5, generator=generator)
    return model


def inputs() -> torch.Tensor:
    return torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_the_gate_decides_and_the_magnitude_says_how_much(subtract: bool, tied: bool) -> None:
    model, x = filled(subtract, tied), inputs()
    t = {name: tensor.detach().double().numpy() for name, tensor in model.tensors().items()}
    assert set(t) == {"W_enc", "W_dec", "b_dec", "b_gate", "r_mag", "b_mag"}
    u = (x.double().numpy() - subtract * t["b_dec"]) @ t["W_enc"]
    gate, magnitude = u + t["b_gate"] > 0, u * np.exp(t["r_mag"]) + t["b_mag"]
    assert (gate & (magnitude < 0)).any()
    assert (~gate & (magnitude > 0)).any()
    out = model(x)
    expected = gate * np.maximum(magnitude, 0)
    np.testing.assert_allclose(out.codes.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        out.reconstruction.detach().numpy(), expected @ t["W_dec"] + t["b_dec"], rtol=1e-4, atol=1e-4
    )
    assert model.select(x) is None


def test_a_checkpoint_keeps_the_gate(tmp_path: Path) -> None:
    model, x = filled(), inputs()
    native.save(model, tmp_path)
    again = load_sae(tmp_path)
    assert torch.equal(again.encode(x), model.encode(x))
    assert again.encoder_bias is not None
    assert torch.equal(again.encoder_bias, model.b_gate)
