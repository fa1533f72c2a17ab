"""SAEs of this project, written in SAELens' format, and what they compute: for sae-lens to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from saescope.autoencoders import architecture
from saescope.checkpoints.conversion import convert
from saescope.checkpoints.formats import native
from tests.parity.cases import D_IN, N_FEATURES, fill, inputs, write

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("relu", {"apply_b_dec_to_input": True}),
    "relu-layer-norm": ("relu", {"input_normalization": "layer_norm"}),
    "relu-norm": ("relu", {"input_normalization": "norm"}),
    "relu-rescaled": ("relu", {"rescale_by_decoder_norm": True}),
    "relu-transcoder": ("relu", {"d_out": D_IN - 2, "skip": True}),
    "gated": ("gated", {"apply_b_dec_to_input": True}),
    "jumprelu": ("jumprelu", {}),
    "jumprelu-transcoder": ("jumprelu", {"transcoder": True}),
    "topk": ("topk", {"k": 3}),
    "topk-rescaled": ("topk", {"k": 3, "rescale_by_decoder_norm": True}),
    "abstopk": ("abstopk", {"k": 3, "apply_b_dec_to_input": True}),
    "batchtopk": ("batchtopk", {"k": 3}),
    "matryoshka": ("matryoshka", {"k": 3, "group_sizes": (4, 8), "rescale_by_decoder_norm": True}),
}


@torch.no_grad()
def write_converted(root: Path) -> None:
    """A folder per kind: the converted checkpoint, inputs, and what the SAE here makes of them."""
    x = inputs()
    for name, (kind, fields) in KINDS.items():
        made = architecture(kind)
        sae = made.module(made.config(d_in=D_IN, n_features=N_FEATURES, **fields))
        fill(sae)
        if hasattr(sae, "threshold"):
            sae.threshold.abs_()
        native.save(sae, root / "native" / name)
        convert(root / "native" / name, "saelens", root / name)
        out = sae(x)
        write(root / name, x, out.codes, out.reconstruction)
