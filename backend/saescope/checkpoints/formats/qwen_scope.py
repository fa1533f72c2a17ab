"""Qwen Scope: TopK SAEs, one file per layer (`SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer0.sae.pt`).

Names are those of SAELens, but W_enc is [n_features, d_in] and W_dec [d_in, n_features]. The file does not hold k: it
stands in the repository's name. b_dec is not subtracted from the input.
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

_FILE = re.compile(r"layer(\d+)\.sae\.pt")
_REPOSITORY = re.compile(r"SAE-Res-(.+?)-W(\d+)K-L0_(\d+)")


def recognise(files: CheckpointFiles) -> bool:
    return (
        files.single is not None
        and _FILE.fullmatch(files.single.name) is not None
        and set(files.single_content.tensors) == {"W_enc", "W_dec", "b_enc", "b_dec"}
    )


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    if files.single is None:
        raise CheckpointError(f"{files.path} holds no single weights file", "give the file of one layer, layerN.sae.pt")
    weights = Weights(str(files.single), files.content(files.single))
    tensors = weights.take_linear_layers("W_enc", "b_enc", "W_dec", "b_dec")
    weights.check()
    repository, file = _REPOSITORY.search(files.origin), _FILE.search(files.single.name)
    k = assume.need("k", None if repository is None else int(repository[3]), f"the path of {files.single}")
    layer = None if file is None else int(file[1])
    found = metadata(
        model=None if repository is None else f"Qwen/{repository[1]}",
        hook=None if layer is None else f"model.layers.{layer}",
        layer=layer,
    )
    return Loaded(assemble("topk", tensors, k=k), found)


FORMAT = CheckpointFormat("qwen_scope", recognise, load)
