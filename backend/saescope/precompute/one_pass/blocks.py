"""Rows of a source in blocks of one fixed size, and their codes as compressed rows.

Encoding always sees the same blocks, whatever batches the source yields, so that the rounding of a matrix product
does not depend on batch settings or on where a cut run was resumed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, Int64
from torch import Tensor

from saescope.autoencoders.code_rows import CodeRows
from saescope.autoencoders.protocol import Autoencoder, Selection
from saescope.precompute import kernels
from saescope.precompute.one_pass.crossing import Crossing, Sent
from saescope.precompute.one_pass.threads import N_THREADS, threads
from saescope.sources.protocol import Source, flat_positions
from saescope.sources.targets import flat_targets


def block_rows(n_features: int, device: torch.device | None = None) -> int:
    """Rows encoded at a time: as many as keep a dense block of codes in bounds.

    On a CPU 16 million values (64 MiB), 64 to 4,096 rows. On a GPU, which a small product leaves idle, a 64th of its
    memory, 16 to 256 million values, 64 to 16,384 rows.
    """
    if device is None or device.type != "cuda":
        return int(np.clip(2**24 // n_features, 64, 4096))
    memory = torch.cuda.get_device_properties(device).total_memory
    values = 2 ** int(np.clip(math.log2(memory / 64 / 4), 24, 28))
    return int(np.clip(values // n_features, 64, 2**14))


@dataclass(frozen=True)
class Rows:
    """A block of evaluated positions in the source's order. `first` is the index of its first row."""

    first: int
    x: Float[Tensor, "row d_in"]
    items: Int64[np.ndarray, " row"]
    positions: Int64[np.ndarray, " row"]
    targets: Float[Tensor, "row d_out"] | None = None
    """What a transcoder reconstructs; None: `x` itself."""

    @property
    def target(self) -> Float[Tensor, "row d_out"]:
        """What is to be reconstructed."""
        return self.x if self.targets is None else self.targets


def rows_of(
    source: Source, n_rows: int, start: Start | None = None, items_per_batch: int | None = None
) -> Iterator[Rows]:
    """All evaluated positions from `start` on, `n_rows` at a time (the last block may be shorter)."""
    start = start or Start()
    if items_per_batch is None:
        items_per_batch = max(1, n_rows // source.positions_per_item)
    skip = start.positions
    first = start.row
    pending: list[Rows] = []
    held = 0
    for batch in source.batches(start.item, items_per_batch):
        rows = Rows(first, *flat_positions(batch), flat_targets(batch))
        if skip:
            dropped = min(skip, len(rows.items))
            rows, skip = _part(rows, dropped, None), skip - dropped
        while len(rows.items):
            taken = min(n_rows - held, len(rows.items))
            pending.append(_part(rows, 0, taken))
            rows = _part(rows, taken, None)
            held += taken
            if held == n_rows:
                yield _joined(first, pending)
                first += held
                pending, held = [], 0
    if held:
        yield _joined(first, pending)


@dataclass(frozen=True)
class Start:
    """Where a pass goes on: at evaluated position number `positions` of item `item`, which is row `row` of all."""

    item: int = 0
    positions: int = 0
    row: int = 0

    def after(self, rows: Rows) -> Start:
        """The start that follows a block."""
        last = int(rows.items[-1])
        of_last = int(np.count_nonzero(rows.items == last))
        if last == self.item:
            of_last += self.positions
        return Start(last, of_last, rows.first + len(rows.items))


def _part(rows: Rows, start: int, stop: int | None) -> Rows:
    part = slice(start, stop)
    targets = None if rows.targets is None else rows.targets[part]
    return Rows(rows.first, rows.x[part], rows.items[part], rows.positions[part], targets)


def _joined(first: int, parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return replace(parts[0], first=first)
    targets = [part.targets for part in parts if part.targets is not None]
    return Rows(
        first,
        torch.cat([part.x for part in parts]),
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.positions for part in parts]),
        torch.cat(targets) if targets else None,
    )


@dataclass(frozen=True)
class CodeBlock:
    """Codes of a block: `sparse` holds what fires.

    `dense` or `selection` is what the encoder gave, for decoding (which does not use the firing threshold).
    The arrays are views of buffers that the next block to be received overwrites.
    """

    sparse: CodeRows
    dense: Float[Tensor, "row n_features"] | None
    selection: Selection | None
    all_fire: bool
    """Whether every non-zero code fires (the threshold is 0)."""

    def l1(self, rows: Int64[np.ndarray, " chosen"] | None = None) -> float:
        """Sum of |f_j| over the block or its chosen rows, firing or not, in float64."""
        if not self.all_fire and self.dense is not None:
            dense = self.dense if rows is None else self.dense[torch.from_numpy(rows).to(self.dense.device)]
            return float(dense.abs().sum(dtype=torch.float64))
        if rows is None:
            return float(np.abs(self.sparse.values).sum(dtype=np.float64))
        return kernels.l1_of_rows(self.sparse, rows)


