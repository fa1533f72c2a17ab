"""From a checkpoint and a source to a published entry of a feature store.

The build's folder is named by a hash of everything that decides its result, so that running it again goes on with
what a killed run left: whole tables are kept, and the pass goes on from its last saved state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from saescope.autoencoders import Autoencoder
from saescope.autoencoders.device import choose_device
from saescope.checkpoints.conversion import NativeCheckpoint, as_native
from saescope.checkpoints.formats import native
from saescope.metrics import metric
from saescope.metrics.cross_entropy import N_CE_POSITIONS
from saescope.metrics.evaluation import Evaluation, metric_items
from saescope.precompute.beside import beside
from saescope.precompute.kernels.records import Postings
from saescope.precompute.one_pass.histogram import RECTIFIED, SIGMOID, HistogramSpec
from saescope.precompute.one_pass.run import PassFolder, PassOptions, PassResult, check_source, run_pass
from saescope.precompute.one_pass.spill import Spill
from saescope.precompute.one_pass.state import FeatureState
from saescope.precompute.summary import evaluation_of
from saescope.precompute.tables.coactivations import coactivations
from saescope.precompute.tables.examples import Examples, choose_examples, example_batches
from saescope.precompute.tables.features import feature_table
from saescope.precompute.tables.intervals import Intervals, choose_intervals
from saescope.precompute.tables.item_samples import item_codes, reconstructions, sample_items
from saescope.precompute.tables.labels import label_features
from saescope.precompute.tables.logit_effects import can_reach_logits, logit_effects, top_logits
from saescope.precompute.tables.neighbours import neighbours
from saescope.precompute.tables.tokens import count_tokens, top_tokens
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source, TokenSource, as_tokens, item_lengths
from saescope.store.errors import UserError
from saescope.store.format.manifest import Manifest
from saescope.store.format.schema import schema_of
from saescope.store.format.source import PixelDescription, SourceDescription
from saescope.store.format.version import program_version
from saescope.store.write.writer import EntryWriter

BUILD_FORMAT = 4
"""Raised when the same inputs would give other tables."""


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build. All but the last three decide its result."""

    n_top: int = 20
    """Top examples per feature."""
    n_samples: int = 5
    """Examples per interval."""
    n_neighbours: int = 10
    """Nearest atoms per feature."""
    n_coactivations: int = 10
    """Co-firing features per feature."""
    n_sample_items: int = 64
    """Items whose codes and reconstructions are kept."""
    n_top_tokens: int = 20
    """Texts: most frequent tokens kept per feature."""
    n_top_logits: int = 10
    """Texts: tokens kept per feature whose logits its atom raises most, and as many that it lowers."""
    n_ce_positions: int = N_CE_POSITIONS
    """Texts: predictions that cross-entropy is measured on; 0 leaves it out."""
    seed: int = 0
    """Seed of the sampling hash."""
    block_rows: int | None = None
    """Positions encoded at a time; None chooses by the width of the code."""
    items_per_batch: int | None = field(default=None, metadata={"decides": False})
    """Items read at a time; None lets the source choose."""
    save_every_s: float = field(default=60.0, metadata={"decides": False})
    """Seconds between saved states of the pass."""
    device: str = field(default="auto", metadata={"decides": False})
    """'auto', 'cpu' or 'cuda'."""

    def __post_init__(self) -> None:
        for name in ("n_neighbours", "n_coactivations", "n_sample_items", "n_top_tokens", "n_top_logits"):
            if not 1 <= getattr(self, name) <= 10_000:
                raise UserError(f"{name} is {getattr(self, name)}: expected 1 to 10,000")
        if self.n_ce_positions < 0:
            raise UserError(f"n_ce_positions is {self.n_ce_positions}: expected 0 or more")

    def deciding(self) -> dict[str, Any]:
        """The options that decide the result."""
        fields = self.__dataclass_fields__
        return {name: v for name, v in asdict(self).items() if fields[name].metadata.get("decides", True)}


def histogram_for(sae: Autoencoder) -> HistogramSpec:
    """Bins that suit the range of the architecture's codes."""
    return SIGMOID if sae.config.firing_threshold == 0.5 else RECTIFIED


