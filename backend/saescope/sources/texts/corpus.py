"""A corpus as tokens: made once, kept in the cache folder, mapped into memory.

CACHE/texts/KEY/tokens.bin         token ids of all documents, one after another, uint16 or uint32
CACHE/texts/KEY/starts.npy         int64: where each document begins in it, and where the last one ends
CACHE/texts/KEY/counts.npy         int64: how often each token occurs
CACHE/texts/KEY/documents.parquet  document_id (its index in the corpus) and metadata, a row per document
CACHE/texts/KEY/corpus.json        hashes and numbers: data_sha256 of the documents that are kept, corpus_sha256 of all

KEY is a hash of the data, the tokenizer and the settings. The folder gets its name when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64, UInt

from saescope.models.cache import cache_folder
from saescope.progress import SILENT, Progress
from saescope.sources.mapped_files import map_array
from saescope.sources.options import Split
from saescope.sources.texts.choosing import Chosen
from saescope.sources.texts.documents import Document, Scalar
from saescope.sources.texts.framing import tokenizer_sha256
from saescope.sources.texts.protocol import Documents
from saescope.sources.texts.rendering import Rendering
from saescope.sources.texts.tokenising import TokenisedDocument, tokenised
from saescope.store import atomic
from saescope.store.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VERSION = 1
_ROWS = 4096
_STALE_SECONDS = 3600.0


@dataclass(frozen=True)
class Corpus:
    """Documents as tokens, in the corpus's order; empty ones are not among them."""

    folder: Path
    about: Mapping[str, Any]
    """corpus.json."""

    @property
    def data_sha256(self) -> str:
        """Hash of the documents' texts, whatever file they came from."""
        return str(self.about["data_sha256"])

    @property
    def n_documents(self) -> int:
        return int(self.about["n_documents"])

    @property
    def n_tokens(self) -> int:
        return int(self.about["n_tokens"])

    @cached_property
    def tokens(self) -> UInt[np.ndarray, " token"]:
        """All documents one after another, from the file."""
        return map_array(self.folder / "tokens.bin", np.dtype(self.about["dtype"]), (self.n_tokens,), 0)

    @cached_property
    def starts(self) -> Int64[np.ndarray, " document+1"]:
        """Where each document begins in `tokens`."""
        return np.load(self.folder / "starts.npy", allow_pickle=False)

    @cached_property
    def counts(self) -> Int64[np.ndarray, " vocabulary"]:
        """How often each token occurs."""
        return np.load(self.folder / "counts.npy", allow_pickle=False)

    @property
    def columns(self) -> list[str]:
        """Metadata columns."""
        return [name for name in pq.read_schema(self.folder / "documents.parquet").names if name != "document_id"]

    def documents(self) -> pa.Table:
        """document_id and metadata of every document."""
        return pq.read_table(self.folder / "documents.parquet")


