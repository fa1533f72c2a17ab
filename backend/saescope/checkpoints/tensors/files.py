"""What lies at a checkpoint's path, read once however many formats look at it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from saescope.checkpoints.config import Config
from saescope.checkpoints.tensors.content import Content, read_json, read_weights
from saescope.checkpoints.tensors.shards import INDEX_SUFFIX, index_of, indices_in, is_index, read_shards, shard_names
from saescope.store.errors import CheckpointError

WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".npz", ".bin", ".ckpt")
"""Endings of files that may hold weights."""
CONFIG_SUFFIXES = (".json", ".yaml", ".yml", ".parquet")
"""Endings of files that stand beside them."""


class CheckpointFiles:
    """The files of one checkpoint: a folder, or one file with what stands beside it.

    Weights that are spread over several files are told by their index: it stands for them, wherever a weights file is
    asked for, and any one of them stands for it. `origin` is where the files came from, for what only names say: the
    path, or the hub name that it was fetched for.
    """

    def __init__(self, path: Path, origin: str | None = None) -> None:
        index = index_of(path) if path.is_file() and path.suffix in WEIGHTS_SUFFIXES else None
        self.path = path if index is None else index
        self.origin = origin or str(path.resolve())
        self._configs: dict[Path, Config | CheckpointError] = {}
        self._contents: dict[Path, Content | CheckpointError] = {}
        self._shards: dict[Path, tuple[Path, ...]] = {}

    def is_inside(self, pattern: str) -> bool:
        """Whether one of the last folders on the way there has a name like this."""
        return any(re.fullmatch(pattern, part) for part in re.split(r"[/\\]", self.origin)[-6:])

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def find(self, *names: str) -> Path | None:
        """The first of these files (relative to the folder) that is there, or, of weights, an index that stands for it.
        Where the path is a file itself, it must be one of the checkpoint's: another weights file beside it is none of
        its business."""
        there = [path for name in names if (path := self._there(name)) is not None]
        if self.path.is_file() and _is_weights(self.path):
            there = [file for file in there if not _is_weights(file) or file == self.path]
        return there[0] if there else None

    def _there(self, name: str) -> Path | None:
        path = self.folder / name
        if path.is_file():
            return path
        if not _is_weights(path):
            return None
        index = self.folder / f"{name}{INDEX_SUFFIX}"
        return index if index.is_file() else None

    @property
    def spread(self) -> Path | None:
        """The index of the only weights where they are spread over several files, under whatever name."""
        return self.single if self.single is not None and is_index(self.single) else None

    def config(self, *names: str) -> Config | None:
        """The first of these JSON files that is there; None where none is. `CheckpointError` where it cannot be
        read."""
        found = self._config(*names)
        if isinstance(found, CheckpointError):
            raise found
        return found

    def config_or_nothing(self, *names: str) -> Config:
        """`config` for recognising a format: empty where there is none, or a damaged one."""
        found = self._config(*names)
        return found if isinstance(found, Config) else Config({}, names[0])

    def _config(self, *names: str) -> Config | CheckpointError | None:
        path = self.find(*names)
        if path is not None and path not in self._configs:
            try:
                self._configs[path] = Config(read_json(path), path.name)
            except CheckpointError as error:
                self._configs[path] = error
        return None if path is None else self._configs[path]

    @cached_property
    def single(self) -> Path | None:
        """The only weights file: the path itself whatever it is called, or the one in the folder."""
        if self.path.is_file():
            return None if self.path.suffix in CONFIG_SUFFIXES and not is_index(self.path) else self.path
        found = weights_files(self.path)
        return found[0] if len(found) == 1 else None

    def content(self, path: Path) -> Content:
        """What a weights file holds. `CheckpointError` where it cannot be read safely."""
        found = self._content(path)
        if isinstance(found, CheckpointError):
            raise found
        return found

    def _content(self, path: Path) -> Content | CheckpointError:
        if path not in self._contents:
            try:
                if is_index(path):
                    self._contents[path], self._shards[path] = read_shards(path)
                else:
                    self._contents[path] = read_weights(path)
            except CheckpointError as error:
                self._contents[path] = error
        return self._contents[path]

    def remember(self, path: Path, content: Content) -> None:
        """Content that a format read in a way of its own."""
        self._contents[path] = content

    @property
    def read(self) -> tuple[Path, ...]:
        """The weights files that were read."""
        read = (path for path, found in self._contents.items() if isinstance(found, Content))
        return tuple(file for path in read for file in self._shards.get(path, (path,)))

    def content_or_nothing(self, path: Path | None) -> Content:
        """`content` for recognising a format: empty where there is no file, or none that can be read."""
        found = None if path is None else self._content(path)
        return found if isinstance(found, Content) else Content({})

    @property
    def single_content(self) -> Content:
        """What the only weights file holds; empty where there is none, or none that can be read."""
        return self.content_or_nothing(self.single)


def _is_weights(path: Path) -> bool:
    return path.suffix in WEIGHTS_SUFFIXES or is_index(path)


def weights_files(folder: Path) -> Sequence[Path]:
    """Files in a folder that may hold weights, by name, each index in the place of its shards; those that training
    leaves beside them are left out."""
    of_training = (
        "optimizer",
        "lr_scheduler",
        "state",
        "sparsity",
        "trainer_state",
        "activations_store_state",
        "training",
    )
    indices = indices_in(folder)
    shards = {name for index in indices for name in shard_names(index)}
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file()
        and (file in indices or (file.suffix in WEIGHTS_SUFFIXES and file.name not in shards))
        and not file.stem.startswith(of_training)
    )
