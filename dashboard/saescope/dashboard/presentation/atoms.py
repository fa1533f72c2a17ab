"""Atoms as sprites: pictures where the SAE's output is pixels, strips of bars where it is anything else.

Where the decoder is not linear there are no atoms, and the effects of units stand in their place: `AtomLook.word` says
which of the two they are, and pages call them so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import streamlit as st

from saescope.dashboard import theme
from saescope.dashboard.components.picture_tiles import Tile, picture_tiles
from saescope.dashboard.components.pictures import (
    AtomMode,
    PictureShape,
    Sprite,
    atom_sprite,
    barcode_sprite,
)
from saescope.dashboard.formats import plain
from saescope.dashboard.presentation import effects
from saescope.dashboard.presentation.choice import presenter

if TYPE_CHECKING:
    from saescope.store import Entry

BARS_WIDE, BARS_HIGH = 84, 21


@dataclass(frozen=True)
class AtomLook:
    """How the atoms of one entry are drawn; `shape` None means strips of bars. `modes` are the colourings on offer,
    `word` is what they are: 'atom' or 'effect'."""

    shape: PictureShape | None
    modes: tuple[AtomMode, ...]
    word: Literal["atom", "effect"] = "atom"

    def scale(self, pixels: int) -> int:
        """Whole factor that makes an atom about `pixels` wide or high."""
        if self.shape is None:
            return max(1, pixels // BARS_WIDE)
        return self.shape.scale_for(pixels)


def look(entry: Entry) -> AtomLook | None:
    """How to draw the atoms of `entry`, or the effects of its units; None where it has neither."""
    if not entry.has_atoms and not entry.has_table("effects"):
        return None
    word: Literal["atom", "effect"] = "atom" if entry.has_atoms else "effect"
    shape = presenter(entry).atom_shape
    if shape is None:
        return AtomLook(None, ("diverging",), word)
    return AtomLook(shape, ("colour", "diverging", "grey") if shape.channels == 3 else ("diverging", "grey"), word)


@st.cache_data(show_spinner=False, max_entries=128)
def _sprite(
    sae_id: str,
    version: str,
    feature_ids: tuple[int, ...],
    mode: AtomMode | None,
    effect: str,
    scheme: theme.Scheme,
    _entry: Any,
) -> Sprite:
    shape = presenter(_entry).atom_shape
    # Rows of the weights file are read in ascending order and put back: one pass over the mapped file.
    ascending = np.unique(np.asarray(feature_ids, dtype=np.int64))
    rows = _vectors(_entry, ascending, effect)[np.searchsorted(ascending, feature_ids)]
    return _drawn(rows, shape, mode, scheme)


def _vectors(entry: Entry, feature_ids: np.ndarray, effect: str) -> np.ndarray:
    """Atoms [feature, d_out], or effects; zeros for a feature that has none of this kind."""
    if entry.has_atoms:
        return entry.atoms(feature_ids)
    rows = np.zeros((len(feature_ids), entry.manifest.d_out), np.float32)
    found = effects.by_feature(entry, feature_ids.tolist(), effect)
    for at, i in enumerate(feature_ids.tolist()):
        if i in found:
            rows[at] = found[i].values
    return rows


def show_effects(entry: Entry, feature_id: int, side: int, *, key: str) -> None:
    """Draw what a unit does, in place of an atom: at the mean code, at its strongest example, and the Jacobian, each
    about `side` CSS pixels wide. `entry` must have the table."""
    st.caption(
        plain(f"Effect: {effects.formula(entry, 'mean')}"),
        help=plain(
            "The decoder is not linear, so the feature has no atom: what it adds depends on the rest of the code. "
            + ". ".join(f"{about.place}: {effects.explanation(entry, kind)}" for kind, about in effects.KINDS.items())
        ),
    )
    found = {kind: effects.by_feature(entry, [feature_id], kind) for kind in effects.KINDS}
    tips = {kind: effects.tip(of[feature_id]) if of else "never fired" for kind, of in found.items()}
    rows = np.concatenate([_vectors(entry, np.array([feature_id]), kind) for kind in effects.KINDS])
    shape = presenter(entry).atom_shape
    picture_tiles(
        [Tile(None, tips[kind], about.short) for kind, about in effects.KINDS.items()],
        _drawn(rows, shape, None, theme.scheme()),
        key=key,
        label="Effects",
        layout="strip",
        scale=max(1, side // BARS_WIDE) if shape is None else shape.scale_for(side),
    )


def _drawn(rows: np.ndarray, shape: PictureShape | None, mode: AtomMode | None, scheme: theme.Scheme) -> Sprite:
    if shape is None:
        return barcode_sprite(rows, width=BARS_WIDE, height=BARS_HIGH, scheme=scheme)
    return atom_sprite(rows, shape, mode, scheme=scheme)


def sprite(entry: Entry, feature_ids: Sequence[int], mode: AtomMode | None = None, effect: str = "mean") -> Sprite:
    """The atoms of `feature_ids`, in that order, each on its own symmetric scale; effects of kind `effect` where there
    are no atoms. `look(entry)` must not be None."""
    ids = tuple(int(i) for i in feature_ids)
    return _sprite(entry.sae_id, entry.version, ids, mode, effect, theme.scheme(), entry)
