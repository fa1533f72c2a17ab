"""A toy superposition source: more features than dimensions, each on now and then, whose dictionary is known.

Row i is a function of the settings and i alone:

    x_i = sum_j s_ij c_ij a_j

* a_j, the true features: n independent directions, uniform on the unit sphere of d dimensions.
* c_ij: uniform in [low, high].
* s_ij, whether feature j is on: 1 with probability p_j. With probabilities LOW..HIGH, p_j = LOW (HIGH / LOW)^(j/(n-1)).
* Without groups all s_ij are independent. With G groups, feature j belongs to group j mod G; in each row each group is
  awake with probability q, and in a group that is awake feature j is on with probability p_j / q, all independently. So
  p_j stays the probability that j is on; where another feature of its group is on, it is p_j / q; and features of
  different groups are independent. For two features of one group with equal p the correlation of s is
  p (1/q - 1) / (1 - p).

Each item is one position. Its label is the true feature with the largest coefficient in it (null where none is on),
so that the pages name the true feature that a learned one stands for. After the toy models of Elhage et al. 2022 and
Sharkey et al. 2022.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numba
import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64, UInt64
from torch import Tensor

from saescope.progress import SILENT, Progress
from saescope.sources.images.image_data import LABEL
from saescope.sources.options import Purpose
from saescope.sources.protocol import ActivationBatch, ActivationTable
from saescope.sources.split import hashes
from saescope.sources.splitmix import mix
from saescope.sources.toy.options import ToyOptions
from saescope.sources.toy.settings import ToySettings
from saescope.store.errors import OptionError
from saescope.store.format.source import ToyDescription

VERSION = 1
"""Raised when the same settings would give other rows."""
BLOCK_ITEMS = 1 << 16


class ToySource:
    """See the module. Rows are drawn when they are read; nothing is kept of them."""

    kind = "toy"
    positions_per_item = 1

    def __init__(self, settings: ToySettings, path: str) -> None:
        self.settings, self._path = settings, path
        self._draws = _Draws(settings)

    @property
    def true_features(self) -> Float[Tensor, "n_true d_in"]:
        """The dictionary that rows are made of, unit norm."""
        return torch.from_numpy(self._draws.features.copy())

    @property
    def d_in(self) -> int:
        return self.settings.d_in

    @property
    def n_items(self) -> int:
        return self.settings.items

    @property
    def data_sha256(self) -> str:
        """Hash of the settings, which decide every row."""
        decides = json.dumps({"toy": VERSION, **self.settings.to_dict()}, sort_keys=True)
        return hashlib.sha256(decides.encode()).hexdigest()

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        if items_per_batch is None:
            items_per_batch = BLOCK_ITEMS
        if items_per_batch < 1 or start_item < 0:
            raise OptionError(f"start_item {start_item}, items_per_batch {items_per_batch}; expected >= 0 and >= 1")
        for start in range(start_item, self.n_items, items_per_batch):
            ids = np.arange(start, min(start + items_per_batch, self.n_items), dtype=np.int64)
            yield ActivationBatch(ids, torch.from_numpy(self._draws.rows(ids))[:, None])

    def table(self, items: Bool[np.ndarray, " n_items"] | None = None) -> ActivationTable:
        if items is None:
            return _Rows(self, None)
        chosen = np.asarray(items)
        if chosen.dtype != np.bool_ or chosen.shape != (self.n_items,):
            raise OptionError(
                f"items is {chosen.dtype} {list(chosen.shape)}; expected one bool per item: [{self.n_items}]"
            )
        return _Rows(self, np.flatnonzero(chosen).astype(np.int64))

    def rows(self, items: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        """Activations of any items."""
        return torch.from_numpy(self._draws.rows(items))

    def true_codes(self, items: Int64[np.ndarray, " row"]) -> Float32[np.ndarray, "row n_true"]:
        """Coefficients s c of any items, dense."""
        return self._draws.codes(items)

    def item_table(self, item_ids: Int64[np.ndarray, " item"]) -> pa.Table:
        ids = np.asarray(item_ids, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.n_items):
            raise OptionError(f"item_id outside 0 ... {self.n_items - 1}: {ids.min()} ... {ids.max()}")
        return pa.table({"item_id": pa.array(ids), LABEL: self._labels.take(pa.array(ids))})

    def metadata(self) -> Mapping[str, Any]:
        return {LABEL: self._labels}

    @cached_property
    def _labels(self) -> pa.Array:
        starts = range(0, self.n_items, BLOCK_ITEMS)
        parts = [self._draws.strongest(np.arange(s, min(s + BLOCK_ITEMS, self.n_items))) for s in starts]
        strongest = np.concatenate(parts)
        return pa.array(strongest, mask=strongest < 0).cast(pa.string())

    def describe(self) -> ToyDescription:
        return ToyDescription(
            path=self._path,
            format="toy",
            data_sha256=self.data_sha256,
            n_items=self.n_items,
            n_positions=self.n_items,
            positions_per_item=1,
            d_in=self.d_in,
            label_words={LABEL: "true feature"},
            toy=json.loads(json.dumps(self.settings.to_dict())),
        )


class _Rows:
    """Random access to the chosen items."""

    def __init__(self, source: ToySource, items: Int64[np.ndarray, " chosen"] | None) -> None:
        self._source, self._items = source, items
        self.n_rows = source.n_items if items is None else len(items)
        self.d_in = source.d_in

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= self.n_rows):
            raise IndexError(f"rows {indices.min()} ... {indices.max()} of {self.n_rows}")
        return self._source.rows(indices if self._items is None else self._items[indices])


class _Rule(NamedTuple):
    """What decides which features are on in a row, and how strongly."""

    keys: UInt64[np.ndarray, " n_true"]
    on: Float64[np.ndarray, " n_true"]
    """Probability that a feature is on while its group is awake."""
    group: Int64[np.ndarray, " n_true"]
    group_keys: UInt64[np.ndarray, " group"]
    awake: float
    low: float
    high: float


class _Draws:
    """The true features and what every draw is made from."""

    def __init__(self, settings: ToySettings) -> None:
        n, groups = settings.n_features, settings.groups
        directions = np.random.default_rng([settings.seed % 2**64, VERSION]).normal(size=(n, settings.d_in))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.features: Float32[np.ndarray, "n_true d_in"] = directions.astype(np.float32)
        low, high = settings.p
        p = low * (high / low) ** (np.arange(n) / max(n - 1, 1))
        keys = hashes(np.arange(n + max(groups, 1)), settings.seed)
        awake = settings.awake if groups else 1.0
        self._seed = settings.seed
        self._rule = _Rule(keys[:n], p / awake, np.arange(n) % max(groups, 1), keys[n:], awake, *settings.c)

    def codes(self, items: Int64[np.ndarray, " row"]) -> Float32[np.ndarray, "row n_true"]:
        ids = np.asarray(items, dtype=np.int64)
        codes = np.zeros((len(ids), len(self.features)), np.float32)
        _fill_codes(self._row_keys(ids), self._rule, codes)
        return codes

    def rows(self, items: Int64[np.ndarray, " row"]) -> Float32[np.ndarray, "row d_in"]:
        ids = np.asarray(items, dtype=np.int64)
        rows = np.empty((len(ids), self.features.shape[1]), np.float32)
        _fill_rows(self._row_keys(ids), self._rule, self.features, rows)
        return rows

    def strongest(self, items: Int64[np.ndarray, " row"]) -> Int32[np.ndarray, " row"]:
        """The true feature with the largest coefficient in each row; -1 where none is on."""
        ids = np.asarray(items, dtype=np.int64)
        found = np.empty(len(ids), np.int32)
        _fill_strongest(self._row_keys(ids), self._rule, found)
        return found

    def _row_keys(self, ids: Int64[np.ndarray, " row"]) -> UInt64[np.ndarray, " row"]:
        return hashes(ids, self._seed + 1)


_U = np.uint64


@numba.njit(cache=True, nogil=True, inline="always")
def _uniform(h: np.uint64) -> np.float64:
    """In [0, 1), of the upper 53 bits."""
    return np.float64(h >> _U(11)) * 2.0**-53


@numba.njit(cache=True, nogil=True)
def _draw(row: np.uint64, rule: _Rule, opened: np.ndarray, features: np.ndarray, values: np.ndarray) -> int:
    """The features that are on in a row and their coefficients, in ascending order; their number."""
    for g in range(opened.size):
        opened[g] = rule.awake >= 1.0 or _uniform(mix(row ^ rule.group_keys[g])) < rule.awake
    n = 0
    for j in range(rule.keys.size):
        if opened[rule.group[j]]:
            h = mix(row ^ rule.keys[j])
            if _uniform(h) < rule.on[j]:
                features[n] = j
                values[n] = rule.low + (rule.high - rule.low) * _uniform(mix(h + _U(0x9E3779B97F4A7C15)))
                n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _room(rule: _Rule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Buffers of `_draw`."""
    n = rule.keys.size
    return np.empty(rule.group_keys.size, np.bool_), np.empty(n, np.int64), np.empty(n)


