"""Files that are either there in full or not there at all: a temporary name, fsync, rename, fsync of the folder.

Trouble with the disk (full, read-only, no permission, a file in a folder's place) becomes a `StorageError`, which says
what could not be done; the temporary file is removed and what was there before stays.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from saescope.store.errors import StorageError

_REASONS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "free some space and run it again: finished parts are kept"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run it again: finished parts are kept"),
    errno.EFBIG: ("the file would exceed the size limit", "raise the limit on file sizes (ulimit -f) or free space"),
    errno.EACCES: ("permission denied", "check who owns the folder, or choose another one"),
    errno.EPERM: ("not permitted", "check who owns the folder, or choose another one"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written"),
    errno.ENOTDIR: ("a file is where a folder should be", "move that file away, or choose another folder"),
    errno.EISDIR: ("a folder is where a file should be", "move that folder away, or choose another name"),
    errno.EEXIST: ("a file is where a folder should be", "move that file away, or choose another folder"),
    errno.ENOTEMPTY: ("a folder with other files is there", "choose another name, or move that folder away"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter path"),
    errno.EMFILE: ("too many open files", "raise the limit on open files (ulimit -n)"),
    errno.EIO: ("the disk reports an input/output error", "check the disk"),
}


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn an `OSError` that a user can act on into a `StorageError`: "cannot <doing>: <reason>"."""
    try:
        yield
    except OSError as error:
        number = error.errno
        if number is None:  # pyarrow raises some without errno, with the system's words in the message
            number = next((n for n in _REASONS if os.strerror(n) in str(error)), None)
        if number not in _REASONS:
            raise
        reason, hint = _REASONS[number]
        where = f" ({error.filename})" if error.filename and str(error.filename) not in doing else ""
        raise StorageError(f"cannot {doing}: {reason}{where}", hint) from error


def temporary_name(path: Path) -> Path:
    """An unused hidden name beside `path`; see `is_temporary`."""
    return path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")


def is_temporary(path: Path) -> bool:
    """Whether `path` is a leftover of a write that was cut off."""
    return path.name.startswith(".") and ".tmp-" in path.name


def fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_dir(path: Path) -> None:
    """Make renames inside a folder durable. File systems that cannot sync a folder are left alone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it takes `path`'s place durably, on failure it is removed.

    `mode` is the final file's permission bits. Raises `StorageError`.
    """
    temporary = temporary_name(path)
    try:
        with storage_errors(f"write {path}"):
            yield temporary
            fsync_file(temporary)
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(path)
            fsync_dir(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def new_folder(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it takes `path`'s place durably, on failure it is removed.

    An empty folder may be at `path`. Of processes that make the same (`shared`), the first one's folder stays. Raises
    `StorageError`.
    """
    temporary = temporary_name(path)
    try:
        with storage_errors(f"write {path}"):
            temporary.mkdir(parents=True)
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    fsync_file(file)
            fsync_dir(temporary)
            try:
                temporary.rename(path)
            except OSError:
                if not (shared and path.is_dir()):
                    raise
            fsync_dir(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a whole file atomically and durably. Raises `StorageError`."""
    with replacing(path, mode) as temporary, temporary.open("wb") as file:
        file.write(data)


def write_text(path: Path, text: str, mode: int | None = None) -> None:
    """`write_bytes` in UTF-8."""
    write_bytes(path, text.encode(), mode)


def make_folder(path: Path) -> None:
    """Create a folder and its parents. Raises `StorageError`, also where a file has its name."""
    with storage_errors(f"make the folder {path}"):
        path.mkdir(parents=True, exist_ok=True)
