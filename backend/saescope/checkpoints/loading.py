"""Reading a checkpoint of any format: finding its files, telling its format, and correcting what was read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.config import Config
from saescope.checkpoints.corrections import CORRECTIONS, corrected
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.formats.registry import known_formats
from saescope.checkpoints.hub import HubName, fetch
from saescope.checkpoints.tensors.files import CheckpointFiles, weights_files
from saescope.store.errors import CheckpointError, OptionError


class CheckpointWarning(UserWarning):
    """Something about a checkpoint that its reader should know: a guess that was made, or what it leaves out."""


def load_sae(path: str | Path, format: str | None = None, assume: Mapping[str, Any] | None = None) -> Autoencoder:
    """The SAE of a checkpoint, on the CPU, in evaluation mode and without gradients.

    `path` is a checkpoint's folder or file, or a name on the Hugging Face hub ("org/repo/folder", "hf:org/repo").
    `format` None recognises it; a name insists on that format. `assume` says what its files do not record, e.g.
    {"k": 32}. Raises `CheckpointError` where there is none, where no format (or more than one) fits, and where its
    contents are faulty; warns with `CheckpointWarning` of what it had to guess.
    """
    loaded = load_checkpoint(path, format, assume)
    for note in loaded.notes:
        warnings.warn(note, CheckpointWarning, stacklevel=2)
    return loaded.sae


def load_checkpoint(path: str | Path, format: str | None = None, assume: Mapping[str, Any] | None = None) -> Loaded:
    """`load_sae` with all that the checkpoint says beside its weights; warns of nothing, `notes` has it."""
    known = known_formats()
    if format is not None and format not in known:
        raise OptionError(f"unknown checkpoint format {format!r}", f"known: {', '.join(known)}")
    assumptions = Assumptions(assume)
    files = locate(path)
    chosen = known[format] if format is not None else _recognised(files)
    loaded = chosen.load(files, assumptions)
    corrections = assumptions.left(CORRECTIONS)
    assumptions.check_all_used(chosen.name)
    sae = corrected(loaded.sae, corrections).eval().requires_grad_(False)
    return Loaded(sae, loaded.metadata, loaded.notes, chosen.name, files.read, tuple(corrections))


class RecordedPlace(NamedTuple):
    """Where a checkpoint says that it was trained, in the words of its own library; None where it does not say."""

    model: str | None
    hook: str | None
    hook_out: str | None
    """Where a transcoder's target stands."""
    head: int | None
    prepend_bos: bool | None
    context_size: int | None


def recorded_place(
    path: str | Path, format: str | None = None, assume: Mapping[str, Any] | None = None
) -> RecordedPlace:
    """The place that a checkpoint records: what a source that it is examined on should be. As `load_sae`."""
    recorded = Config(load_checkpoint(path, format, assume).metadata, str(path))
    return RecordedPlace(
        recorded.text("model"),
        recorded.text("hook"),
        recorded.text("hook_out"),
        recorded.whole("head", least=0),
        recorded.flag("prepend_bos") if "prepend_bos" in recorded else None,
        recorded.whole("context_size"),
    )


def locate(path: str | Path) -> CheckpointFiles:
    """The files at a path or behind a hub name. `CheckpointError` where there are none."""
    local = Path(path).expanduser()
    if local.is_file() or local.is_dir():
        return CheckpointFiles(local)
    if local.exists():
        raise CheckpointError(
            f"{local} is neither a file nor a folder but a pipe or device", "give a checkpoint's path"
        )
    name = HubName.parse(str(path))
    if name is None:
        raise CheckpointError(f"no checkpoint at {path}: there is no such file or folder")
    return CheckpointFiles(fetch(name), origin=str(name))


def _recognised(files: CheckpointFiles) -> CheckpointFormat:
    known = known_formats()
    fitting = [each for each in known.values() if not each.last_resort and each.recognise(files)]
    if not fitting:
        for name in ("cfg.json", "config.json"):
            files.config(name)  # a damaged one says more than a guess without it
    fitting = fitting or [each for each in known.values() if each.last_resort and each.recognise(files)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = [each.name for each in fitting]
        raise CheckpointError(
            f"{files.path} may be read as {' or as '.join(names)}", f"say which, e.g. --format {names[0]}"
        )
    if files.single is not None:
        names_of = ", ".join(sorted(files.content(files.single).tensors)[:8])  # raises where it cannot be read
        raise CheckpointError(
            f"{files.path} is no checkpoint of a known format: its tensors are {names_of or 'none'}",
            f"known: {', '.join(known)}",
        )
    weights = [] if files.path.is_file() else weights_files(files.path)
    if len(weights) > 1:
        listed = ", ".join(file.name for file in weights[:6])
        raise CheckpointError(
            f"{files.path} holds {len(weights)} weights files: {listed}", "give the path of one of them"
        )
    raise CheckpointError(
        f"{files.path} is no checkpoint of a known format",
        f"known: {', '.join(known)}; a native one is a folder with cfg.json and sae.safetensors",
    )
