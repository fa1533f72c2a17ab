"""Whole codes, what does not fire included: where the firing threshold is above 0, the spill lacks part of them.

Of such SAEs positions are read and encoded once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.precompute.one_pass.blocks import block_rows, rows_of
from saescope.precompute.one_pass.spill import Spill
from saescope.precompute.one_pass.state import FeatureState
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source, flat_positions


class Moments(NamedTuple):
    """Of every feature's activation over all evaluated positions."""

    mean: Float64[np.ndarray, " feature"]
    deviation: Float64[np.ndarray, " feature"]
    """Standard deviation."""

    @staticmethod
    def of(
        total: Float64[np.ndarray, " feature"], squares: Float64[np.ndarray, " feature"], n_positions: int
    ) -> Moments:
        """From sums of activations and of their squares."""
        mean = total / n_positions
        return Moments(mean, np.sqrt(np.maximum(squares / n_positions - mean**2, 0)))


@dataclass(frozen=True, eq=False)
class WholeCodes:
    """The codes of a source that a pass has seen."""

    sae: Autoencoder
    source: Source
    spill: Spill
    state: FeatureState
    n_positions: int

    @property
    def are_kept(self) -> bool:
        """Whether the spill has all of a code that is not 0."""
        return self.sae.config.firing_threshold == 0

    @torch.inference_mode()
    def moments(self, progress: Progress = SILENT) -> Moments:
        """From the pass, or from one more."""
        if self.are_kept:
            return Moments.of(self.state.sums.total, self.state.sums.total_squares, self.n_positions)
        device = next(self.sae.parameters()).device
        sums = torch.zeros(2, self.sae.n_features, dtype=torch.float64)
        for rows in rows_of(self.source, block_rows(self.sae.n_features, device)):
            codes = self.sae.encode(rows.x.to(device)).double()
            sums += torch.stack([codes.sum(0), codes.square().sum(0)]).cpu()
            progress.update("whole codes", int(rows.items[-1]) + 1, self.source.n_items)
        total, squares = sums.numpy()
        return Moments.of(total, squares, self.n_positions)

    def at(
        self, items: Int64[np.ndarray, " place"], positions: Int64[np.ndarray, " place"]
    ) -> Float32[np.ndarray, "place n_features"]:
        """The code at each place, an evaluated position of an item."""
        if not self.are_kept:
            return self._encoded(items, positions)
        row_ptr, features, values = self.spill.codes
        codes = np.zeros((len(items), self.sae.n_features), np.float32)
        for at, (first, end, position) in enumerate(zip(*self.spill.rows_of_items(items), positions, strict=True)):
            row = first + int(np.searchsorted(self.spill.positions[first:end], position))
            piece = slice(row_ptr[row], row_ptr[row + 1])
            codes[at, features[piece]] = values[piece]
        return codes

    @torch.inference_mode()
    def _encoded(
        self, items: Int64[np.ndarray, " place"], positions: Int64[np.ndarray, " place"]
    ) -> Float32[np.ndarray, "place n_features"]:
        device = next(self.sae.parameters()).device
        codes = np.zeros((len(items), self.sae.n_features), np.float32)
        for item in np.unique(items):
            places = np.flatnonzero(items == item)
            x, _, evaluated = flat_positions(next(iter(self.source.batches(int(item), 1))))
            chosen: Tensor = x[torch.from_numpy(np.searchsorted(evaluated, positions[places]))]
            codes[places] = self.sae.encode(chosen.to(device)).float().cpu().numpy()
        return codes
