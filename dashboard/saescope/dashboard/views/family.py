"""Family: members of the family of autoencoders side by side, each with what it forbids its code.

The same sampled items through each member, ten atoms or effects of each, and its metrics. Address: `members` (entries
of one source, in the order shown), `on` (which source), `units` (which of them), `page`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from saescope.dashboard import panels, theme
from saescope.dashboard.components.picture_matrix import (
    Heading,
    MatrixCell,
    MatrixRow,
    Picture,
    Sheet,
    Size,
    picture_matrix,
)
from saescope.dashboard.components.pictures import value_sprite
from saescope.dashboard.components.table import Cell, Column, Row, table
from saescope.dashboard.formats import plain
from saescope.dashboard.metrics import METRICS, formula, metric, value
from saescope.dashboard.presentation import atoms, effects, sources
from saescope.dashboard.presentation.metadata import metadata_lines
from saescope.dashboard.presentation.rebuilding import Rebuilt, rebuild
from saescope.dashboard.state import controls, links, reads
from saescope.store.numbers import count, density, percent, significant
from saescope.store.read.reader import source_key

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore

MOST = 8
"""Members side by side."""
N_DEFAULT = 6
N_UNITS = 10
ROWS = 6
SIDES: dict[Size, tuple[int, int]] = {"compact": (64, 28), "normal": (84, 28), "wide": (128, 56)}
"""CSS pixels that an item and a unit are about as wide as."""
MOST_EXTRA = 5
"""Columns of metrics beside those that every member has."""
_SHOWN = ("l0", "fvu", "n_dead")
_LESS = {
    "fraction_active", "l1", "n_dense", "dead_fraction", "mse", "nmse", "explained_variance",
    "explained_variance_centred", "fvu_transformed", "cosine", "l2_ratio", "relative_reconstruction_bias",
    "n_zero_inputs",
}  # fmt: skip
"""Metrics that say in other words what the table shows."""
_UNITS = {
    "density": "most often firing",
    "max": "strongest",
    "random": "drawn at random",
}


def render(store: FeatureStore) -> None:
    """Draw the page."""
    st.title("Family")
    entries = store.readable()[0]
    if not entries:
        panels.empty("This store holds no SAE yet.")
        return
    here = _source_choice(entries)
    by_id = {entry.sae_id: entry for entry in here}
    picked = controls.several(
        f"Members (up to {MOST})", "members", list(by_id), most=MOST, placeholder="none: one of each architecture"
    )
    unknown = [name for name in links.listed("members") if name not in by_id]
    if unknown:
        st.caption(plain(f"Not on this source, or not in this store: {', '.join(unknown)[:200]}"))
    members = [by_id[name] for name in picked] or default_members(here)
    _table(members)
    _pictures(members)


def _source_choice(entries: Sequence[Entry]) -> list[Entry]:
    """The entries on one source, the largest group or that of the address: only they see the same items."""
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(source_key(entry.source), []).append(entry)
    ordered = sorted(groups.values(), key=lambda group: (-len(group), group[0].sae_id))
    if len(ordered) == 1:
        st.caption(plain(sources.line(ordered[0][0])))
        return ordered[0]
    named = links.listed("members") or [links.text("sae")]
    default = next((i for i, group in enumerate(ordered) if any(e.sae_id in named for e in group)), 0)
    options = {group[0].sae_id: sources.line(group[0]) for group in ordered}
    chosen = controls.choice(
        "Source", "on", options, default=ordered[default][0].sae_id, also_clear=("members", "page"), show_label=False
    )
    return next(group for group in ordered if group[0].sae_id == chosen)


def default_members(entries: Sequence[Entry]) -> list[Entry]:
    """One entry of each architecture, the one of median L0 where there are more; at most `N_DEFAULT`."""
    of_one: dict[str, list[Entry]] = {}
    for entry in entries:
        of_one.setdefault(entry.manifest.architecture, []).append(entry)
    chosen = []
    for group in of_one.values():
        ordered = sorted(group, key=lambda e: (value(e.metrics, "l0") or 0.0, e.sae_id))
        chosen.append(ordered[len(ordered) // 2])
    return chosen[:N_DEFAULT]


# the table


def extra_metrics(members: Sequence[Entry]) -> list[str]:
    """Metrics beside the shown ones that a member has, those of most members first."""
    having: dict[str, int] = {}
    for entry in members:
        for name, number in entry.metrics.items():
            if number is not None and name not in _SHOWN and name not in _LESS:
                having[name] = having.get(name, 0) + 1
    return sorted(having, key=lambda name: -having[name])[:MOST_EXTRA]


def _table(members: Sequence[Entry]) -> None:
    extra = extra_metrics(members)
    columns = [
        Column("member", "name in this store; the colour is its architecture's", "left"),
        Column(
            "what it forbids its code", "the constraint, and the term or the bound that enforces it", "left", grows=True
        ),
        Column("units", "width of the code"),
        *(Column(METRICS[name].short, formula(members, name)) for name in _SHOWN),
        *(Column(metric(name).short, formula(members, name)) for name in extra),
    ]
    rows = []
    for entry in members:
        constraint = entry.manifest.constraint
        dead = value(entry.metrics, "n_dead")
        rows.append(
            Row(
                (
                    Cell(entry.sae_id, dot=theme.family_colour(entry.manifest.architecture)),
                    Cell(
                        constraint or "not recorded",
                        muted=not constraint,
                        help=f"{entry.manifest.architecture}: {constraint or 'built before it was kept'}",
                    ),
                    Cell(count(entry.n_features)),
                    Cell(significant(value(entry.metrics, "l0"))),
                    Cell(significant(value(entry.metrics, "fvu"))),
                    Cell("–" if dead is None else percent(dead / entry.n_features), muted=not dead),
                    *(Cell(metric(name).write(value(entry.metrics, name))) for name in extra),
                ),
                href=links.href("features", sae=entry.sae_id),
            )
        )
    table(columns, rows, "family-members")


# the pictures


def _pictures(members: Sequence[Entry]) -> None:
    sample = members[0].sample_item_ids()
    n_pages = max(1, -(-len(sample) // ROWS))
    page = min(max(links.whole_number("page", 1), 1), n_pages)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        order = controls.choice("Units", "units", _UNITS, style="segmented", show_label=False)
        st.caption(f"{N_UNITS} units of each, then the same items through each", width="content")
    sheets: dict[str, Sheet] = {}
    rows = [_units(members, order, sheets)]
    rows += _items(members, sample[(page - 1) * ROWS : page * ROWS], sheets)
    columns = [Heading(""), Heading("input", help="the picture as every member saw it")]
    columns += [_heading(entry) for entry in members]
    label = "Items and units through each member"
    picture_matrix(columns, rows, sheets, key="_family_pictures", label=label, size=_size(members))
    if len(rows) == 1:
        panels.empty("The items of this source are no pictures that are kept rebuilt.")
        return
    left, right = st.columns([1, 2], vertical_alignment="center")
    left.caption(f"{count(len(sample))} sampled items, the same for every entry on this source; the number is the MSE")
    with right:
        controls.page_number("page", n_pages)


def _size(members: Sequence[Entry]) -> Size:
    return "compact" if len(members) > 6 else "wide" if len(members) < 3 else "normal"


def _heading(entry: Entry) -> Heading:
    return Heading(
        entry.sae_id,
        [f"FVU {significant(value(entry.metrics, 'fvu'))}"],
        help=entry.manifest.constraint,
        dot=theme.family_colour(entry.manifest.architecture),
        href=links.href("features", sae=entry.sae_id),
    )


def unit_ids(entry: Entry, order: str) -> list[int]:
    """The units to show: those that lead in a statistic, or a draw that is the same every time; dead ones last."""
    if order != "random":
        sort = "density" if order == "density" else "max_activation"
        return reads.leading_features(entry, sort, min(N_UNITS, entry.n_features))
    live = np.flatnonzero(reads.densities(entry) > 0)
    drawn = np.random.default_rng(0).permutation(live if len(live) else np.arange(entry.n_features))
    return sorted(int(i) for i in drawn[:N_UNITS])


def _units(members: Sequence[Entry], order: str, sheets: dict[str, Sheet]) -> MatrixRow:
    cells = [MatrixCell()]
    for at, entry in enumerate(members):
        look = atoms.look(entry)
        if look is None:
            cells.append(MatrixCell(lines=["neither atoms nor effects"]))
            continue
        ids = unit_ids(entry, order)
        sheets[f"units-{at}"] = Sheet(atoms.sprite(entry, ids), look.scale(SIDES[_size(members)][1]))
        fires = reads.densities(entry)
        pictures = [
            Picture(
                f"units-{at}",
                tile,
                f"#{i}\nfires at {density(float(fires[i]))} of positions",
                links.href("feature", sae=entry.sae_id, feature=i),
            )
            for tile, i in enumerate(ids)
        ]
        name = "atoms" if look.word == "atom" else "effects at the mean code"
        cells.append(MatrixCell(pictures, [name]))
    explained = [effects.explanation(e, "mean") for e in members if not e.has_atoms and e.has_table("effects")]
    words = "Atoms: decoder directions. Blue is negative, red positive, each scaled to its own maximum."
    if explained:
        words += f"\nEffects, where the decoder is not linear: {explained[0]}."
    return MatrixRow(Heading("units", help=words), cells)


def _items(members: Sequence[Entry], item_ids: Sequence[int], sheets: dict[str, Sheet]) -> list[MatrixRow]:
    """Each item and what each member makes of it; none where the items are no pictures."""
    of_member = [{r.item_id: r for r in rebuild(entry, item_ids)} for entry in members]
    kept = [i for i in item_ids if i in of_member[0] and of_member[0][i].original is not None]
    inputs = [of_member[0][i] for i in kept]
    if not kept:
        return []
    low, high = inputs[0].value_range
    shape = inputs[0].original.shape  # type: ignore[union-attr]
    side = SIDES[_size(members)][0]
    sheets["input"] = _sheet([r.original for r in inputs], shape, (low, high), side)
    for at, rebuilt in enumerate(of_member):
        copies = [rebuilt[i].reconstruction if i in rebuilt else None for i in kept]
        sheets[f"copy-{at}"] = _sheet(copies, shape, (low, high), side)
    rows = []
    for tile, item_id in enumerate(kept):
        found = [rebuilt.get(item_id) for rebuilt in of_member]
        errors = [r.mse if r is not None else None for r in found]
        least = min((e for e in errors if e is not None), default=None)
        cells = [MatrixCell([Picture("input", tile, f"item {count(item_id)}")])]
        for at, (entry, one) in enumerate(zip(members, found, strict=True)):
            cells.append(_copy(entry, one, at, tile, errors[at] is not None and errors[at] == least))
        lines = metadata_lines(inputs[tile].item)[:2]
        rows.append(MatrixRow(Heading(f"item {count(item_id)}", lines), cells))
    return rows


def _copy(entry: Entry, rebuilt: Rebuilt | None, at: int, tile: int, best: bool) -> MatrixCell:
    if rebuilt is None or rebuilt.reconstruction is None:
        return MatrixCell(lines=["not kept"])
    l0 = rebuilt.n_firing / max(rebuilt.n_positions, 1)
    tip = f"{entry.sae_id}\nMSE {significant(rebuilt.mse)}\nL0 {significant(l0)}"
    href = links.href("reconstructions", sae=entry.sae_id, item=rebuilt.item_id)
    return MatrixCell([Picture(f"copy-{at}", tile, tip, href)], [significant(rebuilt.mse)], strong=best)


def _sheet(pictures: Sequence[Any], shape: tuple[int, ...], limits: tuple[float, float], side: int) -> Sheet:
    """Pictures as one sprite; what is missing, or of another shape, is blank."""
    stacked = np.stack([p if p is not None and p.shape == shape else np.full(shape, limits[0]) for p in pictures])
    return Sheet(value_sprite(stacked, *limits), max(1, round(side / max(shape[:2]))))
