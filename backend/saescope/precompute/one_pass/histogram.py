"""Where activations are binned: fixed, log-spaced, exact.

Bins are fractions of an octave of |activation|. Their edges are float32 numbers, so membership is exact whatever
computes it. `sampling` bins are runs of whole histogram bins: each keeps its own fair sample of firings, and the
intervals that people see are unions of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt32

from saescope.precompute.kernels.records import HistogramLayout
from saescope.store.errors import OptionError

FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class HistogramSpec:
    """Bins between 2**low and 2**high, plus one below and one above."""

    low: int = -16
    """Exponent of the first edge: everything smaller is in the underflow bin."""
    high: int = 16
    """Exponent of the last finite edge: everything from there on is in the overflow bin."""
    bins_per_octave: int = 4
    """Histogram bins per octave."""
    samples_per_octave: int = 1
    """Sampling bins per octave; divides `bins_per_octave`."""

    def __post_init__(self) -> None:
        if not -120 <= self.low < self.high <= 120:
            raise OptionError(f"histogram exponents {self.low} to {self.high}: expected -120 <= low < high <= 120")
        if not 1 <= self.bins_per_octave <= 64:
            raise OptionError(f"{self.bins_per_octave} bins per octave: expected 1 to 64")
        if self.samples_per_octave < 1 or self.bins_per_octave % self.samples_per_octave:
            raise OptionError(
                f"{self.samples_per_octave} sampling bins per octave do not divide {self.bins_per_octave}"
            )

    @property
    def n_bins(self) -> int:
        """Histogram bins, the two outer ones included."""
        return (self.high - self.low) * self.bins_per_octave + 2

    @property
    def n_sampling_bins(self) -> int:
        """Sampling bins, the two outer ones included."""
        return (self.high - self.low) * self.samples_per_octave + 2

    @property
    def bins_per_sample(self) -> int:
        """Histogram bins in one inner sampling bin."""
        return self.bins_per_octave // self.samples_per_octave

    def mantissas(self) -> Float32[np.ndarray, " bins_per_octave"]:
        """Lower edges of the bins of the octave [1, 2)."""
        return np.exp2(np.arange(self.bins_per_octave, dtype=np.float64) / self.bins_per_octave).astype(np.float32)

    def mantissa_bits(self) -> UInt32[np.ndarray, " bins_per_octave"]:
        """The same edges as the 23 fraction bits of a float32."""
        bits: UInt32[np.ndarray, " bins_per_octave"] = self.mantissas().view(np.uint32) & np.uint32(0x7FFFFF)
        return bits

    def layout(self) -> HistogramLayout:
        """The same for compiled loops."""
        return HistogramLayout(
            self.low,
            self.bins_per_octave,
            self.samples_per_octave,
            self.n_bins,
            self.n_sampling_bins,
            self.mantissa_bits(),
        )

    def edges(self) -> Float32[np.ndarray, " n_bins+1"]:
        """Edges of all bins: 0, 2**low, ..., 2**high, the largest float32. Bin i is [edges[i], edges[i + 1])."""
        octaves = np.exp2(np.arange(self.low, self.high, dtype=np.float64))
        inner = (octaves[:, None] * self.mantissas()[None, :].astype(np.float64)).reshape(-1)
        return np.concatenate([[0.0], inner, [2.0**self.high, FLOAT32_MAX]]).astype(np.float32)

    def sampling_edges(self) -> Float32[np.ndarray, " n_sampling_bins+1"]:
        """Edges of the sampling bins, as `edges`."""
        return np.concatenate([[np.float32(0)], self.edges()[1 : -1 : self.bins_per_sample], [np.float32(FLOAT32_MAX)]])


RECTIFIED = HistogramSpec()
"""For codes without an upper bound."""
SIGMOID = HistogramSpec(low=-1, high=0, bins_per_octave=16, samples_per_octave=4)
"""For sigmoid codes that fire above one half: finer bins over the only octave that is used."""
