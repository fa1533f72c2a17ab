"""What the one pass keeps of every feature, and how it is saved, resumed and merged.

Memory follows the number of features alone. Samples are laid out by sampling bin first, so that octaves in which
nothing fires never become resident.

Shape symbols: `feature` features of the SAE, `bin` histogram bins, `sbin` sampling bins, `top` kept top examples,
`sample` kept samples per sampling bin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt64

from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute import kernels
from saescope.precompute.kernels.records import FiringSums, Places, Samples, TopExamples
from saescope.precompute.one_pass.histogram import HistogramSpec
from saescope.precompute.one_pass.threads import N_THREADS, threads

UNBOUNDED = np.iinfo(np.uint64).max


@dataclass(frozen=True)
class FeatureState:
    """Statistics of all features over the rows seen so far. Arrays are updated in place."""

    spec: HistogramSpec
    sums: FiringSums
    top: TopExamples
    samples: Samples
    keys: UInt64[np.ndarray, " feature"]
    """Hash of (seed, feature)."""

    @staticmethod
    def empty(n_features: int, spec: HistogramSpec, n_top: int, n_samples: int, seed: int) -> FeatureState:
        """State before the first row: `n_top` examples per feature, `n_samples` (at most 255) per sampling bin."""
        samples = (spec.n_sampling_bins, n_features, n_samples)
        return FeatureState(
            spec,
            FiringSums(
                n_firing=np.zeros(n_features, np.int64),
                total=np.zeros(n_features, np.float64),
                total_squares=np.zeros(n_features, np.float64),
                histogram=np.zeros((n_features, spec.n_bins), np.int64),
            ),
            TopExamples(
                value=np.zeros((n_features, n_top), np.float32),
                item=np.zeros((n_features, n_top), np.int64),
                position=np.zeros((n_features, n_top), np.int32),
                n=np.zeros(n_features, np.int32),
            ),
            Samples(
                hash=np.zeros(samples, np.uint64),
                value=np.zeros(samples, np.float32),
                item=np.zeros(samples, np.int64),
                position=np.zeros(samples, np.int32),
                n=np.zeros(samples[:2], np.uint8),
                bound=np.full(samples[:2], UNBOUNDED, np.uint64),
            ),
            kernels.feature_keys(seed, n_features),
        )

    @property
    def n_firing(self) -> Int64[np.ndarray, " feature"]:
        return self.sums.n_firing

    def add(self, codes: CodeRows, items: Int64[np.ndarray, " row"], positions: Int64[np.ndarray, " row"]) -> None:
        """Add rows. They may come in any order; sums depend on it in their last bits.

        Each thread takes a range of features, so the result does not depend on how many there are.
        """
        places = Places(items, positions, kernels.position_keys(items, positions))
        layout = self.spec.layout()

        def add_range(first: int, last: int) -> None:
            kernels.accumulate(codes, places, self.keys, first, last, layout, self.sums, self.top, self.samples)

        edges = np.linspace(0, len(self.n_firing), N_THREADS + 1).astype(np.int64).tolist()
        list(threads().map(add_range, edges[:-1], edges[1:]))

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array that `from_arrays` needs, samples cut to the sampling bins in use."""
        used = np.flatnonzero(self.samples.n.any(axis=1))
        samples = {name: value[used] for name, value in _named(_SAMPLES, self.samples).items()}
        return {"used_sampling_bins": used, **self.sums._asdict(), **_named(_TOP, self.top), **samples}

    @staticmethod
    def from_arrays(saved: Mapping[str, np.ndarray], spec: HistogramSpec, seed: int) -> FeatureState:
        """Inverse of `arrays`."""
        n_features, n_top = saved["top_value"].shape
        state = FeatureState.empty(n_features, spec, n_top, saved["sample_hash"].shape[2], seed)
        for name, array in {**state.sums._asdict(), **_named(_TOP, state.top)}.items():
            array[...] = saved[name]
        for name, array in _named(_SAMPLES, state.samples).items():
            array[saved["used_sampling_bins"]] = saved[name]
        return state

    def merge(self, other: FeatureState) -> None:
        """Add what `other` has seen (other rows, same settings). Sums agree with one pass to float64 rounding;
        everything else is equal to it."""
        for mine, others in zip(self.sums, other.sums, strict=True):
            mine += others
        kernels.merge_kept(self.top, other.top, self.samples, other.samples)


_TOP = ("top_value", "top_item", "top_position", "n_top")
_SAMPLES = ("sample_hash", "sample_value", "sample_item", "sample_position", "n_sample", "sample_bound")
"""Names of the arrays where they are saved."""


def _named(names: tuple[str, ...], arrays: TopExamples | Samples) -> dict[str, np.ndarray]:
    return dict(zip(names, arrays, strict=True))
