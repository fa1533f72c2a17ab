"""An entry's tables for other tools: Parquet as it is, CSV and JSON Lines with nothing left out.

In CSV a list is JSON text and a picture base64; in JSON Lines a list is a list and a picture base64.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import duckdb

from saescope.store.errors import OptionError, StoreError
from saescope.store.read.entry import Entry
from saescope.store.write.atomic import fsync_dir, fsync_file, storage_errors, temporary_name

FORMATS = ("parquet", "csv", "jsonl")


def export(entry: Entry, format: str, out: Path | str, tables: Sequence[str] | None = None) -> list[Path]:
    """Write tables of `entry` (None: all, and the manifest) to the new folder `out`, one file each; the files.

    One table whose `out` ends in .parquet, .csv or .jsonl becomes that file. `out` appears only once it is complete.
    Raises `OptionError` for an unknown format or table, or where `out` exists; `StorageError` where the disk refuses.
    """
    target = Path(out)
    if format not in FORMATS:
        raise OptionError(f"no export format {format!r}", f"use one of {', '.join(FORMATS)}")
    names = entry.tables if tables is None else list(dict.fromkeys(tables))
    for name in names:
        if not entry.has_table(name):
            raise OptionError(f"{entry.sae_id} has no table {name!r}", f"it has {', '.join(entry.tables)}")
    if not names:
        raise OptionError("no table to export", f"{entry.sae_id} has {', '.join(entry.tables)}")
    if os.path.lexists(target):
        raise OptionError(f"{target} exists already", "choose a new name, or remove it first")
    single = tables is not None and len(names) == 1 and target.suffix[1:] in FORMATS
    if single and target.suffix != f".{format}":
        raise OptionError(f"{target} does not end in .{format}", f"name it {target.with_suffix('.' + format)}")

    temporary = temporary_name(target)
    try:
        with storage_errors(f"write {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            if single:
                _write(entry, names[0], format, temporary)
                fsync_file(temporary)
                written = [target]
            else:
                temporary.mkdir()
                for name in names:
                    _write(entry, name, format, temporary / f"{name}.{format}")
                if tables is None:
                    shutil.copyfile(entry.paths.manifest, temporary / "manifest.json")
                written = [target / p.name for p in sorted(temporary.iterdir())]
                for path in temporary.iterdir():
                    fsync_file(path)
                fsync_dir(temporary)
            if os.path.lexists(target):
                raise OptionError(f"{target} exists already", "choose a new name, or remove it first")
            temporary.rename(target)
            fsync_dir(target.parent)
    except BaseException:
        with suppress(OSError):
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink()
        raise
    return written


def _write(entry: Entry, name: str, format: str, out: Path) -> None:
    source = entry.paths.table(name)
    if not source.is_file():
        raise StoreError(f"{source} is missing", "open the entry again (it may have been rebuilt)")
    if format == "parquet":
        shutil.copyfile(source, out)
        return
    read = f"read_parquet({_quoted(source)}, hive_partitioning = false)"
    try:
        with duckdb.connect(config={"threads": "2", "autoinstall_known_extensions": "false"}) as connection:
            columns = connection.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()  # noqa: S608 - a quoted path
            as_text: Callable[[str, str], str] = _csv_column if format == "csv" else _json_column
            chosen = ", ".join(as_text(_identifier(column[0]), column[1]) for column in columns)
            options = "FORMAT csv, HEADER true" if format == "csv" else "FORMAT json, ARRAY false"
            connection.execute(f"COPY (SELECT {chosen} FROM {read}) TO {_quoted(out)} ({options})")  # noqa: S608
    except duckdb.Error as error:
        words = str(error).splitlines()[0]
        if "space left" in words.lower():
            raise OSError(28, "No space left on device") from error
        raise StoreError(f"cannot export {source}: {words}", "run saescope verify") from error


def _csv_column(name: str, kind: str) -> str:
    if kind.endswith("[]"):
        return f"to_json({name})::VARCHAR AS {name}"
    return _json_column(name, kind)


def _json_column(name: str, kind: str) -> str:
    return f"to_base64({name}) AS {name}" if kind == "BLOB" else name


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
