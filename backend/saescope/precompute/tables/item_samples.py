"""A fixed sample of items, the same for every SAE on a source: their codes and their reconstructions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float32, Int64

from saescope.autoencoders.protocol import Autoencoder
from saescope.precompute import kernels
from saescope.precompute.one_pass.spill import Spill
from saescope.precompute.tables.whole_codes import WholeCodes
from saescope.sources.protocol import Source
from saescope.store.format.schema import schema_of
from saescope.store.format.source import PatchDescription, PixelDescription

SAMPLE_SEED = 0
ITEMS_AT_ONCE = 2**20
MAPPED_POSITIONS = 10_000
"""Most points of a latent map."""


def sample_items(n_items: int, n_sampled: int) -> Int64[np.ndarray, " sampled"]:
    """The `n_sampled` items with the smallest hash, ascending: it depends on nothing but their number."""
    kept = np.empty(0, np.int64)
    for start in range(0, n_items, ITEMS_AT_ONCE):
        items = np.concatenate([kept, np.arange(start, min(start + ITEMS_AT_ONCE, n_items))])
        keys = kernels.position_keys(items, np.full(len(items), SAMPLE_SEED))
        kept = items if len(items) <= n_sampled else items[np.argpartition(keys, n_sampled)[:n_sampled]]
    return np.sort(kept)


def item_codes(items: Int64[np.ndarray, " sampled"], spill: Spill) -> pa.Table:
    """The store's `item_codes`: every evaluated position of `items`, its firing features strongest first."""
    rows = np.concatenate([np.arange(*ends) for ends in zip(*spill.rows_of_items(items), strict=True)])
    row_ptr, all_features, all_values = spill.codes
    lengths = row_ptr[rows + 1] - row_ptr[rows]
    features = np.empty(int(lengths.sum()), np.int32)
    values = np.empty(len(features), np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    for at, row in enumerate(rows):
        piece = slice(row_ptr[row], row_ptr[row + 1])
        f, v = all_features[piece], all_values[piece]
        order = np.lexsort((f, -np.abs(v)))
        features[offsets[at] : offsets[at + 1]] = f[order]
        values[offsets[at] : offsets[at + 1]] = v[order]
    pointers = pa.array(offsets, pa.int32())
    return pa.table(
        {
            "item_id": spill.items[rows],
            "position": spill.positions[rows],
            "feature_ids": pa.ListArray.from_arrays(pointers, pa.array(features)),
            "activations": pa.ListArray.from_arrays(pointers, pa.array(values)),
        },
        schema_of("item_codes"),
    )


def mapped_items(n_items: int, positions_per_item: int) -> Int64[np.ndarray, " mapped"]:
    """The items whose codes `latent_map` holds: about `MAPPED_POSITIONS` positions."""
    return sample_items(n_items, max(1, MAPPED_POSITIONS // positions_per_item))


def latent_map(items: Int64[np.ndarray, " mapped"], codes: WholeCodes) -> pa.Table:
    """The store's `latent_map`: the first `MAPPED_POSITIONS` evaluated positions of `items`, with their whole codes."""
    spill, n_features = codes.spill, codes.sae.n_features
    rows = np.concatenate([np.arange(*ends) for ends in zip(*spill.rows_of_items(items), strict=True)])
    rows = rows[:MAPPED_POSITIONS]
    item, position = spill.items[rows], spill.positions[rows]
    pointers = pa.array(np.arange(len(rows) + 1) * n_features, pa.int32())
    return pa.table(
        {
            "item_id": item,
            "position": position,
            "values": pa.ListArray.from_arrays(pointers, pa.array(codes.at(item, position).reshape(-1))),
        },
        schema_of("latent_map"),
    )


@torch.inference_mode()
def reconstructions(sae: Autoencoder, source: Source, items: Int64[np.ndarray, " sampled"]) -> pa.Table:
    """The store's `reconstructions` of whole items of pixels, raw units, in the source's input_shape.

    Patches are laid back where they were cut; where they overlap their mean is taken, and pixels that no patch covers
    are NaN. `mse` is over the item's positions and dimensions, as in the metrics.
    """
    chosen = np.zeros(source.n_items, bool)
    chosen[items] = True
    table = source.table(chosen)
    device = next(sae.parameters()).device
    n_positions = source.positions_per_item
    about = source.describe()
    assert isinstance(about, PixelDescription)
    images, errors = [], []
    for at in range(len(items)):
        x = table.rows(np.arange(at * n_positions, (at + 1) * n_positions)).to(device)
        rebuilt = sae(x).reconstruction
        errors.append(float(torch.mean((x - rebuilt).double() ** 2)))
        pieces = rebuilt.float().cpu().numpy()
        images.append(
            assemble(pieces, about).reshape(-1) if isinstance(about, PatchDescription) else pieces.reshape(-1)
        )
    return pa.table(
        {
            "item_id": items,
            "reconstruction": pa.array(images, pa.list_(pa.float32())),
            "mse": np.array(errors, np.float64),
        },
        schema_of("reconstructions"),
    )


def assemble(
    patches: Float32[np.ndarray, "position d_in"], about: PatchDescription
) -> Float32[np.ndarray, "height width channels"]:
    """An image from its patches (row by row over the grid): the mean where they overlap, NaN where there is none."""
    height, width, channels = about.input_shape
    patch, stride = about.patch, about.stride
    total = np.zeros((height, width, channels), np.float64)
    covered = np.zeros((height, width, 1), np.int64)
    for at, piece in enumerate(patches.reshape(-1, patch, patch, channels)):
        row, column = (place * stride for place in divmod(at, about.grid[1]))
        total[row : row + patch, column : column + patch] += piece
        covered[row : row + patch, column : column + patch] += 1
    return np.where(covered > 0, total / np.maximum(covered, 1), np.nan).astype(np.float32)
