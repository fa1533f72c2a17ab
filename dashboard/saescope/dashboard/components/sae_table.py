"""SAEs as rows: width, sparsity, reconstruction, dead and dense features, date. For Library and sparsity page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from saescope.dashboard import theme
from saescope.dashboard.components.table import Cell, Column, Row, table
from saescope.dashboard.formats import day
from saescope.dashboard.metrics import METRICS, formula, value
from saescope.dashboard.presentation import sources
from saescope.dashboard.state import links
from saescope.store.format.thresholds import DENSE_DENSITY
from saescope.store.numbers import count, dead, percent

if TYPE_CHECKING:
    from saescope.store import Entry

COLUMNS = (
    Column("SAE", "name of the SAE in this store; the colour is its architecture's", "left"),
    Column("architecture", "", "left"),
    Column("features", "number of features (width of the code)"),
    Column("L0"),
    Column("active"),
    Column("FVU"),
    Column("MSE"),
    Column("dead", "fired at none of the evaluated positions; share of all features"),
    Column("dense", f"fired at more than {percent(DENSE_DENSITY)} of the evaluated positions; share of all features"),
    Column("built", "date of this version"),
    Column("source", "what it was evaluated on", "left", grows=True),
    Column("CE rec."),
)
_METRIC = {"L0": "l0", "active": "fraction_active", "FVU": "fvu", "MSE": "mse", "CE rec.": "ce_recovered"}
"""Metrics of columns, by title: their formula is shown on hover."""


def _share(entry: Entry, name: str) -> Cell:
    number = value(entry.metrics, name)
    if number is None:
        return Cell("–", muted=True)
    share = number / entry.n_features
    if name == "n_dense" and entry.has_dense_code:
        return Cell(
            "all of the code", muted=True, help=f"{percent(share)}: nothing makes this code sparse, so no fault"
        )
    colour = (theme.DENSE if name == "n_dense" else theme.DEAD)[theme.scheme()]
    help = f"each fired at {dead(entry.n_positions)}" if name == "n_dead" and number else ""
    if not number:
        return Cell("0", muted=True)
    return Cell(f"{count(round(number))} ({percent(share)})", colour=colour, bar=share, help=help)


_MSE, _CE = 6, len(COLUMNS) - 1
FULL = tuple(range(_CE))
WITHOUT_SOURCE = FULL[:-1]
OF_ONE_ARCHITECTURE = tuple(i for i in WITHOUT_SOURCE if COLUMNS[i].title != "architecture")
BRIEF = (0, 3, 5, 7)
"""Which of the columns to show; BRIEF is SAE, L0, FVU, dead: what fits beside a chart."""


def row(entry: Entry, marked: bool = False) -> Row:
    """One SAE."""
    written = {
        name: METRICS[name].write(value(entry.metrics, name)) for name in ("l0", "fraction_active", "fvu", "mse")
    }
    architecture = entry.manifest.architecture
    return Row(
        (
            Cell(entry.sae_id, dot=theme.family_colour(architecture)),
            Cell(architecture),
            Cell(count(entry.n_features)),
            Cell(written["l0"]),
            Cell(written["fraction_active"]),
            Cell(written["fvu"]),
            Cell(written["mse"]),
            _share(entry, "n_dead"),
            _share(entry, "n_dense"),
            Cell(day(entry.manifest.created_at), muted=True),
            Cell(sources.line(entry), muted=True),
            Cell(METRICS["ce_recovered"].write(value(entry.metrics, "ce_recovered"))),
        ),
        href=links.href("features", sae=entry.sae_id),
        marked=marked,
    )


def sae_table(
    entries: Sequence[Entry], key: str, marked: Collection[str] = (), *, columns: Sequence[int] = FULL
) -> None:
    """Draw the rows with the given columns; each leads to its features. Where one of the SAEs has cross-entropy
    recovered, it follows the MSE, or takes its place where there is no room for both (all but FULL). In a BRIEF table
    long names are cut."""
    brief = columns == BRIEF
    if any(value(entry.metrics, "ce_recovered") is not None for entry in entries):
        errors = (_MSE, _CE) if columns == FULL else (_CE,)
        columns = [shown for i in columns for shown in (errors if i == _MSE else (i,))]
    rows = [row(entry, entry.sae_id in marked) for entry in entries]
    cut = [replace(r, cells=[r.cells[i] for i in columns]) for r in rows]
    table([_column(COLUMNS[i], entries, grows=brief and i == 0) for i in columns], cut, key)


def _column(column: Column, entries: Sequence[Entry], grows: bool) -> Column:
    name = _METRIC.get(column.title)
    help = column.help if name is None else formula(entries, name)
    return replace(column, help=help, grows=column.grows or grows)
