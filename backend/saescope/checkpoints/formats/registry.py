"""Checkpoint formats by name. Every module of this package that offers a `FORMAT` is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.correcting import CORRECTIONS, corrected
from saescope.checkpoints.hub import HubName, fetch
from saescope.checkpoints.tensors.files import CheckpointFiles, weights_files
from saescope.store.errors import UserError


class CheckpointWarning(UserWarning):
    """Something about a checkpoint that its reader should know: a guess that was made, or what it leaves out."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was read."""

    sae: Autoencoder
    """Takes raw activations; on the CPU, in evaluation mode, without gradients."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What its files say about where it belongs, JSON-ready: model, hook, layer, context_size, prepend_bos, ..."""
    notes: tuple[str, ...] = ()
    """What its reader should know, a sentence each."""
    format: str = ""
    """Name of the format that it was read as."""
    weights: tuple[Path, ...] = ()
    """The weights files that were looked into."""
    corrections: tuple[str, ...] = ()
    """Names of assumptions that changed what was read."""


@dataclass(frozen=True)
class CheckpointFormat:
    """One file format. None of its functions executes code from a checkpoint."""

    name: str
    recognise: Callable[[CheckpointFiles], bool]
    """Whether the files look like this format. Reads little and never raises."""
    load: Callable[[CheckpointFiles, Assumptions], Loaded]
    """The SAE, checked; `UserError` with all faults at once."""
    last_resort: bool = False
    """Whether it is tried only where no other format fits."""


@cache
def known_formats() -> dict[str, CheckpointFormat]:
    """All formats, by name."""
    package = importlib.import_module("saescope.checkpoints.formats")
    modules = (importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__))
    found = [module.FORMAT for module in modules if isinstance(getattr(module, "FORMAT", None), CheckpointFormat)]
    return {each.name: each for each in sorted(found, key=lambda f: f.name)}


def load_sae(path: str | Path, format: str | None = None, assume: Mapping[str, Any] | None = None) -> Autoencoder:
    """The SAE of a checkpoint, on the CPU, in evaluation mode and without gradients.

    `path` is a checkpoint's folder or file, or a name on the Hugging Face hub ("org/repo/folder", "hf:org/repo").
    `format` None recognises it; a name insists on that format. `assume` says what its files do not record, e.g.
    {"k": 32}. Raises `UserError` where there is none, where no format (or more than one) fits, and where its contents
    are faulty; warns with `CheckpointWarning` of what it had to guess.
    """
    loaded = load_checkpoint(path, format, assume)
    for note in loaded.notes:
        warnings.warn(note, CheckpointWarning, stacklevel=2)
    return loaded.sae


def load_checkpoint(path: str | Path, format: str | None = None, assume: Mapping[str, Any] | None = None) -> Loaded:
    """`load_sae` with all that the checkpoint says beside its weights; warns of nothing, `notes` has it."""
    known = known_formats()
    if format is not None and format not in known:
        raise UserError(f"unknown checkpoint format {format!r}", f"known: {', '.join(known)}")
    assumptions = Assumptions(assume)
    files = locate(path)
    chosen = known[format] if format is not None else _recognised(files)
    loaded = chosen.load(files, assumptions)
    corrections = assumptions.left(CORRECTIONS)
    assumptions.check_all_used(chosen.name)
    sae = corrected(loaded.sae, corrections).eval().requires_grad_(False)
    return Loaded(sae, loaded.metadata, loaded.notes, chosen.name, files.read, tuple(corrections))


def locate(path: str | Path) -> CheckpointFiles:
    """The files at a path or behind a hub name. `UserError` where there are none."""
    local = Path(path).expanduser()
    if local.exists():
        return CheckpointFiles(local)
    name = HubName.parse(str(path))
    if name is None:
        raise UserError(f"no checkpoint at {path}: there is no such file or folder")
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
        raise UserError(f"{files.path} may be read as {' or as '.join(names)}", f"say which, e.g. --format {names[0]}")
    if files.single is not None:
        names_of = ", ".join(sorted(files.content(files.single).tensors)[:8])  # raises where it cannot be read
        raise UserError(
            f"{files.path} is no checkpoint of a known format: its tensors are {names_of or 'none'}",
            f"known: {', '.join(known)}",
        )
    weights = [] if files.path.is_file() else weights_files(files.path)
    if len(weights) > 1:
        listed = ", ".join(file.name for file in weights[:6])
        raise UserError(f"{files.path} holds {len(weights)} weights files: {listed}", "give the path of one of them")
    raise UserError(
        f"{files.path} is no checkpoint of a known format",
        f"known: {', '.join(known)}; a native one is a folder with cfg.json and sae.safetensors",
    )
