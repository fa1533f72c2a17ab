"""What texts and images that a model reads have in common as sources."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from saescope.models import HookedModel, LoadedModel, ModelOptions, load_model
from saescope.models.cache import cache_folder
from saescope.progress import SILENT, Progress
from saescope.sources.hooked.activation_cache import VERSION, ActivationCache
from saescope.sources.hooked.options import HookedOptions
from saescope.sources.hooked.outliers import NormLimit, measure_limit
from saescope.sources.hooked.rows import CachedRows, StreamedPairs, StreamedRows
from saescope.sources.hooked.windows import Windows
from saescope.sources.protocol import ActivationBatch, ActivationTable
from saescope.sources.targets import Joined
from saescope.store import atomic
from saescope.store.errors import OptionError
from saescope.store.format.source import HookedDescription

CACHE_LIMIT = 16 << 30
"""Bytes of activations up to which `cache='auto'` keeps them on disk."""

_held: WeakValueDictionary[ModelOptions, LoadedModel] = WeakValueDictionary()


def shared_model(options: HookedOptions, progress: Progress = SILENT) -> LoadedModel:
    """The model of `options`: the very one that another source holds, where one does. Raises `CheckpointError`."""
    wanted = options.model_options
    held = _held.get(wanted)
    if held is None:
        held = _held[wanted] = load_model(wanted, progress)
    return held


class HookedSource(ABC):
    """Items that a model reads, seen as its activations at a hook.

    The methods that are abstract here make it an `ItemReader`. Forward passes take place in windows of a fixed number
    of items, so that no bit depends on where a run was cut; where all activations are on disk, they come from there.

    Where there is a second hook for targets, both are read in one forward pass, and everything in here handles an
    activation with its target behind it: `width` is that of both together.
    """

    def __init__(self, hooked: HookedModel, options: HookedOptions, progress: Progress = SILENT) -> None:
        self.hooked = hooked
        self.target_hooked = None if options.hook_out is None else HookedModel(hooked.loaded, options.hook_out)
        self._options, self._progress = options, progress
        self._first: tuple[Tensor, Bool[np.ndarray, "item position"]] | None = None

    @property
    @abstractmethod
    def kind(self) -> str: ...

    @property
    @abstractmethod
    def n_items(self) -> int: ...

    @property
    @abstractmethod
    def positions_per_item(self) -> int: ...

    @property
    @abstractmethod
    def data_sha256(self) -> str: ...

    @property
    @abstractmethod
    def n_evaluated(self) -> int:
        """Positions that count as far as the inputs tell: before any is left out for its norm."""

    @abstractmethod
    def lengths(self, items: Int64[np.ndarray, " item"]) -> Int64[np.ndarray, " item"]: ...

    @abstractmethod
    def evaluated(self, items: Int64[np.ndarray, " item"]) -> Bool[np.ndarray, "item position"]: ...

    @abstractmethod
    def forward(self, items: Int64[np.ndarray, " item"]) -> Float[Tensor, "item position width"]: ...

    @abstractmethod
    def item_table(self, item_ids: Int64[np.ndarray, " item"]) -> pa.Table: ...

    @abstractmethod
    def metadata(self) -> Mapping[str, Any]: ...

    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """What decides the model's inputs and which positions count, beside the data itself, JSON-ready."""

    @property
    def d_in(self) -> int:
        return self.hooked.width

    @property
    def d_target(self) -> int | None:
        """Width of a target; None where there are none."""
        return None if self.target_hooked is None else self.target_hooked.width

    @property
    def hooked_out(self) -> HookedModel:
        """The model where reconstructions belong: at the targets' hook, or the hook itself."""
        return self.target_hooked or self.hooked

    @property
    def width(self) -> int:
        """Of an activation with its target, if any."""
        return self.d_in + (self.d_target or 0)

    def _activations(
        self, inputs: Tensor, mask: Bool[Tensor, "item position"] | None = None
    ) -> Float[Tensor, "item position width"]:
        """What `forward` gives, from what the model takes."""
        if self.target_hooked is None:
            return self.hooked.activations(inputs, mask)
        return self.hooked.activations_with(self.target_hooked, inputs, mask)

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        """All items from `start_item` on. What stands at masked positions means nothing."""
        if start_item < 0 or (items_per_batch is not None and items_per_batch < 1):
            raise OptionError(f"start_item {start_item}, items_per_batch {items_per_batch}; expected >= 0 and >= 1")
        for window in range(start_item // self._windows.size, len(self._windows)):
            items = self._windows.items(window)
            values, mask = self._cache.batch(items) if self._cache.complete else self._window(window)
            counts = torch.from_numpy(mask).to(values.device)
            first = max(0, start_item - int(items[0]))
            step = items_per_batch or len(items)
            for start in range(first, len(items), step):
                part = slice(start, min(start + step, len(items)))
                x, y = values[part, :, : self.d_in], values[part, :, self.d_in :]
                yield ActivationBatch(items[part], x, counts[part], None if self.d_target is None else y)

    def table(self, items: Bool[np.ndarray, " n_items"] | None = None) -> ActivationTable:
        """Random access to the chosen items' positions: from the disk, where all items are brought first if they are
        not there, or, where the cache is off or would grow too large, computed in chunks as they are needed."""
        chosen = None if items is None else np.asarray(items)
        if chosen is not None and (chosen.dtype != np.bool_ or chosen.shape != (self.n_items,)):
            raise OptionError(
                f"items is {chosen.dtype} {list(chosen.shape)}; expected one bool per item: [{self.n_items}]"
            )
        if self.is_streamed:
            ids = np.arange(self.n_items) if chosen is None else np.flatnonzero(chosen)
            streamed = StreamedRows(self, self._read, self.width, ids, self._windows.size)
            return streamed if self.d_target is None else StreamedPairs(streamed, self.d_in)
        self._cache.fill(self._window, self.n_evaluated, self._progress)
        cached = CachedRows(self._cache, self.width, None if chosen is None else np.flatnonzero(chosen))
        return cached if self.d_target is None else Joined(cached, self.d_in)

    @property
    def is_streamed(self) -> bool:
        """Whether activations to train on are computed as they are needed, in shuffled chunks."""
        size = self.n_evaluated * self.width * (2 if self._options.cache_dtype == "float16" else 4)
        return self._options.cache == "off" or (self._options.cache == "auto" and size > CACHE_LIMIT)

    def usual(self, activations: Float[Tensor, "*position d_in"]) -> Bool[Tensor, "*position"]:
        """False where the norm of an activation of this source is out of the ordinary, so that it does not count."""
        limit = self._limit
        if limit is None:
            return torch.ones(activations.shape[:-1], dtype=torch.bool, device=activations.device)
        return ~limit.exceeded(self._rounded(activations))

    @abstractmethod
    def describe(self) -> HookedDescription: ...

    def _about(self) -> dict[str, Any]:
        """Fields of a description that texts and images share."""
        return {
            "path": self._options.path,
            "data_sha256": self.data_sha256,
            "n_items": self.n_items,
            "n_positions": self.n_evaluated,
            "positions_per_item": self.positions_per_item,
            "d_in": self.d_in,
            **self.hooked.describe(),
            **self._about_targets(),
            "excluded_norm": None if self._limit is None else self._limit.describe(),
            "activation_dtype": self._options.cache_dtype,
            "activations_key": self._key,
        }

    def _about_targets(self) -> dict[str, Any]:
        if self.target_hooked is None:
            return {}
        hook = self.target_hooked.hook
        return {
            "d_target": hook.width,
            "hook_out": hook.name,
            "hook_out_module": hook.module,
            "hook_out_side": hook.side,
            "layer_out": hook.layer,
        }

    @cached_property
    def _windows(self) -> Windows:
        return Windows(self, str(self.hooked.device))

    @cached_property
    def _key(self) -> str:
        """Hash of all that decides the activations and which of them count."""
        parts = {
            "version": VERSION,
            "data": self.data_sha256,
            "inputs": self.inputs(),
            "model": {name: v for name, v in self.hooked.describe().items() if name not in ("model", "revision")},
            "exclude_norm": self._options.exclude_norm,
            "dtype": self._options.cache_dtype,
            "windows": self._windows.shape,
            **self._about_targets(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    @cached_property
    def _cache(self) -> ActivationCache:
        folder = cache_folder() / "activations" / self._key
        return ActivationCache(folder, self, self._windows, self.width, self._options.cache_dtype)

    @cached_property
    def _limit(self) -> NormLimit | None:
        """The norm above which positions do not count, measured on the first window once and for all."""
        if self._options.exclude_norm is None:
            return None
        path = self._cache.folder / "norm.json"
        if path.exists():
            return NormLimit(**json.loads(path.read_text()))
        items = self._windows.items(0)
        self._progress.update("measuring the norms of activations", 0, 1)
        values = self._rounded(self._windows.read(items))
        self._progress.update("measuring the norms of activations", 1, 1)
        limit = measure_limit(values[..., : self.d_in], self.evaluated(items), self._options.exclude_norm)
        if limit is not None:
            atomic.make_folder(path.parent)
            atomic.write_text(path, json.dumps(asdict(limit)))
        self._first = values, self._counted(items, values, limit)
        return limit

    def _window(self, window: int) -> tuple[Float[Tensor, "item position width"], Bool[np.ndarray, "item position"]]:
        limit = self._limit  # may read the first window
        if window == 0 and self._first is not None:
            first, self._first = self._first, None
            return first
        items = self._windows.items(window)
        values = self._rounded(self._windows.read(items))
        return values, self._counted(items, values, limit)

    def _read(
        self, items: Int64[np.ndarray, " item"]
    ) -> tuple[Float[Tensor, "item position width"], Bool[np.ndarray, "item position"]]:
        """Any items, computed."""
        values = self._rounded(self._windows.read(items))
        return values, self._counted(items, values, self._limit)

    def _counted(self, items: np.ndarray, values: Tensor, limit: NormLimit | None) -> Bool[np.ndarray, "item position"]:
        counts = self.evaluated(items)
        return counts if limit is None else counts & ~limit.exceeded(values[..., : self.d_in]).cpu().numpy()

    def _rounded(self, values: Float[Tensor, "item position width"]) -> Float[Tensor, "item position width"]:
        """As the disk gives them back, whether they come from there or not."""
        return values.half().float() if self._options.cache_dtype == "float16" else values