@dataclass(frozen=True)
class Encoded:
    """A block whose codes are made, or being made, on the encoder's device. What fires is on its way to the host."""

    x: Float[Tensor, "row d_in"]
    dense: Float[Tensor, "row n_features"] | None
    selection: Selection | None
    sent: Sent
    """Of a selection: indices and values. Else, on a GPU: firings per row, and of each firing feature and value."""


class Encoder:
    """Encodes blocks of at most `n_rows` rows: `begin` on the device, then `receive` on the host, which reuses its
    buffers."""

    def __init__(self, sae: Autoencoder, n_rows: int, device: torch.device) -> None:
        self.sae = sae
        self.device = device
        self.threshold = np.float32(sae.config.firing_threshold)
        self.crossing = Crossing(device)
        self._whole = _Buffers(n_rows)
        self._runs = [_Buffers(-(-n_rows // N_THREADS)) for _ in range(N_THREADS)]

    def __call__(self, x: Float[Tensor, "row d_in"]) -> CodeBlock:
        return self.receive(self.begin(x))

    @torch.inference_mode()
    def begin(self, x: Float[Tensor, "row d_in"]) -> Encoded:
        """Encode rows. Another block may be begun before this one is received."""
        x = x.to(self.device, torch.float32, non_blocking=True)
        selection = self.sae.select(x)
        if selection is not None:
            return Encoded(x, None, selection, self.crossing.send(*selection))
        dense = self.sae.encode(x).contiguous()
        return Encoded(
            x, dense, None, self.crossing.send(*firings(dense, float(self.threshold)) if dense.is_cuda else ())
        )

    def receive(self, block: Encoded) -> CodeBlock:
        """The codes of a block, once they are there."""
        if block.selection is not None:
            sparse = self._selected(*block.sent.arrays())
        elif block.sent.tensors:
            per_row, features, values = block.sent.arrays()
            sparse = CodeRows(np.concatenate([[0], np.cumsum(per_row)]), features, values)
        else:
            assert block.dense is not None
            sparse = self._compressed(block.dense.numpy())
        return CodeBlock(sparse, block.dense, block.selection, self.threshold == 0)

    def _compressed(self, dense: Float32[np.ndarray, "row n_features"]) -> CodeRows:
        """The firing entries of `dense`, in the buffers. Each thread takes a run of rows; what comes out does not
        depend on how many there are."""
        pieces = [piece for piece in np.array_split(dense, len(self._runs)) if len(piece)]
        ends = np.cumsum([0, *threads().map(_Buffers.compress, self._runs, pieces, repeat(self.threshold))])
        whole, row = self._whole, 0
        whole.reserve(int(ends[-1]))
        for run, piece, start, end in zip(self._runs, pieces, ends, ends[1:], strict=False):
            whole.features[start:end] = run.features[: end - start]
            whole.values[start:end] = run.values[: end - start]
            whole.row_ptr[row + 1 : row + 1 + len(piece)] = run.row_ptr[1 : len(piece) + 1] + start
            row += len(piece)
        return whole.entries(len(dense), int(ends[-1]))

    def _selected(self, indices: Int64[np.ndarray, "row k"], values: Float32[np.ndarray, "row k"]) -> CodeRows:
        whole = self._whole
        whole.reserve(indices.size)
        row_ptr = whole.row_ptr[: len(indices) + 1]
        n = kernels.compress_selection(indices, values, self.threshold, row_ptr, whole.features, whole.values)
        return whole.entries(len(indices), n)


def firings(
    codes: Float[Tensor, "row n_features"], threshold: float
) -> tuple[Int64[Tensor, " row"], Int32[Tensor, " firing"], Float[Tensor, " firing"]]:
    """Firings per row, and by row then feature each firing's feature and value: all that has to leave a GPU."""
    fires = codes.abs() > threshold
    at = fires.flatten().nonzero().squeeze(1)
    return fires.sum(1), (at % codes.shape[1]).to(torch.int32), codes.flatten()[at]


class _Buffers:
    """The firing entries of at most `n_rows` rows. They grow as they must; the next rows overwrite them."""

    def __init__(self, n_rows: int) -> None:
        self.row_ptr = np.zeros(n_rows + 1, np.int64)
        self.features = np.empty(0, np.int32)
        self.values = np.empty(0, np.float32)

    def entries(self, n_rows: int, n: int) -> CodeRows:
        """Views of the first `n_rows` rows, which hold `n` entries."""
        return CodeRows(self.row_ptr[: n_rows + 1], self.features[:n], self.values[:n])

    def compress(self, dense: Float32[np.ndarray, "row n_features"], threshold: np.float32) -> int:
        """Read `dense` into the buffers; the number of entries."""
        self.reserve(dense.size // 16)
        row_ptr = self.row_ptr[: len(dense) + 1]
        while (n := kernels.compress(dense, threshold, row_ptr, self.features, self.values)) < 0:
            self.reserve(min(max(2 * self.features.size, 16), dense.size))
        return n

    def reserve(self, size: int) -> None:
        """Room for `size` entries; what was there is lost where there was less."""
        if self.features.size < size:
            self.features = np.empty(size, np.int32)
            self.values = np.empty(size, np.float32)