def build_entry(
    checkpoint: Path | str,
    source: Source,
    store_root: Path,
    *,
    sae_id: str,
    options: BuildOptions | None = None,
    sweep: Mapping[str, Any] | None = None,
    baselines: pa.Table | None = None,
    format: str | None = None,
    assume: Mapping[str, Any] | None = None,
    told: Callable[[tuple[str, ...]], None] | None = None,
    progress: Progress = SILENT,
) -> str:
    """Precompute and publish entry `sae_id`; returns the version's name.

    The checkpoint may have any format (`format` None recognises it, `assume` says what it does not record: see
    `load_sae`); the entry keeps it in the native one. `told` gets what its reader should know, before the work begins.
    Where a version made from the same weights, data and options is live already, it is returned as it is. Raises
    `UserError` where the checkpoint and the source do not fit, or the disk refuses; what is published stays.
    """
    options = options or BuildOptions()
    device = choose_device(options.device)
    with as_native(checkpoint, format, assume) as loaded:
        if told is not None:
            told(loaded.notes)
        return _build_entry(loaded, source, store_root, sae_id, options, sweep, baselines, device, progress)


def _build_entry(
    loaded: NativeCheckpoint,
    source: Source,
    store_root: Path,
    sae_id: str,
    options: BuildOptions,
    sweep: Mapping[str, Any] | None,
    baselines: pa.Table | None,
    device: torch.device,
    progress: Progress,
) -> str:
    checkpoint, sae, config, whitening, _ = loaded
    check_source(sae, source)
    about = source.describe()
    with EntryWriter(store_root, sae_id, _key(checkpoint, config, about, options, sweep, baselines)) as writer:
        if writer.published is not None:
            return writer.published
        build = _Build(sae.to(device), source, about, config, options, writer, device, progress)
        if not writer.has_checkpoint():
            writer.write_checkpoint(checkpoint)
        result, evaluation = build.run_pass(None if whitening is None else whitening.matrix)
        build.write_tables(result, evaluation)
        curve = checkpoint / "training.parquet"
        if curve.exists():
            writer.write_table("training", pq.read_table(curve))
        if baselines is not None:
            writer.write_table("baselines", baselines)
        progress.update("publishing", 0, 1)
        version = writer.publish(build.manifest(sae_id, result, evaluation, sweep))
        progress.update("publishing", 1, 1)
    return version


