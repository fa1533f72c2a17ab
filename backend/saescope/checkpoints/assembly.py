"""From tensors in the project's own layout to an SAE."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saescope.autoencoders import architecture
from saescope.autoencoders.protocol import Autoencoder


def assemble(name: str, tensors: dict[str, Tensor], **fields: Any) -> Autoencoder:
    """The SAE of architecture `name` with these tensors (W_enc [d_in, n_features], W_dec [n_features, d_out], b_dec,
    ..., checked before) and these fields beside its widths, which the tensors have. A missing b_enc is 0.

    Raises `CheckpointError` where the fields do not fit.
    """
    d_in, n_features = tensors["W_enc"].shape
    d_out = tensors["W_dec"].shape[1]
    if name != "gated" and "b_enc" not in tensors:
        tensors = {**tensors, "b_enc": torch.zeros(n_features)}
    kind = architecture(name)
    config = kind.config(d_in=d_in, n_features=n_features, d_out=d_out, **fields)
    with torch.device("meta"):
        model = kind.module(config)
    names = model.tensors().keys()
    assert names == tensors.keys(), f"a {name} SAE has tensors {sorted(names)}, given {sorted(tensors)}"
    model = model.to_empty(device="cpu")
    model.load_tensors(tensors)
    return model
