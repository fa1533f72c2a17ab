"""saev: one file `sae.pt` whose first line is a JSON header, with what torch.save wrote after it.

| header | config | the decoder's bias |
|---|---|---|
| no `schema` (saev 0.1): d_vit, exp_factor, ... | ReLU, exp_factor * d_vit features | subtracted from the input |
| `schema` 1: `cls`, or cfg.activation | Relu, TopK, BatchTopK | `--assume subtract_b_dec=yes` where it was |
| `schema` 2 to 5: cfg with d_model, activation | the same | not subtracted |

TopK keeps negative values among the k largest. BatchTopK has activation.threshold; one of 0 or less leaves ReLU. Inputs
of saev 0.1 were (activation - mean) / scale, both kept outside the file; the scale goes in by `--assume input_scale`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import metadata
from saescope.checkpoints.scaling import scale_input
from saescope.checkpoints.tensors.content import read_torch_bytes
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

MAX_HEADER_BYTES = 2**20
LATEST_SCHEMA = 5

_ACTIVATIONS = {"relu": "relu", "topk": "topk", "batchtopk": "batchtopk"}


def recognise(files: CheckpointFiles) -> bool:
    if files.single is None or files.single.suffix not in (".pt", ".pth", ".ckpt"):
        return False
    try:
        _header(files.single)
    except CheckpointError:
        return False
    return True


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header and where it ends."""
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_HEADER_BYTES)
        header = json.loads(line) if line[:1] == b"{" else None
    except (OSError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} does not begin with a line of JSON", "a file of saev begins with its header")
    return header, len(line)


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    path = files.single
    if path is None:
        raise CheckpointError(f"{files.path} holds no single weights file", "give the file, sae.pt")
    header, start = _header(path)
    schema = header.get("schema")
    if schema is not None and (not isinstance(schema, int) or not 1 <= schema <= LATEST_SCHEMA):
        raise CheckpointError(f"{path} has schema {schema!r}, this program reads up to {LATEST_SCHEMA}")
    config = header.get("cfg", header) if schema is not None else header
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: cfg of its header is a {type(config).__name__}, expected an object")
    name, params = _activation(header, config, schema, path)
    d_in = config.get("d_model") or config.get("d_vit")
    n_features = config.get("d_sae") or (d_in or 0) * config.get("exp_factor", 0) or None
    with path.open("rb") as file:
        file.seek(start)
        content = read_torch_bytes(file.read(), path)
    files.remember(path, content)
    weights = Weights(str(path), content, {"d_in": d_in, "n_features": n_features})
    tensors = {
        "W_enc": weights.take("W_enc", "d_in", "n_features"),
        "b_enc": weights.take("b_enc", "n_features"),
        "W_dec": weights.take("W_dec", "n_features", "d_in"),
        "b_dec": weights.take("b_dec", "d_in"),
    }
    threshold = weights.number("activation.threshold")
    weights.check()
    fields: dict[str, Any] = {"apply_b_dec_to_input": _subtracts(schema, assume, path)}
    if name != "relu":
        fields["k"] = assume.need("k", params.get("top_k", params.get("k")), f"the header of {path}")
    if name == "topk":
        fields["signed"] = True
    if name == "batchtopk":
        threshold = assume.need("threshold", threshold, str(path))
        tensors["threshold"] = torch.tensor(max(float(threshold), 0.0))
    scale = assume.get("input_scale")
    if scale is not None:
        scale_input(tensors, scale)
    return Loaded(assemble(name, tensors, **fields), metadata(original_config=header))


def _subtracts(schema: int | None, assume: Assumptions, path: Path) -> bool:
    if schema == 1:
        assumed = assume.get("subtract_b_dec")
        return bool(assumed)
    return bool(assume.settle("subtract_b_dec", schema is None, f"the header of {path}"))


def _activation(
    header: dict[str, Any], config: dict[str, Any], schema: int | None, path: Path
) -> tuple[str, dict[str, Any]]:
    """The architecture and the parameters of the activation function."""
    if schema is None:
        return "relu", {}
    activation = config.get("activation")
    if isinstance(activation, dict):
        called, params = activation.get("cls"), activation.get("params") or {}
    else:
        called, params = header.get("cls", activation if isinstance(activation, str) else "Relu"), config
    name = _ACTIVATIONS.get(str(called).rpartition(".")[2].lower())
    if name is None or not isinstance(params, dict):
        raise CheckpointError(f"{path} has the activation function {called!r}", "known: Relu, TopK, BatchTopK")
    return name, params


FORMAT = CheckpointFormat("saev", recognise, load)
