"""Atoms as sprites: pictures where the SAE's output is pixels, strips of bars where it is anything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from saescope.dashboard import theme
from saescope.dashboard.components.pictures import (
    AtomMode,
    PictureShape,
    Sprite,
    atom_sprite,
    barcode_sprite,
)
from saescope.dashboard.presentation.choice import presenter

if TYPE_CHECKING:
    from saescope.store import Entry

BARS_WIDE, BARS_HIGH = 84, 21


@dataclass(frozen=True)
class AtomLook:
    """How the atoms of one entry are drawn; `shape` None means strips of bars. `modes` are the colourings on offer."""

    shape: PictureShape | None
    modes: tuple[AtomMode, ...]

    def scale(self, pixels: int) -> int:
        """Whole factor that makes an atom about `pixels` wide or high."""
        if self.shape is None:
            return max(1, pixels // BARS_WIDE)
        return self.shape.scale_for(pixels)


def look(entry: Entry) -> AtomLook | None:
    """How to draw the atoms of `entry`; None where it has none (a decoder that is not linear)."""
    if not entry.has_atoms:
        return None
    shape = presenter(entry).atom_shape
    if shape is None:
        return AtomLook(None, ("diverging",))
    return AtomLook(shape, ("colour", "diverging", "grey") if shape.channels == 3 else ("diverging", "grey"))


@st.cache_data(show_spinner=False, max_entries=128)
def _sprite(
    sae_id: str, version: str, feature_ids: tuple[int, ...], mode: AtomMode | None, scheme: theme.Scheme, _entry: Any
) -> Sprite:
    shape = presenter(_entry).atom_shape
    # Rows of the weights file are read in ascending order and put back: one pass over the mapped file.
    ascending = np.unique(np.asarray(feature_ids, dtype=np.int64))
    rows = _entry.atoms(ascending)[np.searchsorted(ascending, feature_ids)]
    if shape is None:
        return barcode_sprite(rows, width=BARS_WIDE, height=BARS_HIGH, scheme=scheme)
    return atom_sprite(rows, shape, mode, scheme=scheme)


def sprite(entry: Entry, feature_ids: Sequence[int], mode: AtomMode | None = None) -> Sprite:
    """The atoms of `feature_ids`, in that order, each on its own symmetric scale. `entry` must have atoms."""
    return _sprite(entry.sae_id, entry.version, tuple(int(i) for i in feature_ids), mode, theme.scheme(), entry)
