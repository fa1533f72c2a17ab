"""Plain text: a file is a document, or several where lines of <|endoftext|> or form feeds part them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.files import Files
from saescope.sources.options import Split
from saescope.sources.splits import WORDS
from saescope.sources.streams import open_bytes
from saescope.sources.texts.columns import TextColumn
from saescope.sources.texts.documents import Document

SEPARATORS = ("\f", "<|endoftext|>")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class PlainTexts:
    """Text files. Of a folder, `file` and, where there are two or more sub-folders, `folder` are metadata."""

    files: Files
    format: str = "text"
    uses_text_key: bool = False
    text: TextColumn | None = None

    @property
    def splits(self) -> Sequence[Split]:
        return self.files.splits

    @cached_property
    def _folders(self) -> bool:
        parts = [self.files.name(path).split("/") for path in self.files.all]
        return len({p[0] for p in parts if len(p) > 1} - set(chain.from_iterable(WORDS.values()))) >= 2

    def columns(self) -> Mapping[str, pa.DataType]:
        if self.files.root in self.files.all:
            return {}
        return {"file": pa.string(), **({"folder": pa.string()} if self._folders else {})}

    def notes(self) -> Sequence[str]:
        return self.files.notes()

    def fingerprint(self, split: Split | None) -> str:
        return self.files.fingerprint(split, self.format)

    def read(self, split: Split | None, progress: Progress = SILENT) -> Iterator[Document]:
        paths = self.files.of(split)
        total, done = sum(path.stat().st_size for path in paths), 0
        for path in paths:
            name = self.files.name(path)
            values: dict[str, str | None] = {}
            if path != self.files.root:
                values["file"] = name
                if self._folders:
                    values["folder"] = name.split("/")[0] if "/" in name else None
            for parts in _documents(path):
                yield Document(parts, values)
            done += path.stat().st_size
            progress.update("tokenising texts", done, total)


def is_text(path: Path) -> bool:
    """Whether a file looks like text: no NUL among its first bytes, unless it is UTF-16 that says so.

    `DataError` where it cannot be read.
    """
    with open_bytes(path) as file:
        head = file.read(8192)
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" not in head


def _documents(path: Path) -> Iterator[Iterator[str]]:
    """The documents of a file. A long one arrives in parts, so that a file need not fit into memory."""
    blocks = _blocks(path)
    rest = next(blocks, "")
    more = True

    def parts() -> Iterator[str]:
        nonlocal rest, more
        while True:
            cut, length = _first_separator(rest)
            if cut >= 0:
                text, rest = rest[:cut], rest[cut + length :]
                if text:
                    yield text
                return
            following = next(blocks, None)
            if following is None:
                text, rest, more = rest, "", False
                if text:
                    yield text
                return
            # A separator may lie across the border of two blocks: the end of this one is kept back.
            kept = max(len(s) for s in SEPARATORS)
            if len(rest) > _BLOCK:
                text, rest = rest[:-kept], rest[-kept:]
                yield text
            rest += following

    while more:
        document = parts()
        yield document
        for _ in document:  # what the reader left unread belongs to this document still
            pass


def _first_separator(text: str) -> tuple[int, int]:
    found = [(text.find(s), len(s)) for s in SEPARATORS]
    return min(((at, length) for at, length in found if at >= 0), default=(-1, 0))


def _blocks(path: Path) -> Iterator[str]:
    with open_bytes(path) as file:
        data = file.read(_BLOCK)
        name = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        decoder = codecs.getincrementaldecoder(name)("replace")
        while data:
            yield decoder.decode(data)
            data = file.read(_BLOCK)
        yield decoder.decode(b"", True)
