"""Where a model's files are: a hub name stays a name, all else becomes a local folder."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from saescope.models import smollm2
from saescope.models.gguf_files import dequantised
from saescope.models.options import ModelOptions
from saescope.progress import SILENT, Progress
from saescope.store.errors import CheckpointError, UserError

EMBEDDED = "embedded:"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_OFFLINE_HINT = (
    "where the hub cannot be reached, copy the model's folder (config.json, *.safetensors, tokenizer files) here and "
    "give its path, or use embedded:smollm2"
)


@dataclass(frozen=True)
class Located:
    """What transformers is asked for."""

    path: str
    """A local folder, or a name on the hub."""
    revision: str | None
    is_local: bool


def locate(options: ModelOptions, progress: Progress = SILENT) -> Located:
    """Find the model that `options` name. A GGUF file is dequantised (once) on the way.

    Raises `CheckpointError` for a path that is not there or holds no model.
    """
    name = options.name
    if name.startswith(EMBEDDED):
        if name != smollm2.NAME:
            raise CheckpointError(f"there is no model {name}", f"the embedded model is {smollm2.NAME}")
        return Located(str(dequantised(smollm2.gguf_file(progress), progress)), None, True)
    path = Path(name).expanduser()
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError:  # a name too long for a path, say
        is_folder = is_file = False
    if is_folder:
        _check_folder(path)
        return Located(str(path), None, True)
    if name.lower().endswith(".gguf"):
        if not is_file:
            raise CheckpointError(f"{path}: no such GGUF file", _nearest_paths(path) or "check the path")
        return Located(str(dequantised(path, progress)), None, True)
    if is_file:
        raise CheckpointError(f"{path}: is a file, but no .gguf", "give the model's folder, a .gguf file or a hub name")
    if name.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(name):
        raise CheckpointError(
            f"{name}: no such folder, and no name of a model on the hub", _nearest_paths(path) or _OFFLINE_HINT
        )
    return Located(name, options.revision, False)


def _check_folder(path: Path) -> None:
    if (path / "config.json").is_file():
        return
    files = sorted(p.name for p in path.glob("*.gguf"))
    if files:
        raise CheckpointError(f"{path}: holds no config.json, but GGUF files", f"give the file: {path / files[0]}")
    raise CheckpointError(
        f"{path}: holds no model (no config.json)", "give the folder with config.json and the weights"
    )


def _nearest_paths(path: Path) -> str | None:
    """A hint with the nearest names in the folder of a path that is not there."""
    try:
        names = [p.name for p in path.parent.iterdir() if not p.name.startswith(".")]
    except OSError:
        return None
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(str(path.parent / n) for n in near)}?" if near else None


def _near_names(name: str) -> list[str]:
    """Models at hand (in the hub's cache, or embedded) whose names are like `name`."""
    from huggingface_hub import scan_cache_dir

    known = [smollm2.NAME]
    with suppress(Exception):  # no cache, or a damaged one: nothing to suggest from
        known += [repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model"]
    return difflib.get_close_matches(name, known, n=3, cutoff=0.5)


@contextmanager
def loading_errors(located: Located, what: str) -> Iterator[None]:
    """Turn what transformers raises when `what` (a model, a tokenizer, ...) does not load into a `CheckpointError`."""
    from huggingface_hub import errors as hub
    from safetensors import SafetensorError

    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        subject = f"{what} {located.path}"
        causes = list(_causes(error))
        if located.is_local:
            raise CheckpointError(
                f"{subject} cannot be loaded: {_first_line(error)}",
                "check that the folder is complete: config.json, the weights, and the tokenizer's or the image "
                "processor's files",
            ) from error
        if any(isinstance(c, hub.GatedRepoError) for c in causes):
            raise CheckpointError(
                f"{subject}: the hub gives it only to those whom its owner allows", "hf auth login"
            ) from error
        if any(isinstance(c, hub.RevisionNotFoundError) for c in causes):
            raise CheckpointError(f"{subject}: the hub has no revision {located.revision!r} of it") from error
        near = _near_names(located.path)
        hint = f"did you mean {' or '.join(near)}? Else " if near else ""
        if any(isinstance(c, hub.RepositoryNotFoundError) for c in causes):
            raise CheckpointError(f"{subject}: the hub has no model of this name", f"{hint}{_OFFLINE_HINT}") from error
        if isinstance(error, OSError):
            raise CheckpointError(
                f"{subject}: no folder of this name is here, and the hub did not give it ({_first_line(error)})",
                f"{hint}{_OFFLINE_HINT}",
            ) from error
        raise CheckpointError(f"{subject} cannot be loaded: {_first_line(error)}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
