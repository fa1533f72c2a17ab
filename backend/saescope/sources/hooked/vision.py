"""A vision transformer's activations over pictures: each position is one of the model's patches, a CLS token or a
register.

Shape symbols: `item` pictures, `position` the model's positions of a picture, `width` of an activation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int64, Num
from torch import Tensor

from saescope.models.hooked import HookedModel
from saescope.models.loading import load_model
from saescope.models.options import ModelOptions
from saescope.progress import SILENT, Progress
from saescope.sources.hooked.picture_inputs import PictureInputs
from saescope.sources.image_data import ImageSet
from saescope.sources.image_source import ImageSource
from saescope.sources.image_stack import to_display
from saescope.sources.png import encode_png
from saescope.sources.protocol import ActivationBatch, ActivationTable
from saescope.store.errors import UserError

SpecialPositions = Literal["out", "in"]
WINDOW = 32
"""Pictures that go through the model together. Windows start at multiples of it, whatever is asked for, so that
rounding does not depend on where a run begins."""


class HookedImages(ImageSource):
    """Activations at one hook of a vision model over images.

    Items keep all of the model's positions, in its order: first `prefix_positions` that are no patch (CLS, registers),
    then the patches row by row. With `special_positions` 'out' the former are masked: they count in no statistic.
    Pictures go through the model's own image processor, as 8 bits per channel.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        model: ModelOptions,
        hook: str,
        special_positions: SpecialPositions = "out",
        path: str,
        format: str,
        split: str | None,
        progress: Progress = SILENT,
    ) -> None:
        super().__init__(images, path=path, format=format, split=split, progress=progress)
        loaded = load_model(model, progress)
        if loaded.kind != "vision":
            raise UserError(
                f"model {model.name} is none that sees ({type(loaded.model).__name__}), but the source is images",
                "use a ViT, CLIP or DINOv2 model, or give --texts for a language model",
            )
        self.hooked = HookedModel(loaded, hook)
        self.special_positions: SpecialPositions = special_positions
        self._inputs = PictureInputs.of(model, progress)
        first = self._pixel_values(self._stack.read(0, 1))
        self._seen_shape = (int(first.shape[2]), int(first.shape[3]), 3)
        self._n_positions = self._checked_positions(first)
        self.patch = _patch_size(loaded.model.config)
        self.grid = (self._seen_shape[0] // self.patch, self._seen_shape[1] // self.patch)
        self.prefix_positions = self._n_positions - self.grid[0] * self.grid[1]
        if self.prefix_positions < 0:
            raise UserError(
                f"hook {hook}: {self._n_positions} positions for {self.grid[0]} x {self.grid[1]} patches",
                "use a hook whose positions are the model's patches, such as blocks.0.hook_resid_post",
            )
        self._window: tuple[int, Tensor] | None = None

    @property
    def kind(self) -> str:
        return "vision"

    @property
    def d_in(self) -> int:
        return self.hooked.width

    @property
    def positions_per_item(self) -> int:
        return self._n_positions

    @property
    def evaluated(self) -> Bool[Tensor, " position"]:
        """Which positions of an item count."""
        return torch.arange(self._n_positions) >= self.first_evaluated

    @property
    def first_evaluated(self) -> int:
        """Positions before it do not count."""
        return self.prefix_positions if self.special_positions == "out" else 0

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        """All items from `start_item` on. Their bits are the same whatever the start and the size of batches."""
        size = WINDOW if items_per_batch is None else items_per_batch
        if size < 1 or start_item < 0:
            raise UserError(f"start_item {start_item}, items_per_batch {items_per_batch}; expected >= 0 and >= 1")
        for start in range(start_item, self.n_items, size):
            stop = min(start + size, self.n_items)
            windows = range(start // WINDOW, (stop - 1) // WINDOW + 1)
            parts = [self._of_window(w)[max(start - w * WINDOW, 0) : stop - w * WINDOW] for w in windows]
            activations = parts[0] if len(parts) == 1 else torch.cat(parts)
            mask = self.evaluated.expand(len(activations), -1) if self.first_evaluated else None
            yield ActivationBatch(np.arange(start, stop, dtype=np.int64), activations, mask)
            self._stack.let_go(start, stop)

    def table(self, items: Bool[np.ndarray, " n_items"] | None = None) -> ActivationTable:
        return HookedRows(self, self._chosen(items))

    def shown(self, item_ids: Int64[np.ndarray, " item"]) -> list[bytes]:
        """PNGs of items as the model sees them."""
        pictures: list[bytes] = []
        for start in range(0, len(item_ids), WINDOW):
            values = self._pixel_values(self._stack.gather(item_ids[start : start + WINDOW]))
            pictures.extend(encode_png(picture) for picture in self._inputs.shown(values))
        return pictures

    def item_table(self, item_ids: Int64[np.ndarray, " item"]) -> pa.Table:
        table = super().item_table(item_ids)
        column = table.schema.get_field_index("image")
        pictures = self.shown(np.asarray(item_ids, dtype=np.int64))
        return table.set_column(column, "image", pa.array(pictures, pa.binary()))

    def describe(self) -> dict[str, Any]:
        n_evaluated = self._n_positions - self.first_evaluated
        about = super().describe()
        n_prefix = self.prefix_positions
        return {
            **about,
            **self.hooked.describe(),
            "n_positions": self.n_items * n_evaluated,
            "excluded": {"CLS and register tokens": self.n_items * n_prefix} if self.first_evaluated else {},
            "stored_shape": about["input_shape"],
            "input_shape": list(self._seen_shape),
            "image_mode": "colour",
            "value_range": [0.0, 1.0],
            "patch": self.patch,
            "stride": self.patch,
            "grid": list(self.grid),
            "prefix_positions": n_prefix,
            "special_positions": self.special_positions,
        }

    # -- through the model

    def _pixel_values(
        self, images: Num[np.ndarray, "item height width channels"]
    ) -> Float[Tensor, "item 3 model_height model_width"]:
        return self._inputs.prepare(to_display(images, self._shown))

    def _checked_positions(self, first: Tensor) -> int:
        """Positions of a picture, from the first one."""
        try:
            return int(self.hooked.activations(first).shape[1])
        except ValueError as error:  # of another size than the model's position embedding
            raise UserError(
                f"model {self.hooked.loaded.options.name} does not take pictures of {first.shape[2]} x "
                f"{first.shape[3]}, which its image processor makes: {error}",
                "check that preprocessor_config.json belongs to the model, or crop the pictures to squares first",
            ) from error

    def _activations(
        self, images: Num[np.ndarray, "item height width channels"]
    ) -> Float[Tensor, "item position width"]:
        return self.hooked.activations(self._pixel_values(images)).cpu()

    def _of_window(self, window: int) -> Float[Tensor, "item position width"]:
        """Activations of the items from `window` * WINDOW on; the last window that was asked for is kept."""
        if self._window is None or self._window[0] != window:
            start = window * WINDOW
            images = self._stack.read(start, min(start + WINDOW, self.n_items))
            self._window = (window, self._activations(images))
        return self._window[1]

    def _rows(
        self, item_ids: Int64[np.ndarray, " row"], positions: Int64[np.ndarray, " row"]
    ) -> Float[Tensor, "row width"]:
        """Rows in any order; a window's pictures go through the model once for all of its rows."""
        rows = torch.empty(len(item_ids), self.d_in)
        windows = item_ids // WINDOW
        order = np.argsort(windows, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(windows[order])) + 1) if len(order) else []:
            held = self._of_window(int(windows[group[0]]))
            picked = held[torch.from_numpy(item_ids[group] % WINDOW), torch.from_numpy(positions[group])]
            rows[torch.from_numpy(group)] = picked
        return rows


class HookedRows:
    """Random access to the evaluated positions of the chosen items (None: all)."""

    def __init__(self, source: HookedImages, items: Int64[np.ndarray, " chosen"] | None) -> None:
        self._source, self._items = source, items
        self._per_item = source.positions_per_item - source.first_evaluated

    @property
    def n_rows(self) -> int:
        n_items = self._source.n_items if self._items is None else len(self._items)
        return n_items * self._per_item

    @property
    def d_in(self) -> int:
        return self._source.d_in

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row width"]:
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= self.n_rows):
            raise IndexError(f"rows {indices.min()} ... {indices.max()} of {self.n_rows}")
        items, positions = np.divmod(indices, self._per_item)
        if self._items is not None:
            items = self._items[items]
        return self._source._rows(items, positions + self._source.first_evaluated)


def _patch_size(config: Any) -> int:
    """Side of the model's patches, in pixels."""
    size = getattr(config, "patch_size", None)
    side = size[0] if isinstance(size, list | tuple) else size
    if not isinstance(side, int) or (isinstance(size, list | tuple) and len(set(size)) > 1):
        raise UserError(
            f"a {config.model_type} model has no square patches (patch_size is {size})",
            "use a ViT, CLIP or DINOv2 model",
        )
    return side
