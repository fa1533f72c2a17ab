"""From a checkpoint and a source to a published entry of a feature store.

The build's folder is named by a hash of everything that decides its result, so that running it again goes on with
what a killed run left: whole tables are kept, and the pass goes on from its last saved state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from saescope.autoencoders.device import choose_device
from saescope.autoencoders.protocol import Autoencoder
from saescope.autoencoders.registry import architecture
from saescope.checkpoints.conversion import NativeCheckpoint, as_native
from saescope.checkpoints.formats import native
from saescope.metrics.evaluation import Evaluation, metric_items
from saescope.precompute.denoised_pictures import ClassicalReference, DenoisedPictures, denoises
from saescope.precompute.one_pass.histogram import RECTIFIED, SIGMOID, HistogramSpec
from saescope.precompute.one_pass.run import PassFolder, PassOptions, PassResult, check_source, run_pass
from saescope.precompute.options import BuildOptions
from saescope.precompute.pass_tables import PassTables
from saescope.precompute.summary import evaluation_of
from saescope.precompute.tables.metrics import metric_table
from saescope.progress import SILENT, Progress
from saescope.sources.hooked.provenance import differences, remarks
from saescope.sources.protocol import Source
from saescope.store.format.manifest import Manifest
from saescope.store.format.source import SourceDescription
from saescope.store.format.version import program_version
from saescope.store.write.writer import EntryWriter

BUILD_FORMAT = 5
"""Raised when the same inputs would give other tables."""
DENOISING_FORMAT = 1
"""Likewise, of those of denoised items."""


def build_entry(
    checkpoint: Path | str,
    source: Source,
    store_root: Path,
    *,
    sae_id: str,
    options: BuildOptions | None = None,
    sweep: Mapping[str, Any] | None = None,
    baselines: pa.Table | None = None,
    reference: ClassicalReference | None = None,
    format: str | None = None,
    assume: Mapping[str, Any] | None = None,
    note: Callable[[str], None] | None = None,
    progress: Progress = SILENT,
) -> str:
    """Precompute and publish entry `sae_id`; returns the version's name.

    The checkpoint may have any format (`format` None recognises it, `assume` says what it does not record: see
    `load_sae`); the entry keeps it in the native one. `note` hears what its reader should know, a sentence at a time,
    before the work begins. With a `reference`, entries of models that denoise keep items at several levels of
    corruption, beside classical denoisers. Where a version made from the same weights, data and options is live
    already, it is returned as it is. Raises `UserError` where the checkpoint and the source do not fit, or the disk
    refuses; what is published stays.
    """
    options = options or BuildOptions()
    device = choose_device(options.device)
    with as_native(checkpoint, format, assume) as loaded:
        if note is not None:
            for text in (*loaded.notes, *differences(loaded.metadata, source), *remarks(source)):
                note(text)
        build = _Build(loaded, source, source.describe(), options, sweep, baselines, reference, device, progress)
        return build.publish(store_root, sae_id)


@dataclass(frozen=True)
class _Build:
    """What one build is made of."""

    checkpoint: NativeCheckpoint
    source: Source
    about: SourceDescription
    """The source, as it was before the work began."""
    options: BuildOptions
    sweep: Mapping[str, Any] | None
    baselines: pa.Table | None
    reference: ClassicalReference | None
    """Given and used for models that denoise."""
    device: torch.device
    progress: Progress

    def publish(self, store_root: Path, sae_id: str) -> str:
        """Do what is not done yet, and publish; returns the version's name."""
        check_source(self.checkpoint.sae, self.source)
        with EntryWriter(store_root, sae_id, self.key()) as writer:
            if writer.published is not None:
                return writer.published
            sae = self.checkpoint.sae.to(self.device)
            if not writer.has_checkpoint():
                writer.write_checkpoint(self.checkpoint.folder)
            folder = PassFolder(writer.state_path("pass"))
            result, evaluation = self._run_pass(sae, folder, writer.state_path("cross-entropy.json"))
            denoised = self._denoised(sae)
            shown = None if denoised is None else denoised.items
            tables = PassTables(
                sae, self.source, self.about, self.options, result, folder, writer, self.progress, evaluation.latents
            )
            tables.write(shown)
            if denoised is not None and not writer.has("denoising"):
                writer.write_table("denoising", denoised.item_table(self.progress))
            if denoised is not None and not writer.has("denoising_metrics"):
                writer.write_table("denoising_metrics", denoised.metric_table(self.progress))
            if not writer.has("metrics"):
                writer.write_table("metrics", metric_table(evaluation))
            curve = self.checkpoint.folder / "training.parquet"
            if curve.exists():
                writer.write_table("training", pq.read_table(curve))
            if self.baselines is not None:
                writer.write_table("baselines", self.baselines)
            self.progress.update("publishing", 0, 1)
            version = writer.publish(self._manifest(sae_id, result, evaluation))
            self.progress.update("publishing", 1, 1)
        return version

    def key(self) -> str:
        """Hash of everything that decides the result."""
        parts = {
            "format": BUILD_FORMAT,
            "program": program_version(),
            "config": dict(self.checkpoint.config),
            "weights": native.weights_sha256(self.checkpoint.folder),
            "source": self.about,
            "options": self.options.deciding(),
            "sweep": self.sweep,
            "baselines": None if self.baselines is None else _timeless(self.baselines),
        }
        if self._denoises:
            parts["denoising"] = DENOISING_FORMAT
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]

    @property
    def _denoises(self) -> bool:
        return self.reference is not None and denoises(self.checkpoint.config, self.about)

    def _denoised(self, sae: Autoencoder) -> DenoisedPictures | None:
        if self.reference is None or not self._denoises:
            return None
        return DenoisedPictures.of(sae, self.checkpoint.config, self.source, self.reference)

    def _run_pass(self, sae: Autoencoder, folder: PassFolder, sums: Path) -> tuple[PassResult, Evaluation]:
        """The pass and its metrics; `sums` holds those of cross-entropy while they are made."""
        chosen, trained_on = metric_items(self.checkpoint.config, self.source)
        whitening = self.checkpoint.whitening
        folder.root.mkdir(parents=True, exist_ok=True)
        result = run_pass(
            sae,
            self.source,
            PassOptions(
                n_top=self.options.n_top,
                n_samples=self.options.n_samples,
                seed=self.options.seed,
                histogram=histogram_for(sae),
                block_rows=self.options.block_rows,
            ),
            metric_items=chosen,
            whitening=None if whitening is None else whitening.matrix,
            folder=folder,
            items_per_batch=self.options.items_per_batch,
            save_every_s=self.options.save_every_s,
            device=self.device,
            progress=self.progress,
        )
        evaluation = evaluation_of(
            sae,
            self.source,
            result,
            chosen,
            trained_on=trained_on,
            n_ce_positions=self.options.n_ce_positions,
            saved=sums,
            progress=self.progress,
        )
        return result, evaluation

    def _manifest(self, sae_id: str, result: PassResult, evaluation: Evaluation) -> Manifest:
        training = self.checkpoint.config.get("training") or {}
        sae = self.checkpoint.sae
        return Manifest(
            sae_id=sae_id,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            saescope_version=program_version(),
            architecture=sae.config.architecture,
            constraint=architecture(sae.config.architecture).constraint,
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
            sweep=None if self.sweep is None else dict(self.sweep),
            seed=training.get("seed"),
        )


def _timeless(baselines: pa.Table) -> dict[str, Any]:
    """Columns without the time that fitting took, which is another one each time."""
    return baselines.drop_columns([name for name in ("seconds",) if name in baselines.column_names]).to_pydict()


def histogram_for(sae: Autoencoder) -> HistogramSpec:
    """Bins that suit the range of the architecture's codes."""
    return SIGMOID if sae.config.firing_threshold == 0.5 else RECTIFIED
