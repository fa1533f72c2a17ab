"""State dicts of autoencoders with several Linear layers each way: encoder.0, encoder.2, ..., decoder.0, decoder.2, ...

What stands between the layers has no weights, so it is not recorded: ReLU, after each layer but the decoder's last.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from saescope.autoencoders.deep.module import DeepAutoencoder, DeepConfig
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.formats.protocol import Loaded
from saescope.checkpoints.tensors.content import Content
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

_LAYER = re.compile(r"(encoder|enc|decoder|dec)(?:\.(\d+))?\.weight")


def is_deep(tensors: dict[str, Tensor]) -> bool:
    """Whether these are the layers of such an autoencoder: more than one encodes, or decodes."""
    sides = _sides(tensors)
    return all(sides) and max(map(len, sides)) > 1


def _sides(tensors: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """The layers' names, in their order, of the encoder and of the decoder."""
    found = sorted((m[1][0], int(m[2] or 0), name) for name in tensors if (m := _LAYER.fullmatch(name)) is not None)
    names = {side: [name.removesuffix(".weight") for each, _, name in found if each == side] for side in "ed"}
    return names["e"], names["d"]


def load_deep(content: Content, assume: Assumptions, where: str) -> Loaded:
    """The deep SAE, with ReLU or, with an assumed k, its k largest as the code."""
    activation = assume.get("activation")
    if activation not in (None, "relu", "topk"):
        raise CheckpointError(f"activation={activation} is assumed, but the code of a deep SAE is relu or topk")
    k = assume.need("k", None, where) if activation == "topk" else assume.get("k")
    weights = Weights(where, content)
    encoder, decoder = _sides(content.tensors)
    sizes = [
        "d_in",
        *(f"the width after {name}" for name in encoder[:-1]),
        "n_features",
        *(f"the width after {name}" for name in decoder[:-1]),
        "d_in",
    ]
    matrices, biases = list[Tensor](), list[Tensor]()
    for name, before, after in zip([*encoder, *decoder], sizes[:-1], sizes[1:], strict=True):
        matrices.append(weights.take(f"{name}.weight", after, before).T)
        bias = weights.take_if_there(f"{name}.bias", after)
        biases.append(torch.zeros(matrices[-1].shape[-1]) if bias is None else bias)
    weights.check()
    config = DeepConfig(
        d_in=weights.size("d_in"),
        n_features=weights.size("n_features"),
        encoder_widths=tuple(weights.size(size) for size in sizes[1 : len(encoder)]),
        decoder_widths=tuple(weights.size(size) for size in sizes[len(encoder) + 1 : -1]),
        k=k or 0,
    )
    sae = DeepAutoencoder(config)
    kinds = [name for name in sae.tensors() if name.startswith("W_")]  # in the order of the layers
    named = dict(zip(kinds, matrices, strict=True)) | dict(
        zip([f"b_{name.removeprefix('W_')}" for name in kinds], biases, strict=True)
    )
    sae.load_tensors(named)
    between = "does not record what stands between its layers: read as ReLU, after each but the decoder's last"
    return Loaded(sae, {}, (f"{where} {between}",))
