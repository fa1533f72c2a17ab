"""Data sets of the Hugging Face hub, through the package `datasets` where it is installed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.options import Split
from saescope.sources.splits import by_name, parts_of, splits_of
from saescope.sources.texts.columns import MASK, TextColumn, form_of_value, text_column
from saescope.sources.texts.documents import Document, free_name, scalar, well_formed
from saescope.store.errors import DataError, UserError

PREFIX = "hf:"


@dataclass(frozen=True)
class HubTexts:
    """'hf:OWNER/NAME' or 'hf:OWNER/NAME:CONFIGURATION', streamed: nothing is downloaded that is not read."""

    name: str
    text_key: str | None
    format: str = "hub"
    uses_text_key: bool = True

    @cached_property
    def _parts(self) -> Mapping[str, Any]:
        """Split -> streamed data set."""
        if importlib.util.find_spec("datasets") is None:
            raise UserError(
                f"{PREFIX}{self.name}: data sets of the hub are read by the package datasets, which is not installed",
                "pip install datasets, or save the data set as Parquet and name the file",
            )
        datasets = importlib.import_module("datasets")
        path, _, configuration = self.name.partition(":")
        with self._hub_errors():
            loaded = datasets.load_dataset(path, configuration or None, streaming=True)
        return {str(name): part for name, part in loaded.items()}

    @contextmanager
    def _hub_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the hub's client raises whatever the network and the data lead it to
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{PREFIX}{self.name}: cannot be read from the hub ({reason})",
                "check the name and the network, or download its files and name the folder: --texts FOLDER",
            ) from error

    def notes(self) -> Sequence[str]:
        return self.text.notes()

    def fingerprint(self, split: Split | None) -> str:
        """By the commit that the data set is at on the hub."""
        import huggingface_hub

        parts = self._parts  # tells first that the package is missing
        with self._hub_errors():
            commit = huggingface_hub.HfApi().dataset_info(self.name.partition(":")[0]).sha
        names = self.text.key(), self._names[1]
        return hashlib.sha256(repr([self.name, split, names, sorted(parts), commit]).encode()).hexdigest()

    @property
    def splits(self) -> Sequence[Split]:
        return splits_of(self._by_split)

    @property
    def _by_split(self) -> Mapping[str, list[Any]]:
        divided = by_name(names := list(self._parts))
        return {s: [self._parts[names[i]] for i in found] for s, found in divided.items()} or {
            "all": list(self._parts.values())
        }

    def _of(self, split: Split | None) -> list[Any]:
        return [part for found in parts_of(self._by_split, split, PREFIX + self.name) for part in found]

    @cached_property
    def _names(self) -> tuple[TextColumn, tuple[str, ...]]:
        first = next(iter(self._parts.values()))
        row = next(self._rows(first), {})
        forms = {n: form_of_value(n, v, n == self.text_key) for n, v in row.items()}
        text = text_column(forms, self.text_key, PREFIX + self.name)
        others = (n for n, v in row.items() if n != text.name and isinstance(v, str | int | float | bool | None))
        return replace(text, form=text.form or "text"), tuple(others)

    @property
    def text(self) -> TextColumn:
        return self._names[0]

    def _rows(self, part: Any) -> Iterator[Mapping[str, Any]]:
        rows = iter(part)
        while True:
            with self._hub_errors():
                row = next(rows, None)
            if row is None:
                return
            yield row

    def columns(self) -> Mapping[str, pa.DataType]:
        return {free_name(name): pa.string() for name in self._names[1]}

    def read(self, split: Split | None, progress: Progress = SILENT) -> Iterator[Document]:
        text, others = self._names
        done = 0
        for part in self._of(split):
            for row in self._rows(part):
                value = row.get(text.name)
                kept = {free_name(n): None if row.get(n) is None else str(scalar(row[n])) for n in others}
                if text.form == "text":
                    yield Document((well_formed(str(value)),) if value else (), kept)
                else:
                    yield text.document(value, kept, row.get(MASK), f"{PREFIX}{self.name}: row {done}")
                done += 1
                progress.update("tokenising texts", done, done + 1, f"{done:,} documents")
