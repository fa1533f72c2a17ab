"""Batches in as large parts as memory takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from saescope.store.errors import DeviceError

_log = logging.getLogger("saescope.models")


class Parts:
    """Runs batches; where CUDA runs out of memory, in halves from then on, with a warning."""

    def __init__(self) -> None:
        self._most: int | None = None

    def run(
        self, run: Callable[..., Tensor], whole: Sequence[Tensor | None], n_items: int, at_once: int | None = None
    ) -> Tensor:
        """`run` on tensors of `n_items` items each, at most `at_once` at a time (None: all), its results one behind the
        other.

        Raises `DeviceError` where not even one item fits.
        """
        done: list[Tensor] = []
        start = 0
        while start < n_items:
            size = min(self._most or n_items, at_once or n_items, n_items - start)
            try:
                done.append(run(*(None if t is None else t[start : start + size] for t in whole)))
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise DeviceError(
                        "CUDA runs out of memory even with one item at a time",
                        "use a shorter context, --dtype bfloat16, or --device cpu",
                    ) from error
                self._most = size // 2
                _log.warning("CUDA ran out of memory with %d items at once; going on with %d at once", size, self._most)
            else:
                start += size
                continue
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return done[0] if len(done) == 1 else torch.cat(done)
