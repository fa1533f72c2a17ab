"""From any format to the native one, or to SAELens'."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.formats import native, saelens_writer
from saescope.checkpoints.formats.protocol import Loaded
from saescope.checkpoints.loading import load_checkpoint, locate
from saescope.store import atomic
from saescope.store.errors import OptionError
from saescope.store.format.hashing import file_sha256

Target = Literal["native", "saelens"]


class NativeCheckpoint(NamedTuple):
    """A checkpoint as the native format has it, wherever it came from."""

    folder: Path
    """Holds cfg.json and sae.safetensors."""
    sae: Autoencoder
    config: dict[str, Any]
    """cfg.json."""
    whitening: native.Whitening | None
    notes: tuple[str, ...]
    """What its reader should know, a sentence each."""
    metadata: dict[str, Any]
    """What its files say about where it belongs: see `Loaded`."""


@contextmanager
def as_native(
    path: str | Path, format: str | None = None, assume: Mapping[str, Any] | None = None
) -> Iterator[NativeCheckpoint]:
    """The checkpoint itself where it is native, with its weights in one file; else a converted copy, which is gone
    afterwards.

    The same files give the same copy, byte for byte.
    """
    loaded = load_checkpoint(path, format, assume)
    with tempfile.TemporaryDirectory(prefix="saescope-") as scratch:
        folder = Path(scratch)
        as_it_is = loaded.format == "native" and not loaded.corrections
        if as_it_is and (locate(path).folder / native.WEIGHTS_NAME).is_file():
            folder = locate(path).folder
        else:
            _write(loaded, path, "native", folder)
        config = native.read_config(folder)
        whitening = native.read_whitening(folder)
        yield NativeCheckpoint(folder, loaded.sae, config, whitening, loaded.notes, loaded.metadata)


def training_space(loaded: Loaded, path: str | Path) -> tuple[dict[str, Any], native.Whitening | None]:
    """What the checkpoint says of its training: cfg.json of a native one, and the whitened space that it was trained
    in. Other formats say nothing of it."""
    if loaded.format != "native":
        return {}, None
    with native.in_one_file(locate(path)) as folder:
        return native.read_config(folder), native.read_whitening(folder)


def convert(
    path: str | Path,
    to: Target,
    out: Path,
    format: str | None = None,
    assume: Mapping[str, Any] | None = None,
) -> Loaded:
    """Writes the checkpoint at `path` to the folder `out` in another format, all of it or nothing; returns what was
    read. Raises `CheckpointError` where `out` holds anything, or the other format cannot say the same."""
    if to not in get_args(Target):
        raise OptionError(f"cannot write the format {to!r}", f"known: {', '.join(get_args(Target))}")
    _check_free(out)
    loaded = load_checkpoint(path, format, assume)
    atomic.make_folder(out.parent)
    with atomic.new_folder(out) as temporary:
        _write(loaded, path, to, temporary)
    return loaded


def _write(loaded: Loaded, path: str | Path, to: Target, folder: Path) -> None:
    if to == "saelens":
        saelens_writer.save(loaded.sae, folder, loaded.metadata)
    elif loaded.format == "native":
        config, whitening = training_space(loaded, path)
        extra = {name: config[name] for name in native.EXTRA_KEYS if name in config}
        if loaded.corrections:
            extra["metadata"] = {**(extra.get("metadata") or {}), "corrected": list(loaded.corrections)}
        native.save(loaded.sae, folder, extra, whitening=whitening)
    else:
        native.save(loaded.sae, folder, {"metadata": metadata_of(loaded)})


def metadata_of(loaded: Loaded) -> dict[str, Any]:
    """The native cfg.json's `metadata` of a converted checkpoint: what its files say, and which files they were."""
    digests = {file.name: file_sha256(file) for file in loaded.weights}
    corrected = {"corrected": list(loaded.corrections)} if loaded.corrections else {}
    return {**loaded.metadata, **corrected, "converted_from": {"format": loaded.format, "sha256": digests}}


def _check_free(out: Path) -> None:
    if out.is_dir():
        inside = sorted(each.name for each in out.iterdir())
        if inside:
            raise OptionError(
                f"{out} holds {', '.join(inside[:4])} already", "name a folder that is empty or not there"
            )
    elif out.exists():
        raise OptionError(f"{out} is a file, and a folder is to be written", "name another folder")
