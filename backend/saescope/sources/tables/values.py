"""Values of a column as Python has them: numbers, booleans, and text for all else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pyarrow as pa

from saescope.sources.files import listed


def bare(kind: pa.DataType) -> pa.DataType:
    """The type of the values of a column, dictionary-encoded or not."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    kind = bare(kind)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_list(kind: pa.DataType) -> bool:
    checks = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    return any(getattr(pa.types, check)(kind) for check in checks)


def is_plain(kind: pa.DataType) -> bool:
    """Whether `kept_type` has a type for such values: text, numbers, booleans, times; or nothing but nulls."""
    kind = bare(kind)
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return is_text(kind) or pa.types.is_temporal(kind) or any(check(kind) for check in numbers)


def kept_type(kind: pa.DataType) -> pa.DataType:
    """Of a column of plain values as metadata: bool, int64, uint64, float64 or string."""
    kind = bare(kind)
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_uint64(kind):
        return kind
    return pa.int64() if pa.types.is_integer(kind) else pa.string()


def python_values(column: pa.Array) -> list[object]:
    """Values of a plain column: text as bytes (nothing promises that it is UTF-8), times as text, numbers as they are.

    A time that Python's calendar has not (a year beyond 9999) is None.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if is_text(kind):
        return list(column.cast(pa.large_binary()).to_pylist())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return list(column.cast(pa.float64(), safe=False).to_pylist())
    if pa.types.is_temporal(kind):
        return list(_times(column))
    return list(column.to_pylist())


def not_plain(columns: Sequence[str]) -> str:
    """A note on columns whose values are no metadata."""
    return f"columns that hold no plain values are not kept: {listed(columns)}"


def outside_calendar(column: str, n: int) -> str:
    """A note on the times of a column that `python_values` makes None."""
    return f"column {column!r}: {n:,} times lie outside the years 1 to 9999 and are left empty"


def _times(column: pa.Array) -> Iterator[str | None]:
    """As Python writes them; nanoseconds, which it has not, as three more digits."""
    kind = column.type
    fractions: list[int | None] | None = None
    if getattr(kind, "unit", None) == "ns" and not pa.types.is_interval(kind):
        counts = column.cast(pa.int64()).to_pylist()
        fractions = [None if count is None else count % 1000 for count in counts]
        whole = pa.array([None if count is None else count // 1000 for count in counts], pa.int64())
        column = whole.cast(_in_microseconds(kind))
    for row, value in enumerate(column):
        text = _written(value)
        if text is not None and fractions is not None and fractions[row]:
            text = _with_nanoseconds(text, fractions[row] or 0)
        yield text


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.time64("us") if pa.types.is_time(kind) else pa.duration("us")


def _written(value: pa.Scalar) -> str | None:
    try:
        found = value.as_py()
    except (ValueError, OverflowError, LookupError, pa.ArrowInvalid):
        if not (pa.types.is_timestamp(value.type) and value.type.tz):
            return None
        # The zone is unknown here, or takes the time beyond the calendar's end: in UTC it may be within.
        return _written(
            pa.scalar(value.value, pa.timestamp(value.type.unit, "UTC" if value.type.tz != "UTC" else None))
        )
    return None if found is None else str(found)


def _with_nanoseconds(text: str, nanoseconds: int) -> str:
    """Three more digits behind the microseconds of a time of day or a duration, wherever it stands in the text."""
    return re.sub(r"(\d+:\d\d:\d\d)(\.\d{6})?", lambda m: f"{m[1]}{m[2] or '.000000'}{nanoseconds:03}", text, count=1)
