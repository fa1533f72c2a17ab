"""Parquet files with a column of pictures: bytes, or {bytes, path} as Hugging Face data sets have it."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from saescope.progress import SILENT, Progress
from saescope.sources.files import all_files, files_of
from saescope.sources.images.image_data import ImageSet
from saescope.sources.images.options import ImageOptions
from saescope.sources.images.pictures import Fit, load_pictures
from saescope.sources.options import Split
from saescope.sources.splits import parts_of, splits_of
from saescope.sources.tables.agreement import agreed, refuse_column
from saescope.sources.tables.files import PARQUET, guarded, unambiguous
from saescope.sources.tables.values import bare, not_plain, outside_calendar, python_values
from saescope.store.errors import DataError

MAGIC = b"PAR1"
_IMAGE_NAMES = ("image", "img", "picture", "image_bytes", "png", "jpg", "jpeg", "bytes", "content")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "category", "y", "digit")
_KEPT_GROUPS = 2


class ParquetPictures:
    """Encoded pictures by row, over all row groups of several files. The last few row groups are kept."""

    def __init__(self, files: Sequence[pq.ParquetFile], paths: Sequence[Path], column: str) -> None:
        self._files, self._paths, self._column = files, paths, column
        self._groups = [(f, g) for f, file in enumerate(files) for g in range(file.metadata.num_row_groups)]
        sizes = [files[f].metadata.row_group(g).num_rows for f, g in self._groups]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._file_starts = np.concatenate([[0], np.cumsum([f.metadata.num_rows for f in files], dtype=np.int64)])
        self._kept: OrderedDict[int, pa.Array] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def name(self, index: int) -> str:
        file = int(np.searchsorted(self._file_starts, index, side="right")) - 1
        return f"{self._paths[file]}: column {self._column!r}, row {index - int(self._file_starts[file])}"

    def read(self, indices: Sequence[int]) -> list[bytes]:
        found: list[bytes] = []
        for index in indices:
            group = int(np.searchsorted(self._starts, index, side="right")) - 1
            value = self._group(group)[index - int(self._starts[group])].as_py()
            if value is None:
                raise DataError(f"{self.name(index)}: is null or has no bytes; expected a picture", "remove such rows")
            found.append(value)
        return found

    def _group(self, group: int) -> pa.Array:
        if group in self._kept:
            self._kept.move_to_end(group)
            return self._kept[group]
        file, number = self._groups[group]
        table = guarded(self._paths[file], lambda: self._files[file].read_row_group(number, columns=[self._column]))
        promised = int(self._starts[group + 1] - self._starts[group])
        if len(table) != promised:
            _refuse_count(self._paths[file], len(table), promised)
        values = table[self._column].combine_chunks()
        if pa.types.is_struct(values.type):
            values = pc.struct_field(values, "bytes")
        self._kept[group] = values
        while len(self._kept) > _KEPT_GROUPS:
            self._kept.popitem(last=False)
        return values


@dataclass(frozen=True)
class ParquetData:
    """Parquet files of images: split (or 'all') -> files."""

    options: ImageOptions
    paths: dict[str, list[Path]]
    format: str = "parquet"
    uses: frozenset[str] = frozenset({"data_key", "label_key", "value_range"})
    fit: Fit | None = None
    """Brings pictures of unequal size to one."""
    notes: tuple[str, ...] = ()
    """What a reader of these files should know."""

    @property
    def splits(self) -> Sequence[Split]:
        return splits_of(self.paths)

    def load(self, split: Split | None, progress: Progress = SILENT) -> ImageSet:
        paths = [path for found in parts_of(self.paths, split, self.options.path) for path in found]
        for note in self.notes:
            progress.tell(note)
        files = [_open(path) for path in paths]
        schemas = {path: file.schema_arrow for file, path in zip(files, paths, strict=True)}
        schema = schemas[paths[0]]
        image = _image_column(schema, paths[0], self.options.data_key)
        for path, other in schemas.items():
            kind = other.field(image).type if image in other.names else None
            if kind is None or not _holds_bytes(kind):
                refuse_column(image, path, kind, paths[0], schema.field(image).type)
        common = agreed(
            {
                path: {f.name: _in_all(f.type) for f in other if f.name != image and _is_scalar(f.type)}
                for path, other in schemas.items()
            }
        )
        for note in common.left_out:
            progress.tell(note)
        passed_over = [f.name for f in schema if not _is_scalar(f.type) and f.name not in (image, *common.columns)]
        if passed_over:
            progress.tell(not_plain(passed_over))
        times = {f.name for other in schemas.values() for f in other if pa.types.is_temporal(f.type)}
        wanted = self.options.label_key
        usable = pa.schema([(name, kind) for name, kind in common.columns.items() if name not in times])
        label = _label_column(usable if wanted is None else schema, paths[0], wanted)
        if label is not None and label not in common.columns:
            raise DataError(f"{self.options.path}: {common.left_out[0]}", "name another with --label-key")
        options = self.options
        encoded = ParquetPictures(files, paths, image)
        loaded = load_pictures(encoded, options.image_mode, options.path, progress, self.fit, options.value_range)
        chunks: dict[str, list[pa.ChunkedArray]] = {name: [] for name in common.columns}
        lost = dict.fromkeys(common.columns, 0)
        for file, (path, other) in zip(files, schemas.items(), strict=True):
            read = [name for name in common.columns if name in other.names and _is_scalar(other.field(name).type)]
            table = guarded(path, partial(file.read, columns=read))
            if read and len(table) != file.metadata.num_rows:
                _refuse_count(path, len(table), file.metadata.num_rows)
            for name, kind in common.columns.items():
                if name not in read:
                    chunks[name].append(pa.chunked_array([pa.nulls(file.metadata.num_rows, kind)]))
                    continue
                chunks[name].append(_kept(table[name], kind))
                lost[name] += chunks[name][-1].null_count - table[name].null_count
        for name, n in lost.items():
            if n:
                progress.tell(outside_calendar(name, n))
        columns = {
            name: pa.chunked_array([c for f in found for c in f.chunks], common.columns[name]).combine_chunks()
            for name, found in chunks.items()
        }
        labels = None if label is None else _named(columns.pop(label), schema, label)
        metadata = {n: v for n, v in columns.items() if _may_label(v.type) and n not in times}
        details = {n: v for n, v in columns.items() if n not in metadata}
        return ImageSet(loaded.stack, labels, metadata, details, is_fitted=loaded.is_fitted).by_page(
            loaded.files, loaded.pages
        )


def find_file(path: Path, options: ImageOptions) -> ParquetData:
    """The images of one Parquet file."""
    return ParquetData(options, {"all": [path]})


def find_in_folder(folder: Path, options: ImageOptions) -> ParquetData | None:
    """The Parquet files of a folder, or None. Names such as train-00000-of-00002.parquet tell the splits."""
    every = all_files(folder)
    found = [path for path in every if path.name.lower().endswith(PARQUET)]
    if not found:
        return None
    files = files_of(folder, found, [path for path in every if path not in set(found)])
    return ParquetData(options, files.by_split, notes=tuple(files.notes()))


def _open(path: Path) -> pq.ParquetFile:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; expected a Parquet file")
    file: pq.ParquetFile = guarded(path, lambda: pq.ParquetFile(path))
    unambiguous(file.schema_arrow, path)
    rows = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
    if min(rows, default=0) < 0 or sum(rows) != file.metadata.num_rows:
        _refuse_count(path, sum(rows), file.metadata.num_rows)
    return file


def _refuse_count(path: Path, found: int, promised: int) -> NoReturn:
    raise DataError(
        f"{path}: holds {found} rows where its metadata promises {promised}",
        "the file is damaged: write or copy it again",
    )


def _image_column(schema: pa.Schema, path: Path, wanted: str | None) -> str:
    holds = {f.name: _holds_bytes(f.type) for f in schema}
    columns = ", ".join(f"{f.name} ({f.type})" for f in schema) or "none"
    expected = "a column of encoded pictures (bytes, or a struct with a field 'bytes')"
    if wanted is not None:
        if wanted not in holds:
            raise DataError(f"{path}: no column {wanted!r}; it has {columns}")
        if not holds[wanted]:
            raise DataError(f"{path}: column {wanted!r} is {schema.field(wanted).type}; expected {expected}")
        return wanted
    candidates = [name for name, ok in holds.items() if ok]
    if not candidates:
        raise DataError(f"{path}: holds no images; expected {expected}, found the columns {columns}")
    by_name = [c for n in _IMAGE_NAMES for c in candidates if c.lower() == n]
    if len(candidates) > 1 and not by_name:
        raise DataError(
            f"{path}: cannot tell which column holds the images: {', '.join(candidates)}", "name it with --data-key"
        )
    return (by_name or candidates)[0]


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(f.name == "bytes" and _holds_bytes(f.type) for f in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _label_column(schema: pa.Schema, path: Path, wanted: str | None) -> str | None:
    if wanted is None:
        usable = {f.name.lower(): f.name for f in schema if _may_label(f.type)}
        return next((usable[n] for n in _LABEL_NAMES if n in usable), None)
    if wanted not in schema.names:
        raise DataError(f"{path}: no column {wanted!r} for labels; it has {', '.join(schema.names)}")
    if not _may_label(schema.field(wanted).type):
        raise DataError(
            f"{path}: column {wanted!r} is {schema.field(wanted).type}; expected labels as strings or whole numbers"
        )
    return wanted


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _may_label(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _is_scalar(kind: pa.DataType) -> bool:
    return _may_label(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_temporal(kind)


def _in_all(kind: pa.DataType) -> pa.DataType:
    """The type that a column's values are kept in: texts of any kind, and times, as strings; decimals as
    fractions."""
    if pa.types.is_decimal(kind):
        return pa.float64()
    return pa.string() if _is_text(bare(kind)) or pa.types.is_temporal(kind) else bare(kind)


def _kept(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column's values in the type that they are kept in."""
    if not pa.types.is_temporal(values.type):
        return values.cast(kind, safe=not pa.types.is_floating(kind))  # a fraction may stand for a whole number nearby
    return pa.chunked_array([pa.array(python_values(chunk), pa.string()) for chunk in values.chunks], pa.string())


def _named(values: pa.Array, schema: pa.Schema, column: str) -> pa.Array:
    """Labels as strings, by the class names that Hugging Face data sets keep in the schema's metadata."""
    names: list[str] | None = None
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = info["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        names = None
    if pa.types.is_integer(values.type) and isinstance(names, list):
        indices = values.to_pylist()
        if all(i is None or -1 <= i < len(names) for i in indices):
            return pa.array([None if i is None or i < 0 else str(names[i]) for i in indices], pa.string())
    return values.cast(pa.string())
