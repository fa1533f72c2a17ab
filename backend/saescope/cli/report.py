"""What commands print on stdout: lines for people, or one JSON object for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import click

from saescope.cli.run import silence
from saescope.store import numbers

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def line(text: str = "") -> None:
    """One line of text on stdout. Quiet where the reader has gone (`| head`): the command still ends as it should."""
    try:
        click.echo(text)
    except BrokenPipeError:
        silence(sys.stdout)


def json_object(content: Mapping[str, Any]) -> None:
    """One JSON object on stdout; what JSON has no word for (NaN, infinities) becomes null."""
    from saescope.store.format.manifest import json_ready

    line(json.dumps(json_ready(_plain(content)), ensure_ascii=not _holds_all(), allow_nan=False))


def _holds_all() -> bool:
    """Whether stdout's encoding has every character."""
    return str(getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") in ("utf8", "utf16", "utf32")


def holds(text: str) -> bool:
    """Whether stdout's encoding has these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Records as mappings, and what JSON cannot hold as text; numbers are left to the store's `json_ready`."""
    if hasattr(value, "as_dict"):
        return _plain(value.as_dict())
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes"
    return value


def number(value: float | None, digits: int = 3) -> str:
    """A measured value with `digits` significant digits; a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else numbers.significant(value, digits)


def count(value: int | None) -> str:
    """A count with thousands separated; a dash where there is none."""
    return "-" if value is None else numbers.count(value)


def metric(name: str, value: float | None) -> str:
    """A metric: n_... are counts, the others measured values."""
    if name.startswith("n_") and value is not None:
        return count(round(value))
    return number(value, 4)


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with two significant digits; a dash where there is none."""
    return "-" if fraction is None or not math.isfinite(fraction) else numbers.percent(fraction)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Columns padded to their widest cell; those with an index in `right` are set to the right."""
    widths = [max(len(r[i]) for r in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        line("  ".join(cells).rstrip())
