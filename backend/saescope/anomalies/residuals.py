"""Items through an autoencoder, in batches: their activations, codes and what their reconstructions miss.

Shape symbols: `row` positions, `item` items, `d_in`, `d_out` and `n_features` as in the autoencoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64

from saescope.autoencoders.protocol import Autoencoder
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source, flat_positions

_VALUES = 1 << 22
"""Values of activations and codes that are held at a time."""


@dataclass(frozen=True)
class Rebuilt:
    """A run of whole items: their positions that count, by item then position."""

    item_ids: Int64[np.ndarray, " item"]
    place: Int64[np.ndarray, " row"]
    """Which of `item_ids` each position belongs to."""
    inputs: Float32[np.ndarray, "row d_in"]
    codes: Float32[np.ndarray, "row n_features"]
    reconstructions: Float32[np.ndarray, "row d_out"]
    residuals: Float32[np.ndarray, "row d_out"]
    """Reconstruction minus what it stands for: the input, or a transcoder's target."""

    def chosen(self, items: Bool[np.ndarray, " n_items"]) -> Rebuilt:
        """Those of the items alone that are True in `items` of the whole source."""
        kept = items[self.item_ids]
        rows = kept[self.place]
        place = np.cumsum(kept) - 1
        return Rebuilt(
            self.item_ids[kept],
            place[self.place[rows]],
            self.inputs[rows],
            self.codes[rows],
            self.reconstructions[rows],
            self.residuals[rows],
        )

    def per_item(self, values: Float64[np.ndarray, " row"], how: str) -> Float64[np.ndarray, " item"]:
        """The mean or the largest over each item's positions; NaN for an item where none counts."""
        n = len(self.item_ids)
        if how == "max":
            most = np.full(n, -np.inf)
            np.maximum.at(most, self.place, values)
            return np.where(np.isfinite(most), most, np.nan)
        counts = np.bincount(self.place, minlength=n)
        with np.errstate(invalid="ignore"):
            return np.bincount(self.place, values, minlength=n) / counts

    def means(self, rows: Float32[np.ndarray, "row d"]) -> Float64[np.ndarray, "item d"]:
        """The mean of `rows` over each item's positions."""
        sums = np.zeros((len(self.item_ids), rows.shape[1]))
        np.add.at(sums, self.place, rows)
        return sums / np.maximum(np.bincount(self.place, minlength=len(self.item_ids)), 1)[:, None]


def rebuilt(
    sae: Autoencoder,
    source: Source,
    items: Bool[np.ndarray, " n_items"] | None = None,
    *,
    device: torch.device,
    stage: str = "rebuilding items",
    progress: Progress = SILENT,
) -> Iterator[Rebuilt]:
    """The chosen items of `source` (None: all) in order, in batches of a bounded size."""
    width = source.d_in + sae.n_features + sae.d_out
    per_batch = max(1, _VALUES // (source.positions_per_item * width))
    for batch in source.batches(items_per_batch=per_batch):
        progress.update(stage, int(batch.item_ids[-1]) + 1, source.n_items)
        if items is not None and not items[batch.item_ids].any():
            continue
        x, item_of, _ = flat_positions(batch)
        target = x
        if batch.targets is not None:
            flat = batch.targets.reshape(-1, batch.targets.shape[2])
            target = flat if batch.mask is None else flat[batch.mask.reshape(-1).to(flat.device)]
        with torch.no_grad():
            out = sae(x.to(device))
            residuals = out.reconstruction - target.to(device)
        found = Rebuilt(
            batch.item_ids,
            item_of - batch.item_ids[0],
            x.cpu().numpy(),
            out.codes.cpu().numpy(),
            out.reconstruction.cpu().numpy(),
            residuals.cpu().numpy(),
        )
        yield found if items is None else found.chosen(items)
