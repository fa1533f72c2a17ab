"""Files as streams of bytes: unpacked where they are compressed, and never pipes or devices.

Memory is bounded by what the reader asks for. What has to be held whole (a line, an array) may unpack to `limit` bytes.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, AnyStr, cast

import pyarrow as pa

from saescope.store.errors import DataError

GROWTH = 100
"""What is held whole may unpack to this many times the file's size, if that is over `SMALL`."""
SMALL = 1 << 28
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd")


def bare_name(name: str) -> str:
    """A file's name in lower case, without the suffix of a compression."""
    lower = name.lower()
    return next((lower.removesuffix(s) for s in _SUFFIXES if lower.endswith(s)), lower)


def printable(name: str) -> str:
    """A file's name as text: bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def compression_of(head: bytes) -> str | None:
    """'gzip', 'bzip2', 'xz' or 'zstd', told by a file's first 6 bytes; None for any other content."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def check_regular(path: Path) -> None:
    """`DataError` for pipes, devices and sockets: they cannot be read twice, and reading may never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # told by whoever opens it
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{path}: is a pipe, a device or a socket, not a file", "write its content to a file first")


def head_of(path: Path, n: int = 16) -> bytes:
    """The first bytes of a regular file. `DataError` where there is none, or it cannot be read."""
    check_regular(path)
    with reading_errors(path), path.open("rb") as file:
        return file.read(n)


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's content, unpacked where it is compressed (told by content). `DataError` where reading it fails."""
    kind = compression_of(head_of(path))
    with reading_errors(path, kind), cast("IO[bytes]", _opened(path, kind)) as file:
        yield file


def lines_of(file: IO[AnyStr], path: Path) -> Iterator[AnyStr]:
    """The lines of an opened file, with their ends. `DataError` for one that unpacks to more than `limit` allows."""
    most = limit(path)
    while line := file.readline(most + 1):
        if len(line) > most:
            raise bomb(path, "a line")
        yield line


def limit(path: Path) -> int:
    """Bytes that what is held whole of a file may unpack to."""
    return max(SMALL, GROWTH * path.stat().st_size)


def bomb(path: Path, what: str) -> DataError:
    """That `what` of a compressed file is larger than its `limit`."""
    return DataError(
        f"{path}: {what} unpacks to more than {limit(path):,} bytes, from a file of {path.stat().st_size:,}",
        "if that is meant, unpack the file first",
    )


def _opened(path: Path, kind: str | None) -> Any:
    if kind == "gzip":
        return gzip.open(path)
    if kind == "bzip2":
        return bz2.open(path)
    if kind == "xz":
        return lzma.open(path)
    if kind == "zstd":
        return io.BufferedReader(cast("Any", pa.input_stream(str(path), compression="zstd")))
    return path.open("rb")


@contextmanager
def reading_errors(path: Path, kind: str | None = None) -> Iterator[None]:
    """Failures of reading, as `DataError`s that name the file."""
    try:
        yield
    except (zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged {kind} ({error})", "copy it again") from None
    except OSError as error:
        if kind in ("bzip2", "zstd") and not error.filename:
            raise DataError(f"{path}: damaged {kind} ({error})", "copy it again") from None
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        if "null byte" in str(error) or "null character" in str(error):
            raise DataError(f"{str(path)!r}: no file has such a name") from None
        raise
