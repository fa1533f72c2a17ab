"""One sweep from source to store: what is done already is skipped, the rest trained together, then built one by one."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saescope.autoencoders.registry import settings_of
from saescope.autoencoders.settings.run import DataSize
from saescope.baselines.pca import pca_baseline
from saescope.checkpoints.formats import native
from saescope.precompute import BuildOptions, build_entry
from saescope.progress import SILENT, Progress
from saescope.sources import DataOptions, Source, has_splits, open_source
from saescope.sources.targets import target_width
from saescope.store import FeatureStore
from saescope.store.errors import OptionError
from saescope.store.format.paths import StorePaths, validate_sae_id
from saescope.store.format.version import program_version
from saescope.store.write.writer import create_store
from saescope.training import TrainingConfig, train_sweep
from saescope.training.data import representative
from saescope.workflows.divided_source import DividedSource, open_to_train
from saescope.workflows.notes import Note, warn
from saescope.workflows.target_l0 import missed_target

if TYPE_CHECKING:
    import pyarrow as pa


_OF_MODELS = ("activations_key", "streamed")
"""What decides activations of models beside the data."""


@dataclass(frozen=True)
class SweepPlan:
    """One architecture at several sparsities on one source."""

    name: str
    """Name of the sweep, and beginning of its entries' names."""
    source: DataOptions
    """Where the activations come from."""
    training: dict[str, Any]
    """Settings as `TrainingConfig` takes them, the sparsity left out."""
    values: Sequence[float]
    """The sparsities: of the architecture's own setting (k, l1, ...), or target L0s."""
    build: BuildOptions = field(default_factory=BuildOptions)
    """What the entries hold."""
    by_target: bool = False
    """Whether the values are target L0s."""

    @property
    def parameter(self) -> str:
        """Setting that the values are of. `OptionError` for an architecture that cannot be trained."""
        own = settings_of(self.training["architecture"]).sparsity[0]
        return "target_l0" if self.by_target else own


@dataclass(frozen=True)
class SweepEntry:
    """What became of one value."""

    sae_id: str
    version: str
    reused: bool
    """Whether it was in the store already, made with the same settings."""


@dataclass(frozen=True)
class _Run:
    """One value of a sweep that is not in the store yet."""

    sae_id: str
    value: float
    config: TrainingConfig
    settings: str
    """Hash of all that decides the entry."""

    def folder(self, paths: StorePaths) -> Path:
        return paths.training(f"{self.sae_id[:80]}-{self.settings[:16]}")


def sweep(
    plan: SweepPlan,
    store: Path | str,
    *,
    device: str = "auto",
    note: Note = warn,
    progress: Progress = SILENT,
) -> list[SweepEntry]:
    """Trains and builds every value of `plan` that the store does not hold yet, in the order of `plan.values`, with PCA
    as the reference.

    Training and judging see different items, as in `train` and `build`. A run that was killed goes on where it stopped.
    `note` hears of each entry whose L0 is not its target. Raises `OptionError` before any training for what is wrong
    with the plan, the data or the store.
    """
    store_root = Path(store)
    configs = _configs(plan)
    paths = create_store(store_root)
    data = open_to_train(plan.source, progress)
    divided = has_splits(plan.source) and plan.source.split is None
    judge = open_source(plan.source, "evaluate", progress) if divided else data.source
    runs = [_Run(i, v, c, _settings(plan, c, data, judge)) for i, v, c in configs]
    with FeatureStore(store_root) as opened:
        published = {run.sae_id: _published(opened, run) for run in runs}
    missing = [run for run in runs if published[run.sae_id] is None]
    if missing:
        folders = [run.folder(paths) for run in missing]
        train_sweep(
            data.table,
            [run.config for run in missing],
            folders,
            description=data.description,
            device=device,
            progress=progress,
        )
        transcodes = target_width(data.source) is not None
        # PCA rebuilds its input: it is no reference for a transcoder.
        baselines = None if transcodes else pca_reference(data, judge, folders[0], progress)
        for run, folder in zip(missing, folders, strict=True):
            published[run.sae_id] = build_entry(
                folder,
                judge,
                store_root,
                sae_id=run.sae_id,
                options=plan.build,
                sweep={"name": plan.name, "parameter": plan.parameter, "value": run.value, "settings": run.settings},
                baselines=baselines,
                progress=progress,
            )
    for run in runs:  # published: the entry holds the checkpoint; a killed run may have left its folder behind
        shutil.rmtree(run.folder(paths), ignore_errors=True)
    _say_missed_targets(store_root, [run.sae_id for run in runs], note)
    done = {run.sae_id for run in runs} - {run.sae_id for run in missing}
    return [SweepEntry(run.sae_id, str(published[run.sae_id]), run.sae_id in done) for run in runs]


