"""Columns of several files of one table: only what is read must agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from saescope.store.errors import DataError


@dataclass(frozen=True)
class Agreement:
    """What the files of a table have in common beside the columns that decide what is read."""

    columns: Mapping[str, pa.DataType]
    """Name -> the type that holds its values in all files, in the order of first appearance."""
    left_out: Sequence[str]
    """Notes on columns that no type holds."""


def agreed(schemas: Mapping[Path, Mapping[str, pa.DataType]]) -> Agreement:
    """Columns of every file, widened where their types differ; a file without a column has nulls there."""
    columns: dict[str, pa.DataType] = {}
    first: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for path, schema in schemas.items():
        for name, kind in schema.items():
            if name not in columns:
                columns[name], first[name] = kind, path
                continue
            both = _wider(columns[name], kind)
            if both is None:
                kinds = f"{columns[name]} in {first[name].name} and {kind} in {path.name}"
                left_out.setdefault(name, f"column {name!r} is left out: it is {kinds}")
            else:
                columns[name] = both
    return Agreement({n: t for n, t in columns.items() if n not in left_out}, list(left_out.values()))


def refuse_column(name: str, path: Path, kind: pa.DataType | None, first: Path, expected: pa.DataType) -> NoReturn:
    """`DataError`: the column that is read is missing (`kind` None) in a file, or of another kind than in the first."""
    found = f"no column {name!r}" if kind is None else f"column {name!r} is {kind}"
    raise DataError(
        f"{path}: columns differ from those of {first.name}: {found} here, {expected} there",
        "write the files with one type for this column, and keep other tables in folders of their own",
    )


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if one.equals(other):
        return one
    if any(map(pa.types.is_uint64, (one, other))) and any(map(pa.types.is_signed_integer, (one, other))):
        return None  # Arrow would say int64, which has not all values of uint64
    try:
        schemas = [pa.schema([("c", kind)]) for kind in (one, other)]
        found: pa.DataType = pa.unify_schemas(schemas, promote_options="permissive").field("c").type
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return None
    return found