@dataclass(frozen=True)
class _Build:
    """The parts of one build, table by table."""

    sae: Autoencoder
    source: Source
    about: SourceDescription
    config: dict[str, Any]
    options: BuildOptions
    writer: EntryWriter
    device: torch.device
    progress: Progress

    @property
    def folder(self) -> PassFolder:
        return PassFolder(self.writer.state_path("pass"))

    def run_pass(self, whitening: torch.Tensor | None) -> tuple[PassResult, Evaluation]:
        chosen, trained_on = metric_items(self.config, self.source)
        self.folder.root.mkdir(parents=True, exist_ok=True)
        result = run_pass(
            self.sae,
            self.source,
            PassOptions(
                n_top=self.options.n_top,
                n_samples=self.options.n_samples,
                seed=self.options.seed,
                histogram=histogram_for(self.sae),
                block_rows=self.options.block_rows,
            ),
            metric_items=chosen,
            whitening=whitening,
            folder=self.folder,
            items_per_batch=self.options.items_per_batch,
            save_every_s=self.options.save_every_s,
            device=self.device,
            progress=self.progress,
        )
        evaluation = evaluation_of(
            self.sae,
            self.source,
            result,
            chosen,
            trained_on=trained_on,
            n_ce_positions=self.options.n_ce_positions,
            saved=self.writer.state_path("cross-entropy.json"),
            progress=self.progress,
        )
        return result, evaluation

    def write_tables(self, result: PassResult, evaluation: Evaluation) -> None:
        """Every table that this build has not written yet."""
        write, has = self.writer.write_table, self.writer.has
        state, source = result.state, self.source
        spill = Spill.open(self.folder.spill)
        intervals = choose_intervals(state, self.sae.config.firing_threshold)
        sampled = sample_items(source.n_items, self.options.n_sample_items)
        examples = choose_examples(state, intervals)

        def items() -> None:
            if not has("items"):
                write("items", source.item_table(np.union1d(examples.item, sampled)))

        with beside(items):  # encoding pictures takes one core for a while
            postings = spill.postings(state.n_firing)
            tokens = as_tokens(source)
            self._write_features(result, intervals, spill, postings, tokens)
            with beside(partial(self._write_examples, examples, spill, tokens)):
                self._write_relations(spill, postings, state, tokens)
        if not has("item_codes"):
            write("item_codes", item_codes(sampled, spill))
        if not has("reconstructions") and isinstance(self.about, PixelDescription):
            write("reconstructions", reconstructions(self.sae, source, sampled))
        if not has("metrics"):
            write("metrics", metric_table(evaluation))

    def _write_features(
        self,
        result: PassResult,
        intervals: Intervals,
        spill: Spill,
        postings: Postings,
        tokens: TokenSource | None,
    ) -> None:
        """The features with their labels; for texts also the tokens that fire them."""
        write, has, state = self.writer.write_table, self.writer.has, result.state
        if has("features") and (tokens is None or has("top_tokens")):
            return
        counts = None
        if tokens is not None:
            counts = count_tokens(spill, postings, tokens, self.options.n_top_tokens, self.progress)
            write("top_tokens", top_tokens(counts, state.n_firing, result.n_positions, tokens.vocabulary))
        labels = label_features(
            self.source.metadata(),
            self.about.label_words,
            spill.items,
            postings,
            state.n_firing,
            counts,
            () if tokens is None else tokens.vocabulary,
        )
        write("features", feature_table(state, intervals, labels, self.sae, result.n_positions))

    def _write_examples(self, examples: Examples, spill: Spill, tokens: TokenSource | None) -> None:
        if self.writer.has("examples"):
            return
        longest = self.source.positions_per_item
        lengths = None if tokens is None else partial(item_lengths, tokens)
        batches = example_batches(examples, self.sae.n_features, spill if longest > 1 else None, longest, lengths)
        self.writer.write_table("examples", batches)

    def _write_relations(
        self, spill: Spill, postings: Postings, state: FeatureState, tokens: TokenSource | None
    ) -> None:
        """What features have to do with each other, and with the model's predictions."""
        write, has = self.writer.write_table, self.writer.has
        atoms = self.sae.atoms.detach() if self.sae.has_linear_decoder else None
        if not has("neighbours") and atoms is not None:
            write("neighbours", neighbours(atoms, self.options.n_neighbours, self.progress))
        if not has("top_logits") and atoms is not None and tokens is not None and can_reach_logits(tokens):
            kept, vocabulary = self.options.n_top_logits, tokens.vocabulary
            effects = logit_effects(atoms, tokens.hooked_out.unembedding(), len(vocabulary), kept, self.progress)
            write("top_logits", top_logits(effects, vocabulary))
        if not has("coactivations"):
            kept = self.options.n_coactivations
            write("coactivations", coactivations(spill, postings, state.n_firing, kept, self.progress))

    def manifest(
        self, sae_id: str, result: PassResult, evaluation: Evaluation, sweep: Mapping[str, Any] | None
    ) -> Manifest:
        training = self.config.get("training") or {}
        sae = self.sae
        return Manifest(
            sae_id=sae_id,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            saescope_version=program_version(),
            architecture=sae.config.architecture,
            d_in=sae.d_in,
            d_out=sae.d_out,
            n_features=sae.n_features,
            firing_threshold=sae.config.firing_threshold,
            histogram_edges=[float(edge) for edge in result.state.spec.edges()],
            source=self.about,
            n_positions=result.n_positions,
            n_metric_positions=evaluation.n_positions,
            metrics=evaluation.metrics,
            config={
                "build": {**self.options.deciding(), "block_rows": result.n_rows_per_block},
                "training": training,
                "metrics_are_in_sample": evaluation.trained_on,
                "device": self.device.type,
                "torch": torch.__version__,
            },
            sweep=None if sweep is None else dict(sweep),
            seed=training.get("seed"),
        )


def metric_table(evaluation: Evaluation) -> pa.Table:
    """The store's `metrics`."""
    names = sorted(evaluation.metrics)
    return pa.table(
        {
            "name": names,
            "value": pa.array([evaluation.metrics[n] for n in names], pa.float64()),
            "n_positions": pa.array([evaluation.positions_of(n) for n in names], pa.int64()),
            "formula": [metric(n).formula for n in names],
        },
        schema_of("metrics"),
    )


def _key(
    checkpoint: Path,
    config: Mapping[str, Any],
    about: SourceDescription,
    options: BuildOptions,
    sweep: Mapping[str, Any] | None,
    baselines: pa.Table | None,
) -> str:
    """Hash of everything that decides a build's result."""
    parts = {
        "format": BUILD_FORMAT,
        "program": program_version(),
        "config": dict(config),
        "weights": native.weights_sha256(checkpoint),
        "source": about,
        "options": options.deciding(),
        "sweep": sweep,
        "baselines": None if baselines is None else baselines.to_pydict(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
