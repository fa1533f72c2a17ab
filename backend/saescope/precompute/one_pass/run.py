"""The one pass: reads a source once and keeps everything about all features together.

Every array is updated block by block in the source's order, and the whole state is saved now and then, so a killed
pass goes on where it was last saved and ends in the same bits as one that was never cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int64

from saescope.autoencoders.protocol import Autoencoder
from saescope.metrics.reconstruction import MetricSums
from saescope.options import check_fields
from saescope.precompute.one_pass.blocks import CodeBlock, Encoded, Encoder, Rows, Start, block_rows, rows_of
from saescope.precompute.one_pass.crossing import Sent, finish_in_order
from saescope.precompute.one_pass.decoding import Decoder
from saescope.precompute.one_pass.histogram import RECTIFIED, HistogramSpec
from saescope.precompute.one_pass.spill import SpillWriter
from saescope.precompute.one_pass.state import FeatureState
from saescope.precompute.options import AtLeastOne, Samples, TopExamples
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source
from saescope.sources.targets import target_width
from saescope.store.atomic import replacing, storage_errors
from saescope.store.errors import DataError, OptionError, UserError


@dataclass(frozen=True)
class PassOptions:
    """What decides the result of a pass, and nothing else."""

    n_top: TopExamples = 20
    """Top examples kept per feature, at most one per item."""
    n_samples: Samples = 5
    """Examples sampled per feature and interval."""
    seed: int = 0
    """Seed of the sampling hash."""
    histogram: HistogramSpec = RECTIFIED
    """Bins of |activation|."""
    block_rows: AtLeastOne | None = None
    """Positions encoded at a time; None chooses by the width of the code."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class PassResult:
    """What a finished pass knows."""

    state: FeatureState
    sums: MetricSums | None
    """Metrics over the metric positions; None where nothing was decoded."""
    n_positions: int
    n_rows_per_block: int


