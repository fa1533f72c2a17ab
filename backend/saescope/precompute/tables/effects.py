"""The store's `effects`: what each unit of a decoder that is not linear does to the output.

    mean       decode(m + s e_i) - decode(m)       m the mean code over the evaluated positions
    item       decode(f + s e_i) - decode(f)       f the code at the unit's strongest example
    jacobian   d decode(z) / d z_i at z = m

with e_i the i-th unit vector of the code. The step s is 1, in a code that nothing makes sparse, or of which half or
more fires on average, the unit's own standard deviation over the evaluated positions: such units have a scale each, and
a step of 1 may lie far outside of what they ever are. What a linear decoder's atom says at every code, these say at
one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.precompute.one_pass.state import FeatureState
from saescope.precompute.tables.whole_codes import WholeCodes
from saescope.progress import SILENT, Progress
from saescope.store.format.schema import schema_of
from saescope.store.format.thresholds import DENSE_CODE

BLOCK_VALUES = 2**22
"""Values of codes and outputs held at a time."""
MOST_UNITS = 256
"""Units decoded at a time: hidden layers may be far wider than code and output."""


def steps_of(codes: WholeCodes, deviation: Float64[np.ndarray, " feature"]) -> Float32[np.ndarray, " feature"]:
    """The step of each unit, from its standard deviation."""
    n_firing = codes.state.n_firing
    is_sparse = n_firing.sum() < DENSE_CODE * len(n_firing) * codes.n_positions
    if is_sparse and codes.sae.config.has_sparse_code:
        return np.ones(len(n_firing), np.float32)
    steps = deviation.astype(np.float32)
    return np.where(steps > 0, steps, np.float32(1))


def effect_batches(codes: WholeCodes, progress: Progress = SILENT) -> Iterator[pa.RecordBatch]:
    """The table in pieces of whole features, as the store sorts it. A unit that never fired has no row of `item`."""
    sae, state = codes.sae, codes.state
    device = next(sae.parameters()).device
    n_features = len(state.n_firing)
    moments = codes.moments(progress)
    mean = torch.from_numpy(moments.mean.astype(np.float32)).to(device)
    steps = steps_of(codes, moments.deviation)
    at_once = max(1, min(MOST_UNITS, BLOCK_VALUES // (2 * n_features + 4 * sae.d_out)))
    for first in range(0, n_features, at_once):
        ids = np.arange(first, min(first + at_once, n_features))
        live = ids[state.top.n[ids] > 0]
        strongest = codes.at(state.top.item[live, 0], state.top.position[live, 0])
        values = {
            "item": _moved(sae, torch.from_numpy(strongest).to(device), live, steps[live]),
            "jacobian": _columns(sae, mean, ids),
            "mean": _moved(sae, mean.expand(len(ids), -1), ids, steps[ids]),
        }
        yield _batch(values, ids, live, state, steps)
        progress.update("effects", int(ids[-1]) + 1, n_features)


@torch.no_grad()
def _moved(
    sae: Autoencoder, z: Tensor, ids: Int64[np.ndarray, " unit"], steps: Float32[np.ndarray, " unit"]
) -> Float32[np.ndarray, "unit d_out"]:
    """decode(z + s e_i) - decode(z) for each row of z [unit, n_features] and its unit."""
    if not len(ids):
        return np.zeros((0, sae.d_out), np.float32)
    moved = z.clone()
    moved[torch.arange(len(ids)), torch.from_numpy(ids)] += torch.from_numpy(steps).to(z.device)
    return _array(sae.decode(moved) - sae.decode(z))


def _columns(sae: Autoencoder, mean: Tensor, ids: Int64[np.ndarray, " unit"]) -> Float32[np.ndarray, "unit d_out"]:
    """Columns of the decoder's Jacobian J at the mean code.

    Backwards twice: u J is linear in u, and its derivative along e_i is the i-th column. (Forward mode would need
    rules that torch imports with a warning.)
    """
    z = mean.repeat(len(ids), 1).requires_grad_()
    directions = torch.zeros_like(z)
    directions[torch.arange(len(ids)), torch.from_numpy(ids)] = 1
    with torch.enable_grad():
        decoded = sae.decode(z)
        u = torch.zeros_like(decoded, requires_grad=True)
        (pulled,) = torch.autograd.grad(decoded, z, u, create_graph=True)
        (columns,) = torch.autograd.grad(pulled, u, directions)
    return _array(columns)


def _array(values: Tensor) -> Float32[np.ndarray, "unit d_out"]:
    array: np.ndarray = values.detach().float().cpu().numpy()
    return array


def _batch(
    values: dict[str, Float32[np.ndarray, "unit d_out"]],
    ids: Int64[np.ndarray, " unit"],
    live: Int64[np.ndarray, " live"],
    state: FeatureState,
    steps: Float32[np.ndarray, " feature"],
) -> pa.RecordBatch:
    """Rows of all kinds, by feature and kind."""
    of_kind = {kind: live if kind == "item" else ids for kind in values}
    feature = np.concatenate(list(of_kind.values()))
    kind = np.repeat(list(of_kind), [len(which) for which in of_kind.values()])
    order = np.lexsort((kind, feature))
    feature, kind = feature[order], kind[order]
    rows = np.concatenate(list(values.values()))[order]
    elsewhere = kind != "item"
    offsets = pa.array(np.arange(len(rows) + 1) * rows.shape[1], pa.int32())
    return pa.RecordBatch.from_pydict(
        {
            "feature_id": pa.array(feature, pa.int32()),
            "kind": pa.array(kind.tolist(), pa.string()),
            "item_id": pa.array(state.top.item[feature, 0], mask=elsewhere),
            "position": pa.array(state.top.position[feature, 0], mask=elsewhere),
            "step": pa.array(steps[feature], mask=kind == "jacobian"),
            "values": pa.ListArray.from_arrays(offsets, pa.array(rows.reshape(-1))),
        },
        schema_of("effects"),
    )
