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
from jaxtyping import Bool

from saescope.autoencoders import Autoencoder
from saescope.metrics.reconstruction import MetricSums
from saescope.precompute.one_pass.blocks import CodeBlock, Encoder, Rows, Start, block_rows, rows_of
from saescope.precompute.one_pass.decoding import Decoder
from saescope.precompute.one_pass.histogram import RECTIFIED, HistogramSpec
from saescope.precompute.one_pass.spill import SpillWriter
from saescope.precompute.one_pass.state import FeatureState
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source
from saescope.sources.targets import target_width
from saescope.store.errors import UserError
from saescope.store.write.atomic import replacing, storage_errors


@dataclass(frozen=True)
class PassOptions:
    """What decides the result of a pass, and nothing else."""

    n_top: int = 20
    """Top examples kept per feature, at most one per item."""
    n_samples: int = 5
    """Examples sampled per feature and interval."""
    seed: int = 0
    """Seed of the sampling hash."""
    histogram: HistogramSpec = RECTIFIED
    """Bins of |activation|."""
    block_rows: int | None = None
    """Positions encoded at a time; None chooses by the width of the code."""

    def __post_init__(self) -> None:
        if not 1 <= self.n_top <= 1000:
            raise UserError(f"{self.n_top} top examples per feature: expected 1 to 1000")
        if not 1 <= self.n_samples <= 255:
            raise UserError(f"{self.n_samples} samples per interval: expected 1 to 255")
        if self.block_rows is not None and self.block_rows < 1:
            raise UserError(f"block_rows is {self.block_rows}: expected 1 or more")


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
) -> PassResult:
    """Run (or go on with) the pass over all of `source`.

    `decode` adds reconstruction metrics, over the items in `metric_items` (None: all), also in the space of
    `whitening` (of a transcoder: its target's) where given. `folder` makes the pass resumable and keeps every firing in
    a spill. `observe` sees every block of this call, and may keep nothing of it but copies. Raises `UserError` where
    the source yields activations that do not fit the SAE, or that are not finite.
    """
    check_source(sae, source)
    device = device or torch.device("cpu")
    sae = sae.to(device).eval()
    n_rows = options.block_rows or block_rows(sae.n_features)
    run = _Run.begin(sae, source, options, decode, whitening, folder, device)
    encoder, decoder = Encoder(sae, n_rows, device), Decoder(sae) if decode else None
    saved_at = time.monotonic()
    try:
        if not run.done:
            progress.update(stage, run.start.item, source.n_items)
            for rows in rows_of(source, n_rows, run.start, items_per_batch):
                _check(rows)
                run.add(rows, encoder, decoder, metric_items, device, observe)
                run.start = run.start.after(rows)
                if folder is not None and time.monotonic() - saved_at >= save_every_s:
                    run.save(folder)
                    saved_at = time.monotonic()
                progress.update(stage, int(rows.items[-1]) + 1, source.n_items)
            run.done = True
            if folder is not None:
                run.save(folder)
    finally:
        if run.spill is not None:
            run.spill.close()
    if run.start.row == 0:
        raise UserError("the source has no position to evaluate", "check the data and what is excluded from it")
    return PassResult(run.state, run.sums, run.start.row, n_rows)


def _add_metrics(
    sums: MetricSums,
    decoder: Decoder,
    rows: Rows,
    codes: CodeBlock,
    metric_items: Bool[np.ndarray, " n_items"] | None,
    device: torch.device,
) -> None:
    """Metrics of the block's rows that belong to metric items."""
    x, target = rows.x.to(device, torch.float32), rows.target.to(device, torch.float32)
    chosen = None if metric_items is None else np.flatnonzero(metric_items[rows.items])
    if chosen is None or len(chosen) == len(rows.items):
        sums.add(target, decoder(x, codes), len(codes.sparse.features), codes.l1())
    elif len(chosen):
        target = target[torch.from_numpy(chosen).to(device)]
        sums.add(target, decoder(x, codes, chosen), int(np.diff(codes.sparse.row_ptr)[chosen].sum()), codes.l1(chosen))


def _check(rows: Rows) -> None:
    for values in (rows.x, rows.targets):
        if values is not None and not bool(torch.isfinite(values.sum())) and not bool(torch.isfinite(values).all()):
            raise UserError(_not_finite(rows), "check the data for NaN and infinite values")


def check_source(sae: Autoencoder, source: Source) -> None:
    """`UserError` where `source` does not yield what `sae` takes, or, for a transcoder, what it gives."""
    if source.d_in != sae.d_in:
        raise UserError(
            f"the source's activations have {source.d_in} dimensions, but the SAE takes {sae.d_in}",
            "use the data (and patch size) that the SAE was trained on",
        )
    width = target_width(source)
    if sae.config.transcoder and width is None:
        raise UserError(
            "the SAE is a transcoder, but the source has no targets", "add --hook-out HOOK, or --targets PATH"
        )
    if width is not None and not sae.config.transcoder:
        raise UserError(
            "the source has targets, but the SAE reconstructs its input", "leave --hook-out and --targets out"
        )
    if width is not None and width != sae.d_out:
        raise UserError(
            f"the source's targets have {width} dimensions, but the SAE gives {sae.d_out}",
            "use the targets that the SAE was trained on",
        )


def _not_finite(rows: Rows) -> str:
    finite = torch.isfinite(rows.x).all(1) & torch.isfinite(rows.target).all(1)
    bad = (~finite).nonzero()
    where = f" (item {int(rows.items[int(bad[0])])}, position {int(rows.positions[int(bad[0])])})" if len(bad) else ""
    return f"activations or codes are NaN or infinite{where}"


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

    def add(
        self,
        rows: Rows,
        encoder: Encoder,
        decoder: Decoder | None,
        metric_items: Bool[np.ndarray, " n_items"] | None,
        device: torch.device,
        observe: Observer | None,
    ) -> None:
        """Encode a block and keep what is to be known of it. Its codes are gone before the next block's are made."""
        codes = encoder(rows.x)
        if not np.isfinite(codes.sparse.values).all():
            raise UserError(_not_finite(rows), "check the data for NaN and infinite values")
        self.state.add(codes.sparse, rows.items, rows.positions)
        if decoder is not None and self.sums is not None:
            _add_metrics(self.sums, decoder, rows, codes, metric_items, device)
        if observe is not None:
            observe(rows, codes)
        if self.spill is not None:
            self.spill.append(codes.sparse, rows.items, rows.positions)

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
