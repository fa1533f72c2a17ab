"""Which items are kept from training, where the data has no split of its own."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from saescope.sources.protocol import Source
from saescope.store.errors import OptionError


def held_out(n_items: int, seed: int = 0, fraction: float = 0.1) -> Bool[np.ndarray, " n_items"]:
    """True at the held-out items: the `fraction` of all with the smallest hash of (seed, item).

    From 2 items on, at least one is held out and never all (unless `fraction` is 0). The same arguments give the same
    items on every machine.
    """
    if not 0 <= fraction < 1:
        raise OptionError(f"the held-out fraction is {fraction}; expected at least 0 and less than 1")
    chosen = np.zeros(n_items, dtype=bool)
    if fraction == 0 or n_items < 2:
        return chosen
    count = min(max(round(fraction * n_items), 1), n_items - 1)
    # Items are distinct and the hash is a bijection of the item, so there are no ties.
    chosen[np.argpartition(hashes(np.arange(n_items), seed), count - 1)[:count]] = True
    return chosen


def held_out_items(
    source: Source, seed: int = 0, fraction: float = 0.1, *, strictly: bool = False
) -> Bool[np.ndarray, " n_items"]:
    """True at the items of `source` that are held out: one rule for training, build and evaluate.

    Where items belong to groups (`source.groups`: the documents of texts, by their number in the corpus), whole groups
    are held out, those whose hash of (seed, number) is in the lowest `fraction` of all hashes: whichever part of a
    corpus is read, its documents fall on the same side. Should that be none or all of them, the rule for single things
    takes its place, unless `strictly`.
    """
    groups = getattr(source, "groups", None)
    if groups is None:
        return held_out(source.n_items, seed, fraction)
    numbers, place = np.unique(np.asarray(groups), return_inverse=True)
    chosen = hashes(numbers, seed) < np.uint64(fraction * 2.0**64)
    if not strictly and (chosen.all() or not chosen.any()):
        chosen = held_out(len(numbers), seed, fraction)
    return chosen[place]


def hashes(indices: Int64[np.ndarray, " n"], seed: int) -> UInt64[np.ndarray, " n"]:
    """SplitMix64 finaliser (Steele, Lea & Flood 2014) of index + a hashed seed: no two indices share one."""
    with np.errstate(over="ignore"):
        start = _mix(np.array([seed % 2**64], dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15))
        return _mix(start + (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))


def _mix(z: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
