"""What the one pass keeps of every feature, and how it is saved, resumed and merged.

Memory follows the number of features alone. Samples are laid out by sampling bin first, so that octaves in which
nothing fires never become resident.

Shape symbols: `feature` features of the SAE, `bin` histogram bins, `sbin` sampling bins, `top` kept top examples,
`sample` kept samples per sampling bin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8, UInt64

from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute import kernels
from saescope.precompute.one_pass.histogram import HistogramSpec
from saescope.precompute.one_pass.threads import N_THREADS, threads

UNBOUNDED = np.iinfo(np.uint64).max


@dataclass(frozen=True)
class FeatureState:
    """Statistics of all features over the rows seen so far. Arrays are updated in place."""

    spec: HistogramSpec
    n_firing: Int64[np.ndarray, " feature"]
    total: Float64[np.ndarray, " feature"]
    """Sum of activations."""
    total_squares: Float64[np.ndarray, " feature"]
    histogram: Int64[np.ndarray, "feature bin"]
    top_value: Float32[np.ndarray, "feature top"]
    top_item: Int64[np.ndarray, "feature top"]
    top_position: Int32[np.ndarray, "feature top"]
    n_top: Int32[np.ndarray, " feature"]
    sample_hash: UInt64[np.ndarray, "sbin feature sample"]
    sample_value: Float32[np.ndarray, "sbin feature sample"]
    sample_item: Int64[np.ndarray, "sbin feature sample"]
    sample_position: Int32[np.ndarray, "sbin feature sample"]
    n_sample: UInt8[np.ndarray, "sbin feature"]
    sample_bound: UInt64[np.ndarray, "sbin feature"]
    """Hash that the next sample must stay below."""
    feature_keys: UInt64[np.ndarray, " feature"]

    @staticmethod
    def empty(n_features: int, spec: HistogramSpec, n_top: int, n_samples: int, seed: int) -> FeatureState:
        """State before the first row: `n_top` examples per feature, `n_samples` (at most 255) per sampling bin."""
        samples = (spec.n_sampling_bins, n_features, n_samples)
        return FeatureState(
            spec=spec,
            n_firing=np.zeros(n_features, np.int64),
            total=np.zeros(n_features, np.float64),
            total_squares=np.zeros(n_features, np.float64),
            histogram=np.zeros((n_features, spec.n_bins), np.int64),
            top_value=np.zeros((n_features, n_top), np.float32),
            top_item=np.zeros((n_features, n_top), np.int64),
            top_position=np.zeros((n_features, n_top), np.int32),
            n_top=np.zeros(n_features, np.int32),
            sample_hash=np.zeros(samples, np.uint64),
            sample_value=np.zeros(samples, np.float32),
            sample_item=np.zeros(samples, np.int64),
            sample_position=np.zeros(samples, np.int32),
            n_sample=np.zeros(samples[:2], np.uint8),
            sample_bound=np.full(samples[:2], UNBOUNDED, np.uint64),
            feature_keys=kernels.feature_keys(seed, n_features),
        )

    def add(
        self,
        codes: CodeRows,
        items: Int64[np.ndarray, " row"],
        positions: Int64[np.ndarray, " row"],
    ) -> None:
        """Add compressed rows. Rows may come in any order; sums depend on it in their last bits.

        Each thread takes a range of features, so the result does not depend on how many there are.
        """
        spec = self.spec
        keys, mantissa_bits = kernels.position_keys(items, positions), spec.mantissa_bits()

        def add_range(first: int, last: int) -> None:
            kernels.accumulate(
                codes.row_ptr,
                codes.features,
                codes.values,
                items,
                positions,
                keys,
                self.feature_keys,
                first,
                last,
                spec.low,
                spec.bins_per_octave,
                spec.samples_per_octave,
                spec.n_bins,
                spec.n_sampling_bins,
                mantissa_bits,
                self.n_firing,
                self.total,
                self.total_squares,
                self.histogram,
                self.top_value,
                self.top_item,
                self.top_position,
                self.n_top,
                self.sample_hash,
                self.sample_value,
                self.sample_item,
                self.sample_position,
                self.n_sample,
                self.sample_bound,
            )

        edges = np.linspace(0, len(self.n_firing), N_THREADS + 1).astype(np.int64).tolist()
        list(threads().map(add_range, edges[:-1], edges[1:]))

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array that `from_arrays` needs, samples cut to the sampling bins in use."""
        used = np.flatnonzero(self.n_sample.any(axis=1))
        saved = {"used_sampling_bins": used}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("spec", "feature_keys"):
                continue
            saved[field.name] = value[used] if field.name in _BY_SAMPLING_BIN else value
        return saved

    @staticmethod
    def from_arrays(saved: Mapping[str, np.ndarray], spec: HistogramSpec, seed: int) -> FeatureState:
        """Inverse of `arrays`."""
        n_features, n_top = saved["top_value"].shape
        state = FeatureState.empty(n_features, spec, n_top, saved["sample_hash"].shape[2], seed)
        used = saved["used_sampling_bins"]
        for name, value in saved.items():
            if name == "used_sampling_bins":
                continue
            target = getattr(state, name)
            target[used if name in _BY_SAMPLING_BIN else slice(None)] = value
        return state

    def merge(self, other: FeatureState) -> None:
        """Add what `other` has seen (other rows, same settings). Sums agree with one pass to float64 rounding;
        everything else is equal to it."""
        for name in ("n_firing", "total", "total_squares", "histogram"):
            getattr(self, name)[...] += getattr(other, name)
        kernels.merge_kept(
            self.top_value,
            self.top_item,
            self.top_position,
            self.n_top,
            other.top_value,
            other.top_item,
            other.top_position,
            other.n_top,
            self.sample_hash,
            self.sample_value,
            self.sample_item,
            self.sample_position,
            self.n_sample,
            self.sample_bound,
            other.sample_hash,
            other.sample_value,
            other.sample_item,
            other.sample_position,
            other.n_sample,
        )


_BY_SAMPLING_BIN = {
    "sample_hash",
    "sample_value",
    "sample_item",
    "sample_position",
    "n_sample",
    "sample_bound",
}
