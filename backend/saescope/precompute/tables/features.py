"""The store's `features`: one row per feature, from the pass's state."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from saescope.autoencoders.protocol import Autoencoder
from saescope.precompute.one_pass.state import FeatureState
from saescope.precompute.tables.intervals import N_INTERVALS, Intervals
from saescope.precompute.tables.labels import Labels
from saescope.store.format.schema import schema_of
from saescope.store.format.thresholds import DENSE_DENSITY


def feature_table(
    state: FeatureState, intervals: Intervals, labels: Labels, sae: Autoencoder, n_positions: int
) -> pa.Table:
    """Statistics over all `n_positions` evaluated positions; mean and standard deviation are over firings."""
    n_features = len(state.n_firing)
    dead = state.n_firing == 0
    density = state.n_firing / n_positions
    firings = np.where(dead, 1, state.n_firing)
    mean = state.sums.total / firings
    variance = np.maximum(state.sums.total_squares / firings - mean**2, 0.0)
    norms = pa.nulls(n_features, pa.float32())
    if sae.has_linear_decoder:
        norms = pa.array(sae.atoms.detach().norm(dim=1).cpu().numpy(), pa.float32())
    bias = sae.encoder_bias
    kept = np.arange(N_INTERVALS) < intervals.n[:, None]
    unlabelled = np.array([name is None for name in labels.name])
    return pa.table(
        {
            "feature_id": np.arange(n_features, dtype=np.int32),
            "n_firing": state.n_firing,
            "density": density,
            "mean_activation": pa.array(mean, mask=dead),
            "std_activation": pa.array(np.sqrt(variance), mask=dead),
            "max_activation": pa.array(state.top.value[:, 0], mask=dead),
            "is_dead": dead,
            "is_dense": density > DENSE_DENSITY,
            "decoder_norm": norms,
            "encoder_bias": pa.nulls(n_features, pa.float32()) if bias is None else bias.detach().cpu().numpy(),
            "hist_counts": _lists(state.sums.histogram.reshape(-1), np.full(n_features, state.spec.n_bins)),
            "interval_lower": _lists(intervals.lower[kept], intervals.n),
            "interval_counts": _lists(intervals.counts[kept], intervals.n),
            "auto_label": pa.array(labels.name, pa.string()),
            "label_precision": pa.array(labels.precision, mask=unlabelled),
            "label_recall": pa.array(labels.recall, mask=unlabelled),
            "label_base_rate": pa.array(labels.base_rate, mask=unlabelled),
        },
        schema_of("features"),
    )


def _lists(values: Float[np.ndarray, " n"] | np.ndarray, lengths: np.ndarray) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
