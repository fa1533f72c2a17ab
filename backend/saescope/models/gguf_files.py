"""GGUF files: dequantised once to float32 and kept as a folder of safetensors, config and tokenizer.

transformers dequantises a GGUF each time that it loads one, and cannot save the model that comes of it. Here the
weights are written as they come; the folder loads in seconds, like any other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from saescope.models.cache import cache_folder, remembered_sha256
from saescope.models.silence import quiet
from saescope.progress import SILENT, Progress
from saescope.store import atomic
from saescope.store.errors import CheckpointError, StorageError

_FORMAT = 1
"""Raised when what is written for the same file changes."""
_MAGIC = b"GGUF"


def dequantised(path: Path, progress: Progress = SILENT) -> Path:
    """The folder with the model of a GGUF file, keyed by the file's SHA-256; made now if it is not there.

    Needs about 4 bytes per weight, in memory and on disk, the first time. Raises `CheckpointError` for a file that
    is not GGUF, is damaged, or holds an architecture that transformers cannot read.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    if magic != _MAGIC:
        raise CheckpointError(f"{path}: is not a GGUF file (it starts with bytes {magic.hex(' ')})", "fetch it again")
    folder = cache_folder() / "models" / "gguf" / f"{remembered_sha256(path, progress)[:32]}-{_FORMAT}"
    if not folder.is_dir():
        _make(path, folder, progress)
    return folder


def _make(path: Path, folder: Path, progress: Progress) -> None:
    stage = f"dequantising {path.name} (once)"
    atomic.make_folder(folder.parent)
    with atomic.new_folder(folder, shared=True) as temporary:
        _write(path, temporary, progress, stage)


def _write(path: Path, folder: Path, progress: Progress, stage: str) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers import modeling_gguf_pytorch_utils as reading

    where, name = str(path.parent), path.name
    try:
        with quiet():
            progress.update(stage, 0, 1, "settings")
            config = AutoConfig.from_pretrained(where, gguf_file=name)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config)
            # Its own bar would be drawn over ours.
            with _replaced(reading, "tqdm", lambda tensors, **_: _watched(tensors, progress, stage)):
                read = reading.load_gguf_checkpoint(os.fspath(path), return_tensors=True, model_to_load=model)
            tensors = read["tensors"]
            progress.update(stage, 0, 1, "tokenizer")
            AutoTokenizer.from_pretrained(where, gguf_file=name).save_pretrained(folder)
            progress.update(stage, 0, 1, "writing")
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's trouble, not the file's
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: cannot be read as a model: {first}", "fetch the file again, or another model"
        ) from error
    tied = set(model.all_tied_weights_keys) if config.tie_word_embeddings else set()
    missing = sorted(set(model.state_dict()) - set(tensors) - tied)
    if missing:
        raise CheckpointError(f"{path}: lacks {len(missing)} weights of a {type(model).__name__}, such as {missing[0]}")
    config.architectures = [type(model).__name__]
    config.dtype = torch.float32
    config.save_pretrained(folder)
    floats = {key: tensor.to(torch.float32).contiguous() for key, tensor in tensors.items()}
    needed, free = sum(tensor.nbytes for tensor in floats.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"the weights of {path.name} take {needed / 2**30:.1f} GiB in {folder.parent}, where "
            f"{free / 2**30:.1f} GiB are free",
            "free some space, or set SAESCOPE_CACHE to a folder on a larger disk",
        )
    try:
        save_file(floats, folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:  # another took the space, or the disk failed
        raise StorageError(f"cannot write {folder.parent}: {error}", "check the disk, or set SAESCOPE_CACHE") from error
    progress.update(stage, 1, 1)


def _watched(tensors: Sequence[Any], progress: Progress, stage: str) -> Iterator[Any]:
    for done, tensor in enumerate(tensors):
        progress.update(stage, done, len(tensors), "weights")
        yield tensor


@contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
