"""An entry's tables for other tools: Parquet as it is, CSV and JSON Lines with nothing left out.

Tables of older versions are exported as they would be written today (see `older`), with a manifest that fits them.

In CSV a list is JSON text and a picture base64; in JSON Lines a list is a list and a picture base64.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from saescope.store.atomic import make_folder, new_folder, replacing
from saescope.store.errors import OptionError, StoreError
from saescope.store.format.hashing import hash_file
from saescope.store.format.schema import TABLES_VERSION
from saescope.store.format.tables import write_parquet
from saescope.store.read.entry import Entry
from saescope.store.read.older_tables import selection

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
    _check_new(target)
    single = tables is not None and len(names) == 1 and target.suffix[1:] in FORMATS
    if single and target.suffix != f".{format}":
        raise OptionError(f"{target} does not end in .{format}", f"name it {target.with_suffix('.' + format)}")

    make_folder(target.parent)
    if single:
        with replacing(target) as temporary:
            _write(entry, names[0], format, temporary)
            _check_new(target)
        return [target]
    with new_folder(target) as temporary:
        for name in names:
            _write(entry, name, format, temporary / f"{name}.{format}")
        if tables is None:
            _write_manifest(entry, format, temporary)
        written = [target / p.name for p in sorted(temporary.iterdir())]
        _check_new(target)
    return written


def _check_new(target: Path) -> None:
    if os.path.lexists(target):
        raise OptionError(f"{target} exists already", "choose a new name, or remove it first")


def _write(entry: Entry, name: str, format: str, out: Path) -> None:
    source = entry.paths.table(name)
    if not source.is_file():
        raise StoreError(f"{source} is missing", "open the entry again (it may have been rebuilt)")
    selected = selection(name, entry.manifest.tables_version)
    if format == "parquet":
        if selected == "*":
            shutil.copyfile(source, out)
        else:
            write_parquet(out, name, entry.table(name))
        return
    read = f"(SELECT {selected} FROM read_parquet({_quoted(source)}, hive_partitioning = false))"  # noqa: S608 - ours
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


def _write_manifest(entry: Entry, format: str, folder: Path) -> None:
    """The entry's manifest, telling of the Parquet files in `folder`."""
    manifest = entry.manifest
    if format != "parquet" or manifest.tables_version == TABLES_VERSION:
        shutil.copyfile(entry.paths.manifest, folder / "manifest.json")
        return
    written = {path.name: hash_file(path) for path in folder.iterdir()}
    files = manifest.files | written
    text = replace(manifest, tables_version=TABLES_VERSION, files=files).to_json()
    (folder / "manifest.json").write_text(text, encoding="utf-8")


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
