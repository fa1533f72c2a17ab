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

from pathlib import Path
from typing import Any

import torch

from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.config import Config
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import metadata
from saescope.checkpoints.scaling import scale_input
from saescope.checkpoints.tensors.content import parse_json, read_torch_bytes
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

MAX_HEADER_BYTES = 2**20
LATEST_SCHEMA = 5

_ACTIVATIONS = {"relu": "relu", "topk": "topk", "batchtopk": "batchtopk"}


def recognise(files: CheckpointFiles) -> bool:
    if files.single is None or files.single.suffix not in (".pt", ".pth", ".ckpt"):
        return False
    return _header(files.single) is not None


def _header(path: Path) -> tuple[Config, int] | None:
    """The header and where it ends; None where there is none."""
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_HEADER_BYTES)
        header = parse_json(line) if line[:1] == b"{" else None
    except (OSError, ValueError):
        return None
    return (Config(header, f"the header of {path}"), len(line)) if isinstance(header, dict) else None


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    path = files.single
    if path is None:
        raise CheckpointError(f"{files.path} holds no single weights file", "give the file, sae.pt")
    found = _header(path)
    if found is None:
        raise CheckpointError(f"{path} does not begin with a line of JSON", "a file of saev begins with its header")
    header, start = found
    schema = header.whole("schema")
    if schema is not None and schema > LATEST_SCHEMA:
        raise CheckpointError(f"{path} has schema {schema!r}, this program reads up to {LATEST_SCHEMA}")
    config = header.inner("cfg") if schema is not None and "cfg" in header else header
    name, params = _activation(header, config, schema)
    d_in = config.whole("d_model", "d_vit")
    n_features = config.whole("d_sae") or (d_in or 0) * (config.whole("exp_factor") or 0) or None
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
        fields["k"] = assume.need("k", params.whole("top_k", "k"), f"the header of {path}")
    if name == "topk":
        fields["signed"] = True
    if name == "batchtopk":
        threshold = assume.need("threshold", threshold, str(path))
        tensors["threshold"] = torch.tensor(max(float(threshold), 0.0))
    scale = assume.get("input_scale")
    if scale is not None:
        scale_input(tensors, scale)
    return Loaded(assemble(name, tensors, **fields), metadata(original_config=header.values))


def _subtracts(schema: int | None, assume: Assumptions, path: Path) -> bool:
    if schema == 1:
        assumed = assume.get("subtract_b_dec")
        return bool(assumed)
    return bool(assume.settle("subtract_b_dec", schema is None, f"the header of {path}"))


def _activation(header: Config, config: Config, schema: int | None) -> tuple[str, Config]:
    """The architecture and the parameters of the activation function."""
    if schema is None:
        return "relu", config
    if isinstance(config.any("activation"), dict):
        activation = config.inner("activation")
        called, params = activation.text("cls"), activation.inner("params")
    else:
        called, params = header.text("cls") or config.text("activation") or "Relu", config
    name = _ACTIVATIONS.get((called or "").rpartition(".")[2].lower())
    if name is None:
        raise CheckpointError(f"{header.where} has the activation function {called!r}", "known: Relu, TopK, BatchTopK")
    return name, params


FORMAT = CheckpointFormat("saev", recognise, load)
