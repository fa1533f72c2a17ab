"""Per-input normalisation, decoder norms in the codes, skip terms and other widths, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders import architecture
from saescope.autoencoders.gated.module import GatedConfig
from saescope.autoencoders.kl.module import KlConfig
from saescope.autoencoders.protocol import Autoencoder
from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig
from saescope.autoencoders.topk.module import TopkConfig
from saescope.store.errors import UserError

D_IN, D_OUT, N_FEATURES, BATCH, K = 7, 5, 19, 33, 4

OPTIONS: dict[str, dict[str, Any]] = {
    "layer_norm": {"input_normalization": "layer_norm"},
    "layer_norm, centred": {"input_normalization": "layer_norm", "apply_b_dec_to_input": True},
    "norm": {"input_normalization": "norm"},
    "rescaled": {"rescale_by_decoder_norm": True},
    "wider": {"d_out": 9},
    "narrower, normalised": {"d_out": D_OUT, "input_normalization": "layer_norm"},
    "skip": {"skip": True, "d_out": D_OUT},
    "all": {"skip": True, "d_out": D_OUT, "input_normalization": "norm", "rescale_by_decoder_norm": True},
}
FIELDS: dict[str, dict[str, Any]] = {"relu": {}, "topk": {"k": K}, "jumprelu": {}}


def filled(name: str, **fields: Any) -> Autoencoder:
    kind = architecture(name)
    model = kind.module(kind.config(d_in=D_IN, n_features=N_FEATURES, **FIELDS[name], **fields))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model


def inputs() -> torch.Tensor:
    """Of different means and norms; one is zero."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, D_IN, generator=generator) * torch.linspace(0.01, 30, BATCH)[:, None]
    x[5] = 0
    return x + torch.linspace(-3, 3, BATCH)[:, None] * (torch.arange(BATCH) != 5)[:, None]


def expected(model: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, what `decode` gives, and the reconstruction, from the formulas."""
    c = model.config
    t = {key: value.detach().double().numpy() for key, value in model.tensors().items()}
    shift = scale = None
    inside = x
    if c.input_normalization == "layer_norm":
        shift, scale = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
        inside = (x - shift) / (scale + 1e-5)
    if c.input_normalization == "norm":
        shift, scale = 0.0, np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(D_IN)
        inside = np.divide(x, scale, out=np.zeros_like(x), where=scale > 0)
    norms = np.linalg.norm(t["W_dec"], axis=1)
    z = (inside - t["b_dec"] if c.apply_b_dec_to_input else inside) @ t["W_enc"] + t["b_enc"]
    if c.rescale_by_decoder_norm:
        z = z * norms
    codes = np.maximum(z, 0)
    if c.architecture == "topk":
        codes[z < np.sort(z, axis=1)[:, -K][:, None]] = 0
    if c.architecture == "jumprelu":
        codes[z <= t["threshold"]] = 0
    atoms = t["W_dec"] / norms[:, None] if c.rescale_by_decoder_norm else t["W_dec"]
    decoded = codes @ atoms + t["b_dec"]
    rebuilt = decoded if scale is None else decoded * scale + shift
    return codes, decoded, rebuilt + x @ t["W_skip"] if c.skip else rebuilt


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_codes_and_reconstructions_follow_the_formulas(name: str, options: dict[str, Any]) -> None:
    model, x = filled(name, **options), inputs()
    with torch.no_grad():
        out = model(x)
        codes, decoded, rebuilt = expected(model, x.double().numpy())
        close: dict[str, Any] = {"rtol": 1e-4, "atol": 2e-4}
        np.testing.assert_allclose(out.codes, codes, **close)
        np.testing.assert_allclose(model.decode(out.codes), decoded, **close)
        np.testing.assert_allclose(out.reconstruction, rebuilt, **close)
        np.testing.assert_allclose(out.codes @ model.atoms + model.decoder_bias, decoded, **close)
        assert torch.equal(model.reconstruct(x, out.codes), out.reconstruction)
        chosen = model.select(x)
        assert (chosen is None) == (name != "topk")
        if chosen is not None:
            np.testing.assert_allclose(model.reconstruct_selection(x, chosen), rebuilt, **close)
    assert np.abs(rebuilt - decoded).max() > 0.1 or not model.needs_input
    assert model.needs_input == (not np.array_equal(rebuilt, decoded))


def test_a_selection_decodes_without_a_way_of_its_own() -> None:
    model, x = filled("topk", skip=True), inputs()
    chosen = model.select(x)
    assert chosen is not None
    torch.testing.assert_close(Autoencoder.decode_selection(model, chosen), model.decode(model.encode(x)))


def test_an_input_of_norm_zero_is_reconstructed_as_zero_by_norm() -> None:
    model, x = filled("relu", input_normalization="norm"), inputs()
    with torch.no_grad():
        model.b_enc += 1
        out = model(x)
    assert out.codes[5].max() > 0
    assert torch.equal(out.reconstruction[5], torch.zeros(D_IN))


def test_a_scaled_input_has_the_same_code_where_it_is_normalised() -> None:
    for kind in ("norm", "layer_norm"):
        model, x = filled("relu", input_normalization=kind), inputs()[10:]
        with torch.no_grad():
            torch.testing.assert_close(model.encode(7 * x), model.encode(x), rtol=1e-3, atol=1e-3)


def test_widths() -> None:
    config = ReluConfig(d_in=3, n_features=4)
    assert (config.d_out, config.transcoder) == (3, False)
    assert ReluConfig(d_in=3, n_features=4, d_out=5).transcoder
    assert ReluConfig(d_in=3, n_features=4, d_out=3, transcoder=True).to_dict()["transcoder"] is True
    shapes = {name: tuple(t.shape) for name, t in filled("relu", d_out=5, skip=True).tensors().items()}
    assert shapes == {"W_enc": (7, 19), "W_dec": (19, 5), "b_enc": (19,), "b_dec": (5,), "W_skip": (7, 5)}
    assert ReluAutoencoder(config).d_out == 3


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (ReluConfig, {"d_out": -1}, "d_out is -1"),
        (ReluConfig, {"d_out": 4, "apply_b_dec_to_input": True}, "cannot be subtracted"),
        (ReluConfig, {"transcoder": True, "apply_b_dec_to_input": True}, "cannot be subtracted"),
        (ReluConfig, {"transcoder": True, "tied": True}, "cannot be tied"),
        (ReluConfig, {"d_in": 1, "input_normalization": "layer_norm"}, "d_in is 1"),
        (KlConfig, {"rescale_by_decoder_norm": True}, "sigmoid"),
        (GatedConfig, {"rescale_by_decoder_norm": True}, "gate"),
        (TopkConfig, {"k": 1, "d_out": 2, "tied": True}, "cannot be tied"),
    ],
)
def test_bad_combinations(config: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**{"d_in": 3, "n_features": 4, **fields})
