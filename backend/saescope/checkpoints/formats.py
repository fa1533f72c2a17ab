"""Checkpoint formats by name. Every module of this package that offers a `FORMAT` is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from saescope.autoencoders.protocol import Autoencoder
from saescope.store.errors import UserError


@dataclass(frozen=True)
class CheckpointFormat:
    """One file format. None of its functions executes code from a checkpoint."""

    name: str
    recognise: Callable[[Path], bool]
    """Whether an existing file or folder looks like this format. Reads little and never raises."""
    load: Callable[[Path], Autoencoder]
    """The SAE on the CPU, checked; `UserError` with all faults at once."""


@cache
def formats() -> dict[str, CheckpointFormat]:
    """All formats, by name."""
    package = importlib.import_module("saescope.checkpoints")
    modules = (importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__))
    found = [module.FORMAT for module in modules if isinstance(getattr(module, "FORMAT", None), CheckpointFormat)]
    return {each.name: each for each in sorted(found, key=lambda f: f.name)}


def load_sae(path: str | Path, format: str | None = None) -> Autoencoder:
    """The SAE of a checkpoint, on the CPU, in evaluation mode and without gradients.

    `path` is a checkpoint's folder or file. `format` None recognises it; a name insists on that format. Raises
    `UserError` where there is none, where no format (or more than one) fits, and where its contents are faulty.
    """
    chosen = _choose(Path(path).expanduser(), format)
    sae = chosen.load(Path(path).expanduser())
    return sae.eval().requires_grad_(False)


def _choose(path: Path, name: str | None) -> CheckpointFormat:
    known = formats()
    listed = ", ".join(known)
    if name is not None and name not in known:
        raise UserError(f"unknown checkpoint format {name!r}", f"known: {listed}")
    if not path.exists():
        hub_like = not path.is_absolute() and str(path).count("/") == 1 and not path.parent.exists()
        hint = "names on a hub are not fetched: download the checkpoint and give its folder" if hub_like else None
        raise UserError(f"no checkpoint at {path}: there is no such file or folder", hint)
    if name is not None:
        return known[name]
    fitting = [each for each in known.values() if each.recognise(path)]
    if not fitting:
        raise UserError(
            f"{path} is no checkpoint of a known format",
            f"known: {listed}; a native one is a folder with cfg.json and sae.safetensors",
        )
    if len(fitting) > 1:
        names = ", ".join(each.name for each in fitting)
        raise UserError(f"{path} fits several checkpoint formats: {names}", "say which with --format")
    return fitting[0]
