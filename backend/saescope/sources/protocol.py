"""What a source of activations offers to training and to the one-pass precompute.

Shape symbols: `item` items of a batch, `position` positions of an item, `d_in` width of an activation, `d_out` width of
a target (see `targets`), `row` positions of a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from saescope.store.format.source import SourceDescription

ITEMS_AT_ONCE = 1024
"""Items whose lengths are read at a time."""


@dataclass(frozen=True)
class ActivationBatch:
    """A run of whole items in the source's order.

    `item_ids` are absolute: their index in the source's order. `mask` is False at positions that are left out of every
    statistic and metric (padding, BOS, ...); None means that all count.
    """

    item_ids: Int64[np.ndarray, " item"]
    activations: Float[Tensor, "item position d_in"]
    mask: Bool[Tensor, "item position"] | None = None
    targets: Float[Tensor, "item position d_out"] | None = None
    """What a transcoder's output stands for at each position; None: there is nothing but the input itself."""


class ActivationTable(Protocol):
    """Random access to positions, for training. A row is one evaluated position of a source.

    The order of rows is fixed: by item, then position.
    """

    @property
    def n_rows(self) -> int: ...

    @property
    def d_in(self) -> int: ...

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        """Float32 activations, raw units, at `indices` (any order, repeats allowed)."""
        ...


class Source(Protocol):
    """A data set seen as activations: `n_items` items of up to `positions_per_item` positions of width `d_in`.

    Everything is deterministic: two sources made from the same options yield equal bits.
    """

    @property
    def kind(self) -> str:
        """'pixels', 'patches', 'activations', ..."""
        ...

    @property
    def d_in(self) -> int: ...

    @property
    def n_items(self) -> int: ...

    @property
    def positions_per_item(self) -> int: ...

    @property
    def data_sha256(self) -> str:
        """Hash of the items that this source yields (its split included).

        The same items have the same hash whatever file format they come from and however they are cut into positions:
        with equal `describe()` too, the activations are equal.
        """
        ...

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        """All items from `start_item` on, in order; `items_per_batch` None lets the source choose.

        A batch may share memory with the source: never write into it.
        """
        ...

    def table(self, items: Bool[np.ndarray, " n_items"] | None = None) -> ActivationTable:
        """Random access to the positions of the chosen items (None: all)."""
        ...

    def item_table(self, item_ids: Int64[np.ndarray, " item"]) -> pa.Table:
        """The store's `items` rows for `item_ids` (ascending): item_id, image or tokens, label, metadata columns."""
        ...

    def metadata(self) -> Mapping[str, Any]:
        """Metadata to label features by: column -> pyarrow array with one value per item (null = unknown)."""
        ...

    def describe(self) -> SourceDescription:
        """The manifest's `source`: kind, data path and hash, n_items, n_positions, input_shape, patch, ..."""
        ...


class TokenSource(Source, Protocol):
    """Texts through a model's hook point: a position is a token. `kind` is 'tokens'."""

    @property
    def hooked(self) -> Any:
        """The model at its hook (`saescope.models.HookedModel`), loaded when first asked for."""
        ...

    @property
    def hooked_out(self) -> Any:
        """The same model where reconstructions belong: at the targets' hook, or the hook itself."""
        ...

    @property
    def vocabulary(self) -> Sequence[str]:
        """token_id -> its text, without context: " def", "<0xE4>", "<|im_start|>"."""
        ...

    @property
    def groups(self) -> Int64[np.ndarray, " n_items"]:
        """The document of each item, by its number in the corpus: items of one document are held out together."""
        ...

    def token_ids(
        self, items: Int64[np.ndarray, " row"], positions: Int64[np.ndarray, " row"]
    ) -> Int32[np.ndarray, " row"]:
        """The token at each position of each item, added ones (BOS, ...) included."""
        ...

    def contexts(
        self, items: Int64[np.ndarray, " item"]
    ) -> tuple[
        Int64[np.ndarray, "item position"], Bool[np.ndarray, "item position"], Bool[np.ndarray, "item position"]
    ]:
        """What the model reads: token ids, padded on the right to the longest of these items; which of them are real
        (the attention mask); and which count.

        Padding, added tokens, excluded tokens and what an earlier item counts already do not count. Positions whose
        norm is out of the ordinary are left out in `batches` besides: see `usual`.
        """
        ...

    def usual(self, activations: Float[Tensor, "*position d_in"]) -> Bool[Tensor, "*position"]:
        """False where the norm of an activation of this source is out of the ordinary, so that it does not count."""
        ...


def flat_positions(
    batch: ActivationBatch,
) -> tuple[Float[Tensor, "row d_in"], Int64[np.ndarray, " row"], Int64[np.ndarray, " row"]]:
    """Evaluated positions of a batch, by item then position: activations, item_id and position of each."""
    n_items, n_positions, d_in = batch.activations.shape
    items = np.repeat(batch.item_ids, n_positions)
    positions = np.tile(np.arange(n_positions, dtype=np.int64), n_items)
    flat = batch.activations.reshape(-1, d_in)
    if batch.mask is None:
        return flat, items, positions
    keep = torch.nonzero(batch.mask.reshape(-1)).squeeze(1)
    kept = keep.cpu().numpy()
    return flat[keep], items[kept], positions[kept]


def as_tokens(source: Source) -> TokenSource | None:
    """The source, where its positions are tokens."""
    return cast(TokenSource, source) if source.kind == "tokens" else None


def item_lengths(source: TokenSource, items: Int64[np.ndarray, " item"]) -> Int64[np.ndarray, " item"]:
    """Tokens of each item, added ones included."""
    unique, inverse = np.unique(items, return_inverse=True)
    lengths = np.zeros(len(unique), np.int64)
    for start in range(0, len(unique), ITEMS_AT_ONCE):
        piece = slice(start, start + ITEMS_AT_ONCE)
        lengths[piece] = source.contexts(unique[piece])[1].sum(axis=1)
    return lengths[inverse]