@dataclass(frozen=True)
class PassFolder:
    """Files of a running pass: its saved state and its spill."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "pass.npz"

    @property
    def spill(self) -> Path:
        return self.root / "spill"


Observer = Callable[[Rows, CodeBlock], None]


def run_pass(
    sae: Autoencoder,
    source: Source,
    options: PassOptions,
    *,
    decode: bool = True,
    metric_items: Bool[np.ndarray, " n_items"] | None = None,
    whitening: torch.Tensor | None = None,
    folder: PassFolder | None = None,
    items_per_batch: int | None = None,
    save_every_s: float = 60.0,
    device: torch.device | None = None,
    observe: Observer | None = None,
    progress: Progress = SILENT,
    stage: str = "encoding",
    ahead: int | None = None,
) -> PassResult:
    """Run (or go on with) the pass over all of `source`.

    `decode` adds reconstruction metrics, over the items in `metric_items` (None: all), also in the space of
    `whitening` (of a transcoder: its target's) where given. `folder` makes the pass resumable and keeps every firing in
    a spill. `observe` sees every block of this call, and may keep nothing of it but copies. While a block is counted on
    the host, `ahead` blocks after it are encoded: None is one on a GPU, and none on a CPU, whose cores count with the
    same speed. No bit depends on it. Raises `UserError` where the source yields activations that do not fit the SAE,
    or that are not finite.
    """
    check_source(sae, source)
    device = device or torch.device("cpu")
    sae = sae.to(device).eval()
    n_rows = options.block_rows or block_rows(sae.n_features, device)
    run = _Run.begin(sae, source, options, decode, whitening, folder, device)
    work = _Work(run, Encoder(sae, n_rows, device), Decoder(sae) if decode else None, metric_items, observe)
    ahead = ahead if ahead is not None else int(device.type == "cuda")
    saved_at = time.monotonic()

    def finish(block: _Block) -> None:
        nonlocal saved_at
        work.finish(block)
        run.start = run.start.after(block.rows)
        if folder is not None and time.monotonic() - saved_at >= save_every_s:
            run.save(folder)
            saved_at = time.monotonic()
        progress.update(stage, int(block.rows.items[-1]) + 1, source.n_items)

    try:
        if not run.done:
            progress.update(stage, run.start.item, source.n_items)
            rows = rows_of(source, n_rows, run.start, items_per_batch)
            finish_in_order(map(work.begin, rows), finish, ahead)
            run.done = True
            if folder is not None:
                run.save(folder)
    finally:
        if run.spill is not None:
            run.spill.close()
    if run.start.row == 0:
        raise DataError("the source has no position to evaluate", "check the data and what is excluded from it")
    return PassResult(run.state, run.sums, run.start.row, n_rows)


@dataclass(frozen=True)
class _Block:
    """A block between its encoding and its counting."""

    rows: Rows
    codes: Encoded
    chosen: Int64[np.ndarray, " chosen"] | None
    """Rows that belong to metric items; None: all."""
    is_finite: Sent | None
    """Whether the rows are finite, where that is found out on a GPU."""
    measured: Sent | None
    """What metrics are made of, likewise."""


@dataclass(frozen=True)
class _Work:
    """What is done with each block: on a GPU as much as can be before the host looks at it."""

    run: _Run
    encoder: Encoder
    decoder: Decoder | None
    metric_items: Bool[np.ndarray, " n_items"] | None
    observe: Observer | None

    def begin(self, rows: Rows) -> _Block:
        """Encode a block, and on a GPU reconstruct it too."""
        on_device = self.encoder.device.type == "cuda"
        is_finite = measured = None
        if rows.x.is_cuda:
            is_finite = self.encoder.crossing.send(*(torch.isfinite(part.sum()) for part in _parts(rows)))
        elif not _is_finite(rows):
            raise _not_finite(rows)
        codes = self.encoder.begin(rows.x)
        chosen = None if self.metric_items is None else np.flatnonzero(self.metric_items[rows.items])
        if chosen is not None and len(chosen) == len(rows.items):
            chosen = None
        if on_device and self.decoder is not None and self.run.sums is not None and (chosen is None or len(chosen)):
            rebuilt = self.decoder.on_device(codes, chosen)
            measured = self.encoder.crossing.send(*self.run.sums.measure(self._target(rows, chosen), rebuilt))
        return _Block(rows, codes, chosen, is_finite, measured)

    def finish(self, block: _Block) -> None:
        """Keep what is to be known of a block."""
        run, rows = self.run, block.rows
        codes = self.encoder.receive(block.codes)
        finite = block.is_finite is None or all(bool(part) for part in block.is_finite.arrays()) or _is_finite(rows)
        if not (finite and np.isfinite(codes.sparse.values).all()):
            raise _not_finite(rows)
        run.state.add(codes.sparse, rows.items, rows.positions)
        if self.decoder is not None and run.sums is not None and (block.chosen is None or len(block.chosen)):
            self._add_metrics(run.sums, self.decoder, block, codes)
        if self.observe is not None:
            self.observe(rows, codes)
        if run.spill is not None:
            run.spill.append(codes.sparse, rows.items, rows.positions)

    def _add_metrics(self, sums: MetricSums, decoder: Decoder, block: _Block, codes: CodeBlock) -> None:
        chosen, sparse = block.chosen, codes.sparse
        n_firing = len(sparse.features) if chosen is None else int(np.diff(sparse.row_ptr)[chosen].sum())
        if block.measured is not None:
            sums.take(block.measured.arrays(), n_firing, codes.l1(chosen))
        else:
            rebuilt = decoder(block.codes.x, codes, chosen)
            sums.add(self._target(block.rows, chosen), rebuilt, n_firing, codes.l1(chosen))

    def _target(self, rows: Rows, chosen: Int64[np.ndarray, " chosen"] | None) -> torch.Tensor:
        target = rows.target.to(self.encoder.device, torch.float32)
        return target if chosen is None else target[torch.from_numpy(chosen).to(target.device)]


def _parts(rows: Rows) -> list[torch.Tensor]:
    return [rows.x] if rows.targets is None else [rows.x, rows.targets]


def _is_finite(rows: Rows) -> bool:
    return all(bool(torch.isfinite(part.sum())) or bool(torch.isfinite(part).all()) for part in _parts(rows))


def check_source(sae: Autoencoder, source: Source) -> None:
    """`UserError` where `source` does not yield what `sae` takes, or, for a transcoder, what it gives."""
    if source.d_in != sae.d_in:
        raise DataError(
            f"the source's activations have {source.d_in} dimensions, but the SAE takes {sae.d_in}",
            "use the data (and patch size) that the SAE was trained on",
        )
    width = target_width(source)
    if sae.config.transcoder and width is None:
        raise OptionError(
            "the SAE is a transcoder, but the source has no targets", "add --hook-out HOOK, or --targets PATH"
        )
    if width is not None and not sae.config.transcoder:
        raise OptionError(
            "the source has targets, but the SAE reconstructs its input", "leave --hook-out and --targets out"
        )
    if width is not None and width != sae.d_out:
        raise DataError(
            f"the source's targets have {width} dimensions, but the SAE gives {sae.d_out}",
            "use the targets that the SAE was trained on",
        )


def _not_finite(rows: Rows) -> UserError:
    finite = torch.isfinite(rows.x).all(1) & torch.isfinite(rows.target).all(1)
    bad = (~finite).nonzero()
    where = f" (item {int(rows.items[int(bad[0])])}, position {int(rows.positions[int(bad[0])])})" if len(bad) else ""
    return DataError(f"activations or codes are NaN or infinite{where}", "check the data for NaN and infinite values")


@dataclass
class _Run:
    """Where a pass stands."""

    state: FeatureState
    sums: MetricSums | None
    spill: SpillWriter | None
    start: Start
    done: bool

    @staticmethod
    def begin(
        sae: Autoencoder,
        source: Source,
        options: PassOptions,
        decode: bool,
        whitening: torch.Tensor | None,
        folder: PassFolder | None,
        device: torch.device,
    ) -> _Run:
        """From the saved state of `folder` where there is one, else from the first row."""
        sums = MetricSums(sae.d_out, None if whitening is None else whitening.to(device)) if decode else None
        if folder is not None and folder.state.exists():
            with np.load(folder.state, allow_pickle=False) as saved:
                state = FeatureState.from_arrays(_under(saved, "state."), options.histogram, options.seed)
                if sums is not None:
                    sums.restore(_under(saved, "sums."), device)
                item, positions, row, firings, done = (int(v) for v in saved["at"])
            return _Run(state, sums, SpillWriter(folder.spill, row, firings), Start(item, positions, row), bool(done))
        state = FeatureState.empty(sae.n_features, options.histogram, options.n_top, options.n_samples, options.seed)
        return _Run(state, sums, SpillWriter(folder.spill) if folder else None, Start(), False)

    def save(self, folder: PassFolder) -> None:
        """Write the whole state: first what it refers to, then itself, in one rename."""
        assert self.spill is not None
        with storage_errors("write the firings of the pass"):
            self.spill.flush()
        at = (self.start.item, self.start.positions, self.start.row, self.spill.firings, int(self.done))
        arrays = {f"state.{name}": value for name, value in self.state.arrays().items()}
        if self.sums is not None:
            arrays |= {f"sums.{name}": value for name, value in self.sums.to_dict().items()}
        with replacing(folder.state) as temporary, temporary.open("wb") as file:
            np.savez(file, at=np.array(at, np.int64), **arrays)  # type: ignore[arg-type]


def _under(saved: np.lib.npyio.NpzFile, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): saved[name] for name in saved.files if name.startswith(prefix)}
