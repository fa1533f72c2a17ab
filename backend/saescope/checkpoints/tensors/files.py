"""What lies at a checkpoint's path, read once however many formats look at it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from saescope.checkpoints.tensors.content import Content, read_json, read_weights
from saescope.store.errors import CheckpointError

WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".npz", ".bin", ".ckpt")
"""Endings of files that may hold weights."""
CONFIG_SUFFIXES = (".json", ".yaml", ".yml", ".parquet")
"""Endings of files that stand beside them."""


class CheckpointFiles:
    """The files of one checkpoint: a folder, or one file with what stands beside it.

    `origin` is where they came from, for what only names say: the path, or the hub name that it was fetched for.
    """

    def __init__(self, path: Path, origin: str | None = None) -> None:
        self.path = path
        self.origin = origin or str(path.resolve())
        self._configs: dict[Path, dict[str, Any]] = {}
        self._contents: dict[Path, Content | CheckpointError] = {}

    def is_inside(self, pattern: str) -> bool:
        """Whether one of the last folders on the way there has a name like this."""
        return any(re.fullmatch(pattern, part) for part in re.split(r"[/\\]", self.origin)[-6:])

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def find(self, *names: str) -> Path | None:
        """The first of these files (relative to the folder) that is there. Where the path is a file itself, it must be
        one of the checkpoint's: another weights file beside it is none of its business."""
        there = [self.folder / name for name in names if (self.folder / name).is_file()]
        if self.path.is_file() and self.path.suffix in WEIGHTS_SUFFIXES:
            there = [file for file in there if file.suffix not in WEIGHTS_SUFFIXES or file == self.path]
        return there[0] if there else None

    def config(self, *names: str) -> dict[str, Any] | None:
        """The first of these JSON files that is there; None where none is. `CheckpointError` where it cannot be
        read."""
        path = self.find(*names)
        if path is None:
            return None
        if path not in self._configs:
            self._configs[path] = read_json(path)
        return self._configs[path]

    def config_or_nothing(self, *names: str) -> dict[str, Any]:
        """`config` for recognising a format: empty where there is none, or a damaged one."""
        try:
            return self.config(*names) or {}
        except CheckpointError:
            return {}

    @cached_property
    def single(self) -> Path | None:
        """The only weights file: the path itself whatever it is called, or the one in the folder."""
        if self.path.is_file():
            return None if self.path.suffix in CONFIG_SUFFIXES else self.path
        found = weights_files(self.path)
        return found[0] if len(found) == 1 else None

    def content(self, path: Path) -> Content:
        """What a weights file holds. `CheckpointError` where it cannot be read safely."""
        if path not in self._contents:
            try:
                self._contents[path] = read_weights(path)
            except CheckpointError as error:
                self._contents[path] = error
        found = self._contents[path]
        if isinstance(found, CheckpointError):
            raise found
        return found

    def remember(self, path: Path, content: Content) -> None:
        """Content that a format read in a way of its own."""
        self._contents[path] = content

    @property
    def read(self) -> tuple[Path, ...]:
        """The weights files that were read."""
        return tuple(path for path, found in self._contents.items() if isinstance(found, Content))

    def content_or_nothing(self, path: Path | None) -> Content:
        """`content` for recognising a format: empty where there is no file, or none that can be read."""
        if path is None:
            return Content({})
        try:
            return self.content(path)
        except CheckpointError:
            return Content({})

    @property
    def single_content(self) -> Content:
        """What the only weights file holds; empty where there is none, or none that can be read."""
        return self.content_or_nothing(self.single)


def weights_files(folder: Path) -> Sequence[Path]:
    """Files in a folder that may hold weights, by name; those that training leaves beside them are left out."""
    beside = ("optimizer", "lr_scheduler", "state", "sparsity", "trainer_state", "activations_store_state", "training")
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and file.suffix in WEIGHTS_SUFFIXES and not file.stem.startswith(beside)
    )
