"""Features as rows: atom, number, label, density, strengths. For the Features page and for lists of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saescope.dashboard import theme
from saescope.dashboard.components.table import Cell, Column, Row, Sort, table
from saescope.dashboard.presentation import atoms, effects
from saescope.dashboard.state import links
from saescope.store.format.thresholds import DENSE_DENSITY
from saescope.store.labels import label_sentence
from saescope.store.numbers import dead, density, percent, significant
from saescope.store.token_text import visible

if TYPE_CHECKING:
    from saescope.store import Entry

_TILE = 26
"""Largest side of a row's atom, in pixels of the screen."""

STATISTICS: dict[str, tuple[str, str]] = {
    "density": ("density", "firing positions / evaluated positions"),
    "max_activation": ("max", "activation with the largest magnitude"),
    "mean_activation": ("mean", "mean activation over the firings"),
    "std_activation": ("std", "standard deviation of the activation over the firings"),
    "n_firing": ("firings", "positions where the feature fires"),
    "decoder_norm": ("decoder norm", "Euclidean norm of the atom"),
    "encoder_bias": ("encoder bias", "b_enc of the feature"),
    "feature_id": ("number", "index of the feature, from 0"),
}
"""Columns of the store that one can sort by and plot: title and definition."""

_SHOWN = ("density", "max_activation", "mean_activation", "decoder_norm")


def name(feature_id: int) -> str:
    """#0412"""
    return f"#{feature_id:04d}"


def _label(row: Mapping[str, Any]) -> Cell:
    if row.get("user_label"):
        return Cell(visible(row["user_label"]))
    if not row.get("auto_label"):
        return Cell("", muted=True)
    label, precision = visible(row["auto_label"]), row["label_precision"]
    sentence = label_sentence(label, precision, row["label_recall"], row["label_base_rate"])
    return Cell(label_sentence(label, precision), muted=True, help=f"automatic: {sentence}")


def _row(row: Mapping[str, Any], entry: Entry, tile: int | None, tokens: Mapping[int, str] | None) -> Row:
    scheme = theme.scheme()
    feature_id = int(row["feature_id"])
    fires = Cell(density(row["density"]))
    if row["is_dead"]:
        fires = Cell(dead(entry.n_positions), colour=theme.DEAD[scheme])
    elif row["is_dense"] and not entry.has_dense_code:
        fires = Cell(
            density(row["density"]),
            colour=theme.DENSE[scheme],
            help=f"dense: fires at more than {percent(DENSE_DENSITY)}",
        )
    cells = [
        Cell(name(feature_id) + (" ★" if row.get("is_starred") else "")),
        _label(row),
        fires,
        *(Cell(significant(row[column])) for column in _SHOWN[1:]),
    ]
    if tile is not None:
        cells.insert(0, Cell("", tile=tile))
    if tokens is not None:
        cells.insert(1, Cell(visible(tokens.get(feature_id, ""), edges=True)))
    return Row(cells, href=links.href("feature", sae=entry.sae_id, feature=feature_id))


def feature_table(
    entry: Entry, rows: Sequence[Mapping[str, Any]], key: str, *, sort: Sort, height: int | None = None, page: str = ""
) -> str | None:
    """Draw rows of `Entry.features_page`, each leading to its feature; return the statistic to sort by, if clicked."""
    columns = [Column("feature", STATISTICS["feature_id"][1], "left", sort_key="feature_id")]
    columns.append(Column("label", "people's label, or the automatic one in grey", "left", grows=True))
    columns += [Column(STATISTICS[c][0].removeprefix("decoder "), STATISTICS[c][1], sort_key=c) for c in _SHOWN]
    tokens = None
    if entry.has_table("top_tokens"):
        tokens = entry.first_tokens([row["feature_id"] for row in rows])
        columns.insert(1, Column("top token", "the token with the most firings", "left"))
    look = atoms.look(entry)
    sprite, scale = None, 1
    if look is not None and look.shape is not None and rows:
        sprite = atoms.sprite(entry, [row["feature_id"] for row in rows])
        scale = look.scale(_TILE)
        about = "decoder direction" if look.word == "atom" else effects.explanation(entry, "mean")
        columns.insert(0, Column(look.word, f"{about}; blue negative, red positive", "left"))
    drawn = [_row(row, entry, i if sprite else None, tokens) for i, row in enumerate(rows)]
    return table(columns, drawn, key, sort=sort, sprite=sprite, scale=scale, height=height, page=page)
