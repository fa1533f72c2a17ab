"""A token source that holds all its texts in memory, over a small random Llama."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from saescope.models import HookedModel, LoadedModel, ModelOptions
from saescope.sources.protocol import ActivationBatch, ActivationTable, flat_positions
from saescope.store.format.source import TextDescription
from tests.models import small_models
from tests.training.arrays import ArrayTable

BOS, EXCLUDED, PAD = 1, 2, 0
_SPECIAL = ("<pad>", "<s>", "</s>")
_AWKWARD = (" def", "\n", "\t", "`", ": ", "<0xE4>", "“", "שלום", "漢", "<b>", "\u200b", " a\\n")
VOCABULARY = (
    *_SPECIAL,
    *_AWKWARD,
    *(f" word{i}" for i in range(small_models.VOCABULARY - len(_SPECIAL) - len(_AWKWARD))),
)
ITEMS_PER_WINDOW = 16


class MemoryTexts:
    """`n_items` contexts of 1 to `longest` tokens after a BOS, in two kinds that prefer different tokens.

    BOS, one token of the vocabulary and activations of large norm do not count.
    """

    kind = "tokens"

    def __init__(
        self, n_items: int = 300, longest: int = 12, family: str = "llama", hook: str = "blocks.1.hook_resid_post"
    ) -> None:
        rng = np.random.default_rng(0)
        self.n_items, self.positions_per_item = n_items, longest + 1
        self.kinds = np.where(rng.random(n_items) < 0.3, "code", "prose")
        self.rows = []
        for kind in self.kinds:
            low, high = (3, 20) if kind == "code" else (12, small_models.VOCABULARY)
            ids = rng.integers(low, high, rng.integers(1, longest + 1))
            ids[rng.random(len(ids)) < 0.05] = EXCLUDED
            self.rows.append(np.concatenate([[BOS], ids]))
        self.family, self.hook = family, hook

    @cached_property
    def hooked(self) -> HookedModel:
        model = small_models.make(self.family)
        return HookedModel(
            LoadedModel(model, ModelOptions("small", dtype="float32", device="cpu"), "causal"), self.hook
        )

    @property
    def hooked_out(self) -> HookedModel:
        return self.hooked

    @property
    def vocabulary(self) -> Sequence[str]:
        return VOCABULARY

    @property
    def groups(self) -> np.ndarray:
        return np.arange(self.n_items) // 2

    @property
    def d_in(self) -> int:
        return self.hooked.width

    @property
    def data_sha256(self) -> str:
        return "1" * 64

    def token_ids(self, items: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return np.array([self.rows[i][p] for i, p in zip(items, positions, strict=True)], np.int32)

    def contexts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        longest = max(len(self.rows[i]) for i in items)
        ids = np.full((len(items), longest), PAD, np.int64)
        real = np.zeros(ids.shape, bool)
        for at, item in enumerate(items):
            ids[at, : len(self.rows[item])] = self.rows[item]
            real[at, : len(self.rows[item])] = True
        return ids, real, real & ~np.isin(ids, [BOS, EXCLUDED])

    @cached_property
    def norm_limit(self) -> float:
        ids, real, _ = (torch.from_numpy(a) for a in self.contexts(np.arange(16)))
        return float(self.hooked.activations(ids, real)[real].norm(dim=-1).quantile(0.9))

    def usual(self, activations: Tensor) -> Tensor:
        return activations.norm(dim=-1) <= self.norm_limit

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        for first in range(start_item - start_item % ITEMS_PER_WINDOW, self.n_items, ITEMS_PER_WINDOW):
            items = np.arange(first, min(first + ITEMS_PER_WINDOW, self.n_items))
            ids, real, evaluated = (torch.from_numpy(a) for a in self.contexts(items))
            x = self.hooked.activations(ids, real)
            keep = items >= start_item
            yield ActivationBatch(items[keep], x[keep], (evaluated & self.usual(x))[keep])

    def table(self, items: np.ndarray | None = None) -> ActivationTable:
        parts = []
        for batch in self.batches():
            x, of, _ = flat_positions(batch)
            parts.append(x if items is None else x[torch.from_numpy(items[of])])
        return ArrayTable(torch.cat(parts).numpy())

    def item_table(self, item_ids: np.ndarray) -> pa.Table:
        rows = [self.rows[i] for i in item_ids]
        return pa.table(
            {
                "item_id": item_ids,
                "token_ids": pa.array(rows, pa.list_(pa.int32())),
                "tokens": [[VOCABULARY[t] for t in row] for row in rows],
                "kind": self.kinds[item_ids],
            }
        )

    def metadata(self) -> dict[str, Any]:
        return {"kind": pa.array(self.kinds.tolist())}

    def describe(self) -> TextDescription:
        return TextDescription(model=self.family, hook=self.hook, n_items=self.n_items, data_sha256="1")
