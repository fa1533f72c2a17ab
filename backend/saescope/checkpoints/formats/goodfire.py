"""Goodfire's SAEs: one .pth or .pt file with encoder_linear and decoder_linear.

f = ReLU(x encoder_linear.weight^T + encoder_linear.bias),  x_hat = f decoder_linear.weight^T + decoder_linear.bias
"""

from __future__ import annotations

import re

from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import metadata
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError


def recognise(files: CheckpointFiles) -> bool:
    return {"encoder_linear.weight", "decoder_linear.weight"} <= set(files.single_content.tensors)


def load(files: CheckpointFiles, _: Assumptions) -> Loaded:
    if files.single is None:
        raise CheckpointError(f"{files.path} holds no single weights file", "give the .pth file itself")
    weights = Weights(str(files.single), files.content(files.single))
    tensors = weights.take_linear_layers(
        "encoder_linear.weight", "encoder_linear.bias", "decoder_linear.weight", "decoder_linear.bias"
    )
    weights.check()
    named = re.search(r"(Llama-3\.\d-\d+B-Instruct)-SAE-l(\d+)", files.origin)
    found = {}
    if named is not None:
        layer = int(named[2])
        found = metadata(model=f"meta-llama/{named[1]}", hook=f"model.layers.{layer}", layer=layer)
    return Loaded(assemble("relu", tensors), found)


FORMAT = CheckpointFormat("goodfire", recognise, load)