def open_corpus(
    documents: Documents,
    tokenizer: PreTrainedTokenizerBase,
    *,
    split: Split | None,
    separator: int | None,
    max_tokens: int | None,
    subject: str,
    rendering: Rendering | None = None,
    progress: Progress = SILENT,
) -> Corpus:
    """The corpus from the cache, tokenised first where it is not there yet.

    `separator` is a token that follows every document; `rendering` belongs to documents that are
    no texts. Raises `UserError` where there is no text.
    """
    corpus_sha256 = documents.fingerprint(split)
    parts = {
        "version": VERSION,
        "documents": corpus_sha256,
        "split": split,
        "tokenizer": tokenizer_sha256(tokenizer),
        "separator": separator,
        "max_tokens": max_tokens,
        **({} if rendering is None else {"rendering": rendering.key}),
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache_folder() / "texts" / key
    if not (folder / "corpus.json").exists():
        atomic.make_folder(folder.parent)
        _remove_leftovers(folder)
        with atomic.new_folder(folder, shared=True) as building:
            writer = _Writer(building, documents.columns(), tokenizer)
            with writer:
                read = _Numbered(documents.read(split, progress))
                _write(writer, read, tokenizer, separator, max_tokens, rendering)
                if writer.n_tokens == 0:
                    if rendering is not None and rendering.refused:
                        raise DataError(f"{subject}: no conversation can be read", "; ".join(rendering.notes()))
                    empty = f" ({read.n:,} documents, all of them empty)" if read.n else ""
                    raise DataError(f"{subject}: holds no text{empty}", "name texts with at least one token")
                n_empty = read.n - writer.n_documents if max_tokens is None else None
                notes = [] if rendering is None else rendering.notes()
                about = {"corpus_sha256": corpus_sha256, "n_read": read.n, "n_empty": n_empty, "notes": notes}
                writer.finish(about)
    corpus = Corpus(folder, json.loads((folder / "corpus.json").read_text()))
    for note in corpus.about.get("notes", ()):
        progress.tell(f"{subject}: {note}")
    return corpus


def _remove_leftovers(folder: Path) -> None:
    """Removes what killed runs left of this corpus: folders that nobody has written to for an hour."""
    for path in folder.parent.glob(f".{folder.name}.tmp-*"):
        with suppress(OSError):
            if time.time() - (path / "tokens.bin").stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _write(
    writer: _Writer,
    documents: _Numbered,
    tokenizer: PreTrainedTokenizerBase,
    separator: int | None,
    max_tokens: int | None,
    rendering: Rendering | None,
) -> None:
    if max_tokens is None:
        for document in tokenised(documents, tokenizer, rendering=rendering):
            writer.add(document, separator)
        return
    chosen: Chosen[TokenisedDocument] = Chosen(max_tokens)
    for document in tokenised(documents, tokenizer, chosen.may_hold, rendering):
        chosen.add(document.number, len(document.ids), document)
    for _, n_tokens, document in chosen.in_order():
        writer.add(document.cut(n_tokens), separator)


class _Numbered:
    """Documents with their numbers, counted."""

    def __init__(self, documents: Iterator[Document]) -> None:
        self._documents, self.n = documents, 0

    def __iter__(self) -> Iterator[tuple[int, Document]]:
        for document in self._documents:
            self.n += 1
            yield self.n - 1, document


class _Writer:
    """Writes the files of a corpus, document by document."""

    def __init__(self, folder: Path, columns: Mapping[str, pa.DataType], tokenizer: PreTrainedTokenizerBase) -> None:
        vocabulary = max([len(tokenizer) - 1, *tokenizer.get_vocab().values()]) + 1
        self._folder = folder
        self._dtype = np.dtype("<u2" if vocabulary <= 2**16 else "<u4")
        self._counts = np.zeros(vocabulary, dtype=np.int64)
        self._starts = [0]
        self._digest = hashlib.sha256(b"saescope-texts-1\n")
        self._schema = pa.schema([("document_id", pa.int64()), *columns.items()])
        self._rows: list[dict[str, Scalar]] = []

    def __enter__(self) -> _Writer:
        self._tokens = (self._folder / "tokens.bin").open("wb")
        self._parquet = pq.ParquetWriter(self._folder / "documents.parquet", self._schema, compression="zstd")
        return self

    def __exit__(self, *_: object) -> None:
        self._tokens.close()
        self._parquet.close()

    @property
    def n_tokens(self) -> int:
        return self._starts[-1]

    @property
    def n_documents(self) -> int:
        return len(self._starts) - 1

    def add(self, document: TokenisedDocument, separator: int | None) -> None:
        ids = document.ids
        if not len(ids):
            return
        if separator is not None:
            ids = np.append(ids, separator)
        self._tokens.write(ids.astype(self._dtype).tobytes())
        self._counts += np.bincount(ids, minlength=len(self._counts))
        self._starts.append(self._starts[-1] + len(ids))
        self._digest.update(document.sha256)
        self._rows.append({"document_id": document.number, **document.values})
        if len(self._rows) >= _ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows = []

    def finish(self, about: Mapping[str, Any]) -> None:
        self._flush()
        self.__exit__()
        np.save(self._folder / "starts.npy", np.array(self._starts, dtype=np.int64))
        np.save(self._folder / "counts.npy", self._counts)
        content = {
            "version": VERSION,
            "data_sha256": self._digest.hexdigest(),
            "n_documents": self.n_documents,
            "n_tokens": self.n_tokens,
            "dtype": self._dtype.str,
            **about,
        }
        (self._folder / "corpus.json").write_text(json.dumps(content, indent=1))
        for path in self._folder.iterdir():
            atomic.fsync_file(path)
        atomic.fsync_dir(self._folder)
