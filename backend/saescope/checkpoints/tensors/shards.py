"""Tensors that are spread over several files, with an index beside them: `model.safetensors.index.json` or
`pytorch_model.bin.index.json`, whose `weight_map` names the file of each tensor."""

from __future__ import annotations

import re
from pathlib import Path

from saescope.checkpoints.tensors.content import Content, read_json, read_weights, without_prefix
from saescope.store.errors import CheckpointError, CheckpointFaults

INDEX_SUFFIX = ".index.json"
SHARD = re.compile(r"(.+)-\d+-of-\d+(\.\w+)")
"""Name of one of the files, as the libraries that split checkpoints give them: model-00001-of-00002.safetensors."""


def is_index(path: Path) -> bool:
    """Whether this is the name of an index."""
    return path.name.endswith(INDEX_SUFFIX)


def index_of(shard: Path) -> Path | None:
    """The index beside a file that names it; None where there is none."""
    return next((index for index in indices_in(shard.parent) if shard.name in shard_names(index)), None)


def indices_in(folder: Path) -> list[Path]:
    """The indices in a folder, by name."""
    return sorted(file for file in folder.glob(f"*{INDEX_SUFFIX}") if file.is_file())


def shard_names(index: Path) -> set[str]:
    """Names of the files that an index speaks of; of a damaged one, those that are called as its shards are."""
    try:
        return set(_weight_map(index).values())
    except CheckpointError:
        called = index.name.removesuffix(INDEX_SUFFIX)
        matches = ((file.name, SHARD.fullmatch(file.name)) for file in index.parent.iterdir())
        return {name for name, match in matches if match is not None and match[1] + match[2] == called}


def read_shards(index: Path) -> tuple[Content, tuple[Path, ...]]:
    """All tensors that the index names, and the files that they are in.

    Raises `CheckpointFaults` with every file and every tensor that is missing, in its file or in the index.
    """
    weight_map = _weight_map(index)
    files = {name: index.parent / name for name in sorted(set(weight_map.values()))}
    there = {name: path for name, path in files.items() if path.is_file()}
    faults = [f"{name} is missing" for name in files if name not in there]
    contents = {name: read_weights(path, is_part=True) for name, path in there.items()}
    faults += [
        f"tensor {tensor} is not in {file}, where the index says it is"
        for tensor, file in weight_map.items()
        if file in there and tensor not in contents[file].tensors
    ]
    faults += [
        f"tensor {tensor} of {file} is not in the index"
        for file, content in contents.items()
        for tensor in content.tensors
        if tensor not in weight_map
    ]
    if faults:
        raise CheckpointFaults(
            f"checkpoint {index}", faults, "copy all of its files, and the index that belongs to them, into one folder"
        )
    tensors = {tensor: contents[file].tensors[tensor] for tensor, file in weight_map.items()}
    values = {name: value for content in contents.values() for name, value in content.values.items()}
    return Content(without_prefix(tensors), values), tuple(there.values())


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor -> name of its file, beside the index."""
    found = read_json(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{index} has no weight_map that names each tensor's file")
    for tensor, file in found.items():
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".", ".."):
            raise CheckpointError(
                f"{index} places the tensor {tensor} in {file!r}, expected the name of a file beside it"
            )
    return found
