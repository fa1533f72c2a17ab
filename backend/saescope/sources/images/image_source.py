"""What whole images and patches of images have in common as sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int64, Num, UInt8
from torch import Tensor

from saescope.progress import SILENT, Progress
from saescope.sources.hashing import scan
from saescope.sources.images.image_data import LABEL, ImageSet
from saescope.sources.images.image_stack import BLOCK_VALUES, blocks, mode_of, to_display
from saescope.sources.images.png import encode_png
from saescope.sources.options import LabelChoice
from saescope.sources.protocol import ActivationBatch, ActivationTable
from saescope.store.errors import OptionError
from saescope.store.format.source import PixelDescription

_RESERVED = frozenset({"item_id", "token_ids", "tokens", "image", LABEL})


class ImageSource(ABC):
    """Images as items. Opening one reads every value once: to hash them and to refuse what is not finite."""

    def __init__(
        self,
        images: ImageSet,
        *,
        path: str,
        format: str,
        split: str | None,
        labels: LabelChoice | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """`labels`, that chose the images, are recorded."""
        self._images = images
        self.pair: ImageSource | None = None
        """A second capture of the same items, for training."""
        self._choice = {} if labels is None else labels.choice
        self._stack = images.stack
        self._path, self._format, self._split = path, format, split

        def watched() -> Iterator[np.ndarray]:
            done = 0
            for block in blocks(self._stack):
                yield block
                done += len(block)
                progress.update("reading images", done, self.n_items)

        seen = scan(
            watched(),
            n_items=self.n_items,
            item_shape=self.input_shape,
            value_range=self._stack.value_range,
            subject=path,
            axes=("row", "column", "channel"),
        )
        self._sha256 = seen.sha256
        if self._stack.value_range is not None and seen.high > 255:
            low, high = self._stack.value_range
            progress.tell(
                f"{path}: values from {seen.low:g} to {seen.high:g}; {low:g} and {high:g} stand for 0 and 1 "
                "(--value-range says otherwise)"
            )
        # Stored values that a picture shows as black and white.
        self._shown = self._stack.value_range or _shown_range(seen.low, seen.high)

    @property
    @abstractmethod
    def kind(self) -> str: ...

    @property
    @abstractmethod
    def d_in(self) -> int: ...

    @property
    @abstractmethod
    def positions_per_item(self) -> int: ...

    @abstractmethod
    def _activations(
        self, images: Num[np.ndarray, "item height width channels"]
    ) -> Float[Tensor, "item position d_in"]: ...

    @abstractmethod
    def _rows(self, item_ids: Int64[np.ndarray, " row"], positions: Int64[np.ndarray, " row"]) -> Tensor: ...

    @property
    def n_items(self) -> int:
        return self._stack.n_items

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an item."""
        return self._stack.input_shape

    @property
    def data_sha256(self) -> str:
        return self._sha256

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        """All items from `start_item` on. Batches of images that are float32 in memory share it: do not write there."""
        if items_per_batch is None:
            values = self.positions_per_item * self.d_in
            items_per_batch = max(1, BLOCK_VALUES // 2 // values)
        if items_per_batch < 1 or start_item < 0:
            raise OptionError(f"start_item {start_item}, items_per_batch {items_per_batch}; expected >= 0 and >= 1")
        for start in range(start_item, self.n_items, items_per_batch):
            stop = min(start + items_per_batch, self.n_items)
            yield ActivationBatch(
                np.arange(start, stop, dtype=np.int64), self._activations(self._stack.read(start, stop))
            )
            self._stack.let_go(start, stop)

    def table(self, items: Bool[np.ndarray, " n_items"] | None = None) -> ActivationTable:
        rows = ImageRows if self.pair is None else CapturedRows
        if items is None:
            return rows(self, None)
        chosen = np.asarray(items)
        if chosen.dtype != np.bool_ or chosen.shape != (self.n_items,):
            raise OptionError(
                f"items is {chosen.dtype} {list(chosen.shape)}; expected one bool per item: [{self.n_items}]"
            )
        return rows(self, np.flatnonzero(chosen).astype(np.int64))

    def stored(self, start: int, stop: int) -> Num[np.ndarray, "item height width channels"]:
        """Items from `start` to before `stop` as they are stored; never write into them."""
        return self._stack.read(start, stop)

    def pictures(self, item_ids: Int64[np.ndarray, " item"]) -> UInt8[np.ndarray, "item height width channels"]:
        """Items as 8-bit pictures for people."""
        shown = to_display(self._stack.gather(item_ids), self._shown)
        if len(item_ids):
            self._stack.let_go(int(item_ids.min()), int(item_ids.max()) + 1)
        return shown

    def item_table(self, item_ids: Int64[np.ndarray, " item"]) -> pa.Table:
        return self.item_table_with(item_ids, lambda ids: [encode_png(image) for image in self.pictures(ids)])

    def item_table_with(
        self, item_ids: Int64[np.ndarray, " item"], pictures: Callable[[Int64[np.ndarray, " item"]], list[bytes]]
    ) -> pa.Table:
        """`item_table` with PNGs that `pictures` makes of up to 1,024 items at a time."""
        ids = np.asarray(item_ids, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.n_items):
            raise OptionError(f"item_id outside 0 ... {self.n_items - 1}: {ids.min()} ... {ids.max()}")
        shown = [png for start in range(0, len(ids), 1024) for png in pictures(ids[start : start + 1024])]
        columns: dict[str, pa.Array] = {"item_id": pa.array(ids), "image": pa.array(shown, pa.binary())}
        taken = pa.array(ids)
        if self._images.labels is not None:
            columns[LABEL] = self._images.labels.take(taken)
        else:
            columns[LABEL] = pa.nulls(len(ids), pa.string())
        for name, values in {**self._images.metadata, **self._images.details}.items():
            columns[_free_name(name)] = values.take(taken)
        return pa.table(columns)

    def metadata(self) -> Mapping[str, Any]:
        columns: dict[str, Any] = {}
        if self._images.labels is not None:
            columns[LABEL] = self._images.labels
        columns.update({_free_name(name): values for name, values in self._images.metadata.items()})
        return columns

    @abstractmethod
    def describe(self) -> PixelDescription: ...

    def _about(self) -> dict[str, Any]:
        """Fields of a description that whole images and patches share."""
        return {
            "path": self._path,
            "format": self._format,
            "data_sha256": self._sha256,
            "split": self._split,
            "n_items": self.n_items,
            "n_positions": self.n_items * self.positions_per_item,
            "positions_per_item": self.positions_per_item,
            "d_in": self.d_in,
            "label_words": dict(self._images.label_words),
            "input_shape": self.input_shape,
            "image_mode": mode_of(self.input_shape[2]),
            "value_range": (0.0, 1.0) if self._stack.value_range is not None else self._shown,
            "stored_range": self._stack.value_range,
            "n_files": self._images.n_files,
            **self._choice,
            **({} if self.pair is None else {"pair": self.pair._path, "pair_sha256": self.pair.data_sha256}),
        }


class ImageRows:
    """Random access to the positions of an image source's chosen items."""

    def __init__(self, source: ImageSource, items: Int64[np.ndarray, " chosen"] | None) -> None:
        self._source, self._items = source, items

    @property
    def n_rows(self) -> int:
        n_items = self._source.n_items if self._items is None else len(self._items)
        return n_items * self._source.positions_per_item

    @property
    def d_in(self) -> int:
        return self._source.d_in

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        return self._source._rows(*self._places(indices))

    def _places(self, indices: Int64[np.ndarray, " row"]) -> tuple[np.ndarray, np.ndarray]:
        """Item and position of each row."""
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= self.n_rows):
            raise IndexError(f"rows {indices.min()} ... {indices.max()} of {self.n_rows}")
        items, positions = np.divmod(indices, self._source.positions_per_item)
        return (items if self._items is None else self._items[items]), positions


class CapturedRows(ImageRows):
    """The same of a source with a second capture: a `CapturedTable`."""

    def captures(
        self, indices: Int64[np.ndarray, " row"]
    ) -> tuple[Float[Tensor, "row d_in"], Float[Tensor, "row d_in"]]:
        assert self._source.pair is not None
        places = self._places(indices)
        return self._source._rows(*places), self._source.pair._rows(*places)


def _shown_range(low: float, high: float) -> tuple[float, float]:
    return (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, high)


def _free_name(name: str) -> str:
    return f"source_{name}" if name in _RESERVED else name
