"""What every corpus is, whatever files it comes from: documents that are read one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.options import Split
from saescope.sources.texts.columns import TextColumn
from saescope.sources.texts.documents import Document


class Documents(Protocol):
    """A corpus on disk, embedded or on a hub. Reading it twice gives the same documents in the same order."""

    @property
    def format(self) -> str:
        """'parquet', 'jsonl', 'csv', 'text', ..."""
        ...

    @property
    def splits(self) -> Sequence[Split]:
        """('train', 'test') where the data has both, else ()."""
        ...

    @property
    def uses_text_key(self) -> bool:
        """Whether the option text_key means something here."""
        ...

    @property
    def text(self) -> TextColumn | None:
        """The column that is read; None where there are no columns."""
        ...

    def columns(self) -> Mapping[str, pa.DataType]:
        """Metadata columns and their types."""
        ...

    def notes(self) -> Sequence[str]:
        """What was chosen where the data leaves a choice, and what is not read: a line each."""
        ...

    def fingerprint(self, split: Split | None) -> str:
        """Changes whenever what would be read changes."""
        ...

    def read(self, split: Split | None, progress: Progress = SILENT) -> Iterator[Document]:
        """The documents of a split (None: all), streamed. Empty ones are among them."""
        ...