def pca_reference(data: DividedSource, judge: Source, checkpoint: Path, progress: Progress = SILENT) -> pa.Table:
    """PCA fitted on the training rows, measured where the metrics are taken; whitened too where training was.

    Of activations that are computed as they are read, a sample stands for all.
    """
    train = representative(data.table)
    evaluated = representative(judge.table() if data.judged_by is None else data.judged_by)
    most = min(train.d_in, train.n_rows)
    counts = [1 << i for i in range(most.bit_length()) if 1 << i <= most]
    whitening = native.read_whitening(checkpoint)
    matrix = None if whitening is None else whitening.matrix.numpy()
    return pca_baseline(train, evaluated, counts, matrix, progress)


def entry_name(name: str, architecture: str, parameter: str, value: float) -> str:
    """mnist, topk, k, 16 -> 'mnist-topk-k16'; mnist, relu, target_l0, 16 -> 'mnist-relu-target-l0-16'."""
    joint = "" if parameter == "k" else "-"
    number = str(int(value)) if value == int(value) else repr(float(value))
    return validate_sae_id(f"{name}-{architecture}-{parameter.replace('_', '-')}{joint}{number}")


def _configs(plan: SweepPlan) -> list[tuple[str, float, TrainingConfig]]:
    parameter = plan.parameter
    if not plan.values:
        raise OptionError("no values are given", f"give {parameter} values, e.g. --values 8,16,32")
    made = []
    for value in plan.values:
        if not math.isfinite(value):
            raise OptionError(
                f"{parameter} is {value}; expected finite numbers", "give values such as --values 8,16,32"
            )
        if parameter == "k" and value != int(value):
            raise OptionError(f"k is {value}, but it counts features", "give whole numbers, e.g. --values 8,16,32")
        exact = int(value) if parameter == "k" else float(value)
        config = TrainingConfig(**{**plan.training, parameter: exact})
        made.append((entry_name(plan.name, config.architecture, parameter, exact), exact, config))
    names = [sae_id for sae_id, _, _ in made]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise OptionError(f"values are given twice: {', '.join(twice)}", "give each value once")
    return made


def _settings(plan: SweepPlan, config: TrainingConfig, data: DividedSource, judge: Source) -> str:
    """Hash of all that decides an entry: the settings with their defaults, the data and the build's options."""
    resolved = config.resolve(DataSize(data.table.n_rows, data.table.d_in))
    parts = {
        "program": program_version(),
        "training": resolved.deciding(),
        "data": data.source.data_sha256,
        "held_out": data.held_out,
        "evaluated": judge.data_sha256,
        "build": plan.build.deciding(),
        "sweep": plan.name,
    }
    described = (data.description, judge.describe())
    parts |= {f"{name} {i}": d[name] for i, d in enumerate(described) for name in _OF_MODELS if name in d}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _published(store: FeatureStore, run: _Run) -> str | None:
    """The live version of the run's entry if it was made with the same settings."""
    if run.sae_id not in store:
        return None
    entry = store[run.sae_id]
    return entry.version if (entry.manifest.sweep or {}).get("settings") == run.settings else None


def _say_missed_targets(store_root: Path, sae_ids: list[str], note: Note) -> None:
    """A note for each entry whose L0 on the data that judges it is not the target."""
    with FeatureStore(store_root) as store:
        for sae_id in sae_ids:
            entry = store[sae_id]
            settings, l0 = entry.manifest.sweep or {}, entry.metrics.get("l0")
            if settings.get("parameter") == "target_l0" and l0 is not None:
                missed = missed_target(entry.manifest.architecture, float(settings["value"]), l0)
                if missed is not None:
                    note(f"{sae_id}: {missed}")