@numba.njit(cache=True, nogil=True)
def _fill_codes(rows: np.ndarray, rule: _Rule, codes: np.ndarray) -> None:
    opened, features, values = _room(rule)
    for r in range(rows.size):
        for e in range(_draw(rows[r], rule, opened, features, values)):
            codes[r, features[e]] = values[e]


@numba.njit(cache=True, nogil=True)
def _fill_rows(rows: np.ndarray, rule: _Rule, atoms: np.ndarray, out: np.ndarray) -> None:
    opened, features, values = _room(rule)
    total = np.empty(atoms.shape[1])
    for r in range(rows.size):
        total[:] = 0.0
        for e in range(_draw(rows[r], rule, opened, features, values)):
            atom, value = atoms[features[e]], values[e]
            for d in range(total.size):
                total[d] += value * atom[d]
        for d in range(total.size):
            out[r, d] = total[d]


@numba.njit(cache=True, nogil=True)
def _fill_strongest(rows: np.ndarray, rule: _Rule, found: np.ndarray) -> None:
    opened, features, values = _room(rule)
    for r in range(rows.size):
        best, largest = -1, -1.0
        for e in range(_draw(rows[r], rule, opened, features, values)):
            if values[e] > largest:
                best, largest = features[e], values[e]
        found[r] = best


def open_data(options: ToyOptions, purpose: Purpose, progress: Progress = SILENT) -> ToySource:
    """The source that `options.toy` describes."""
    if options.split in ("train", "test"):
        raise OptionError(
            f"split {options.split!r} is asked for, but a toy source has no splits",
            "leave --split out: 10 % of the items are held out from training",
        )
    return ToySource(options.settings, options.toy)


def has_splits(options: ToyOptions) -> bool:
    """A toy source has none."""
    return False
