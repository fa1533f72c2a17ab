"""Small real SAEs on scikit-learn's digits, and the codes that the pass sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from saescope.autoencoders import architecture
from saescope.autoencoders.jumprelu.module import JumpreluAutoencoder
from saescope.autoencoders.layered import LayeredAutoencoder
from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.formats import native
from saescope.precompute.one_pass.blocks import Encoder, block_rows, rows_of
from saescope.sources import SourceOptions, open_source
from saescope.sources.protocol import Source

SAES: dict[str, dict[str, Any]] = {
    "topk": {"k": 5},
    "relu": {},
    "jumprelu": {},
    "kl": {},
    "relu-tied": {"tied": True},
    "topk-subtracting": {"k": 3, "apply_b_dec_to_input": True},
    "topk-normalised": {"k": 4, "input_normalization": "norm"},
    "topk-signed": {"k": 6, "signed": True},
    "abstopk": {"k": 5},
    "groupmax": {"k": 6},
    "deep": {"encoder_widths": (40,), "decoder_widths": (32,)},
    "undercomplete": {"encoder_widths": (40,), "decoder_widths": (32,), "activation": "leaky_relu"},
    "contractive": {"encoder_widths": (40,)},
    "relu-skipping": {"skip": True},
    "relu-rescaled": {"rescale_by_decoder_norm": True},
}
N_FEATURES = 48


def digits(patch: int | None = None) -> Source:
    """1,797 pictures of 8 x 8: whole, or as patches with overlap."""
    stride = None if patch is None else max(1, patch - 1)
    return open_source(SourceOptions(images="embedded:digits", patch=patch, stride=stride))


def make_sae(name: str, source: Source, seed: int = 0) -> Autoencoder:
    """Atoms are centred data samples; biases leave some features silent, and the last feature is dead."""
    torch.manual_seed(seed)
    table = source.table()
    x = table.rows(np.random.default_rng(seed).integers(0, table.n_rows, 2000))
    mean = x.mean(0)
    atoms = x[:N_FEATURES] - mean + 0.02 * torch.randn(N_FEATURES, source.d_in)
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    atoms[1] = atoms[0]  # equal codes at every position: ties
    kind = architecture(name.split("-")[0])
    sae = kind.module(kind.config(d_in=source.d_in, n_features=N_FEATURES, **SAES[name]))
    if isinstance(sae, LayeredAutoencoder):
        return _filled_layers(sae, x)
    offset = ((x - mean) @ atoms.T).quantile(0.5 if name == "abstopk" else 0.9, dim=0)
    with torch.no_grad():
        sae.W_dec.copy_(atoms)
        if not SAES[name].get("tied"):
            sae.encoder.copy_(atoms)
        sae.b_dec.copy_(mean)
        sae.b_enc.copy_(-offset if sae.config.apply_b_dec_to_input else -offset - mean @ atoms.T)
        sae.b_enc[-1] = -1e3
        if name == "abstopk":
            sae.encoder[-1] = sae.b_enc[-1] = 0  # dead: no magnitude is smaller
        if SAES[name].get("skip"):
            sae.W_skip.copy_(0.1 * torch.randn(source.d_in, source.d_in))
        if SAES[name].get("rescale_by_decoder_norm"):
            sae.W_dec.mul_(torch.linspace(0.5, 2, N_FEATURES)[:, None])
        if isinstance(sae, JumpreluAutoencoder):
            sae.b_enc[:-1] += 0.5
            sae.threshold.copy_(torch.linspace(-0.1, 1.0, N_FEATURES))
            sae.threshold[1] = sae.threshold[0]
    return sae.eval().requires_grad_(False)


def _filled_layers(sae: LayeredAutoencoder, x: torch.Tensor) -> Autoencoder:
    """Random layers; biases leave some features of a sparse code silent, and the last feature is dead."""
    with torch.no_grad():
        for name, tensor in sae.tensors().items():
            if name.startswith("W"):
                tensor.copy_(torch.randn(tensor.shape) / tensor.shape[0] ** 0.5)
        sae.output_layer.bias.copy_(x.mean(0))
        if sae.config.has_sparse_code:
            sae.code_layer.bias.copy_(-sae.pre_activations(x).quantile(0.9, dim=0))
            sae.code_layer.bias[-1] = -1e3
        else:
            sae.code_layer.rows[-1] = 0
            if sae.config.firing_threshold:
                sae.code_layer.bias.copy_(-sae.pre_activations(x).quantile(0.9, dim=0))
                sae.code_layer.bias[-1] = -1e3
    return sae.eval().requires_grad_(False)


def save_sae(sae: Autoencoder, folder: Path, training: dict[str, Any] | None = None) -> Path:
    native.save(sae, folder, {"training": training or {"seed": 0}})
    return folder


def codes_seen(sae: Autoencoder, source: Source) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Codes [position, n_features] as the pass encodes them, the inputs [position, d_in], items and positions."""
    n_rows = block_rows(sae.n_features)
    encoder = Encoder(sae, n_rows, torch.device("cpu"))
    codes, inputs, items, positions = [], [], [], []
    for rows in rows_of(source, n_rows):
        block = encoder(rows.x)
        if block.dense is not None:
            codes.append(block.dense.numpy().copy())
        else:
            assert block.selection is not None
            dense = torch.zeros(len(rows.items), sae.n_features)
            codes.append(dense.scatter_(1, block.selection.indices, block.selection.values).numpy())
        inputs.append(rows.x.numpy())
        items.append(rows.items)
        positions.append(rows.positions)
    return np.concatenate(codes), np.concatenate(inputs), np.concatenate(items), np.concatenate(positions)
