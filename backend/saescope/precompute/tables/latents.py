"""The store's `latents` and `generated`: what units of a variational autoencoder tell, and pictures of codes that no
input has.

    sample             decode(z), z drawn from the prior N(0, I)
    traversal_mean     decode(m with m_i = c), m the mean code over the evaluated positions, c from -3 to 3
    traversal_item     decode(f with f_i = c), f the code of an item
    interpolation      decode((1 - c) f + c g), f and g the codes of two items, c from 0 to 1

c of a traversal is in standard deviations of the prior. Traversals are of the units with the largest KL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from saescope.autoencoders.variational.module import VariationalAutoencoder
from saescope.metrics.latents import USED_KL, LatentStatistics
from saescope.sources.protocol import Source
from saescope.store.format.schema import schema_of

N_SAMPLES, N_UNITS, N_PAIRS = 64, 24, 8
"""Draws from the prior, units with traversals, and pairs of items with interpolations, at most."""
MOST_VALUES = 2**23
"""Values of all pictures together, about: wide ones are fewer."""
TRAVERSED = np.linspace(-3, 3, 7)
MIXED = np.linspace(0, 1, 6)


def latent_table(found: LatentStatistics) -> pa.Table:
    """`latents`, a row per unit."""
    return pa.table(
        {
            "feature_id": np.arange(len(found.kl), dtype=np.int32),
            "kl": found.kl,
            "variance_of_mean": found.variance_of_mean,
            "is_used": found.kl > USED_KL,
        },
        schema_of("latents"),
    )


class Picture(NamedTuple):
    """One row of `generated` before it is decoded."""

    kind: str
    series: int
    step: int
    feature: int | None
    item: int | None
    other: int | None
    coordinate: float | None
    code: Tensor


@torch.inference_mode()
def generated(
    sae: VariationalAutoencoder,
    source: Source,
    items: Int64[np.ndarray, " item"],
    mean: Float64[np.ndarray, " feature"],
    kl: Float64[np.ndarray, " feature"],
    seed: int,
) -> pa.Table:
    """`generated`, with traversals and interpolations at the first positions of `items`."""
    device = next(sae.parameters()).device
    share = min(1.0, MOST_VALUES / sae.d_out / (N_SAMPLES + 2 * N_UNITS * len(TRAVERSED) + N_PAIRS * len(MIXED)))
    units = np.argsort(-kl, kind="stable")[: max(1, int(N_UNITS * share))]
    items = items[: 2 * max(1, int(N_PAIRS * share))]
    chosen = np.zeros(source.n_items, bool)
    chosen[items] = True
    first = np.arange(len(items), dtype=np.int64) * source.positions_per_item
    codes = sae.encode(source.table(chosen).rows(first).to(device))
    at_mean = torch.from_numpy(mean).to(device, torch.float32)
    drawn = torch.empty(max(1, int(N_SAMPLES * share)), sae.n_features)
    drawn.normal_(generator=torch.Generator().manual_seed(seed))
    pictures = [
        *_interpolations(codes, items),
        *(Picture("sample", i, 0, None, None, None, None, z.to(device)) for i, z in enumerate(drawn)),
        *(_traversals("traversal_item", codes[0], units, int(items[0])) if len(items) else ()),
        *_traversals("traversal_mean", at_mean, units, None),
    ]
    values = torch.cat([sae.decode(part) for part in torch.stack([p.code for p in pictures]).split(64)])
    kinds, series, steps, features, own, others, coordinates, _ = zip(*pictures, strict=True)
    return pa.table(
        {
            "kind": list(kinds),
            "series": pa.array(series, pa.int32()),
            "step": pa.array(steps, pa.int16()),
            "feature_id": pa.array(features, pa.int32()),
            "item_id": pa.array(own, pa.int64()),
            "other_item_id": pa.array(others, pa.int64()),
            "coordinate": pa.array(coordinates, pa.float64()),
            "values": pa.array(list(values.float().cpu().numpy()), pa.list_(pa.float32())),
        },
        schema_of("generated"),
    )


def _interpolations(codes: Tensor, items: Int64[np.ndarray, " item"]) -> Iterator[Picture]:
    for series in range(len(items) // 2):
        (a, b), ends = codes[2 * series : 2 * series + 2], items[2 * series : 2 * series + 2]
        for step, c in enumerate(MIXED):
            yield Picture(
                "interpolation", series, step, None, int(ends[0]), int(ends[1]), float(c), (1 - c) * a + c * b
            )


def _traversals(kind: str, code: Tensor, units: Int64[np.ndarray, " unit"], item: int | None) -> Iterator[Picture]:
    for series, unit in enumerate(units):
        for step, c in enumerate(TRAVERSED):
            moved = code.clone()
            moved[int(unit)] = float(c)
            yield Picture(kind, series, step, int(unit), item, None, float(c), moved)
