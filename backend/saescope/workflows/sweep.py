"""One sweep from source to store: what is done already is skipped, the rest trained together, then built one by one."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from saescope.autoencoders.registry import settings_of
from saescope.autoencoders.settings.run import DataSize, RunSettings
from saescope.baselines.pca import pca_baseline
from saescope.baselines.registry import Method, chosen
from saescope.baselines.rows import baseline_rows
from saescope.baselines.settings import doubling
from saescope.checkpoints.formats import native
from saescope.options.fields import value_types
from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.denoised_pictures import ClassicalReference
from saescope.progress import SILENT, Progress
from saescope.sources import DataOptions, Source, has_splits, open_source
from saescope.sources.targets import target_width
from saescope.store import FeatureStore
from saescope.store.errors import OptionError
from saescope.store.format.expectation import bare
from saescope.store.format.paths import StorePaths, validate_sae_id
from saescope.store.format.version import program_version
from saescope.store.write.writer import create_store
from saescope.training import TrainingConfig, train_sweep
from saescope.training.data import data_size, representative
from saescope.workflows.divided_source import DividedSource, open_to_train
from saescope.workflows.notes import Note, warn
from saescope.workflows.target_l0 import missed_target

if TYPE_CHECKING:
    import pyarrow as pa


_OF_MODELS = ("activations_key", "streamed")
"""What decides activations of models beside the data."""


@dataclass(frozen=True)
class SweepPlan:
    """One architecture at several values of one setting, its sparsity most of all, on one source."""

    name: str
    """Name of the sweep, and beginning of its entries' names."""
    source: DataOptions
    """Where the activations come from."""
    training: dict[str, Any]
    """Settings as `TrainingConfig` takes them, the one that varies left out."""
    values: Sequence[float]
    """Of the setting that varies: the architecture's own sparsity (k, l1, ...), target L0s, or what `vary` names."""
    build: BuildOptions = field(default_factory=BuildOptions)
    """What the entries hold."""
    by_target: bool = False
    """Whether the values are target L0s."""
    vary: str = ""
    """Another setting that the values are of: n_features, noise, beta, ..."""
    baselines: Sequence[str] = ("pca",)
    """Classical methods that are drawn beside the SAEs, by name (see `saescope.baselines.registry`)."""

    @property
    def parameter(self) -> str:
        """Setting that the values are of. `OptionError` for an architecture that cannot be trained or has no such
        setting, or one that takes no number."""
        settings: Any = settings_of(self.training["architecture"])
        if not self.vary:
            own = settings.sparsity[0] if settings.sparsity else settings.swept
            return "target_l0" if self.by_target else own
        if not numeric(settings, self.vary):
            names = [name for name in (*value_types(RunSettings), *value_types(settings)) if numeric(settings, name)]
            if not settings.sparsity:
                names.remove("target_l0")
            raise OptionError(
                f"{self.vary} is no setting of {self.training['architecture']} that takes numbers",
                f"these are: {', '.join(dict.fromkeys(names))}",
            )
        return self.vary

    def value(self, number: float) -> Any:
        """A value as the setting takes it."""
        settings: Any = settings_of(self.training["architecture"])
        kind = _kind(settings, self.parameter)
        if kind is int and number != int(number):
            counts = "features" if self.parameter in ("k", "n_features") else "whole things"
            raise OptionError(
                f"{self.parameter} is {number}, but it counts {counts}", "give whole numbers, e.g. --values 8,16,32"
            )
        return int(number) if kind is int else (float(number),) if get_origin(kind) is tuple else float(number)


def numeric(settings: type, name: str) -> bool:
    """Whether a setting of a run of that architecture takes a number, or a list of them that may have one alone."""
    kind = _kind(settings, name)
    return kind in (int, float) or kind == tuple[float, ...]


def _kind(settings: type, name: str) -> Any:
    """What a setting takes, without its bounds; None where there is none of that name."""
    types = {**value_types(settings), **value_types(RunSettings)}
    return bare(types[name]) if name in types else None


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
    """Trains and builds every value of `plan` that the store does not hold yet, in the order of `plan.values`, with the
    plan's baselines as references.

    Training and judging see different items, as in `train` and `build`. A run that was killed goes on where it stopped.
    `note` hears what an entry's settings call for, of each whose L0 is not its target, and of baselines that do not go
    with the data. Raises `OptionError` before any training for what is wrong with the plan, the data or the store.
    """
    store_root = Path(store)
    configs = _configs(plan)
    methods = chosen(plan.baselines)
    paths = create_store(store_root)
    data = open_to_train(plan.source, progress)
    divided = has_splits(plan.source) and plan.source.split is None
    judge = open_source(plan.source, "evaluate", progress) if divided else data.source
    size = data_size(data.table, data.description, [config for _, _, config in configs])
    runs = [_Run(i, v, c, _settings(plan, c, size, data, judge)) for i, v, c in configs]
    with FeatureStore(store_root) as opened:
        published = {run.sae_id: _published(opened, run) for run in runs}
    missing = [run for run in runs if published[run.sae_id] is None]
    if missing:
        folders = [run.folder(paths) for run in missing]
        for run in missing:
            for remark in run.config.own.remarks(run.config.run, data.table.d_in):
                note(f"{run.sae_id}: {remark}")
        train_sweep(
            data.table,
            [run.config for run in missing],
            folders,
            description=data.description,
            device=device,
            progress=progress,
        )
        baselines = None
        if methods and target_width(data.source) is None:  # they rebuild their input: a transcoder does something else
            n_features = max(config.n_features for _, _, config in configs)
            baselines = references(methods, data, judge, folders[0], n_features, note, progress)
        reference = ClassicalReference(lambda: data)
        for run, folder in zip(missing, folders, strict=True):
            published[run.sae_id] = build_entry(
                folder,
                judge,
                store_root,
                sae_id=run.sae_id,
                options=plan.build,
                sweep={"name": plan.name, "parameter": plan.parameter, "value": run.value, "settings": run.settings},
                baselines=baselines,
                reference=reference,
                progress=progress,
            )
    for run in runs:  # published: the entry holds the checkpoint; a killed run may have left its folder behind
        shutil.rmtree(run.folder(paths), ignore_errors=True)
    _say_missed_targets(store_root, [run.sae_id for run in runs], note)
    done = {run.sae_id for run in runs} - {run.sae_id for run in missing}
    return [SweepEntry(run.sae_id, str(published[run.sae_id]), run.sae_id in done) for run in runs]


def references(
    methods: Sequence[Method],
    data: DividedSource,
    judge: Source,
    checkpoint: Path,
    n_features: int,
    note: Note = warn,
    progress: Progress = SILENT,
) -> pa.Table:
    """Baselines fitted on the training rows, measured where the metrics are taken; whitened too where training was.

    Of activations that are computed as they are read, a sample stands for all.
    """
    train = representative(data.table)
    evaluated = representative(judge.table() if data.judged_by is None else data.judged_by)
    whitening = native.read_whitening(checkpoint)
    matrix = None if whitening is None else whitening.matrix.numpy()
    if [method.name for method in methods] == ["pca"]:
        return pca_baseline(train, evaluated, doubling(min(train.d_in, train.n_rows)), matrix, progress)
    return baseline_rows(methods, train, evaluated, n_features, whitening=matrix, skipped=note, progress=progress)


def entry_name(name: str, architecture: str, parameter: str, value: float) -> str:
    """mnist, topk, k, 16 -> 'mnist-topk-k16'; mnist, relu, target_l0, 16 -> 'mnist-relu-target-l0-16'."""
    joint = "" if parameter == "k" else "-"
    number = str(int(value)) if value == int(value) else repr(float(value))
    return validate_sae_id(f"{name}-{architecture}-{parameter.replace('_', '-')}{joint}{number}")


def _configs(plan: SweepPlan) -> list[tuple[str, float, TrainingConfig]]:
    parameter = plan.parameter
    if plan.training.get(parameter) is not None:
        flag = "--" + parameter.replace("_", "-")
        raise OptionError(f"{flag} is given, but it is what --values vary", "leave it out, or vary another --parameter")
    if parameter != "n_features" and plan.training.get("n_features") is None:
        raise OptionError("--n-features is missing", "give the width of the code")
    if not plan.values:
        raise OptionError("no values are given", f"give {parameter} values, e.g. --values 8,16,32")
    made = []
    for value in plan.values:
        if not math.isfinite(value):
            raise OptionError(
                f"{parameter} is {value}; expected finite numbers", "give values such as --values 8,16,32"
            )
        exact = plan.value(value)
        config = TrainingConfig(**{**plan.training, parameter: exact})
        number = int(value) if isinstance(exact, int) else float(value)
        made.append((entry_name(plan.name, config.architecture, parameter, number), number, config))
    names = [sae_id for sae_id, _, _ in made]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise OptionError(f"values are given twice: {', '.join(twice)}", "give each value once")
    return made


def _settings(plan: SweepPlan, config: TrainingConfig, size: DataSize, data: DividedSource, judge: Source) -> str:
    """Hash of all that decides an entry: the settings with their defaults, the data and the build's options."""
    resolved = config.resolve(size)
    parts = {
        "program": program_version(),
        "training": resolved.deciding(),
        "data": data.source.data_sha256,
        "held_out": data.held_out,
        "evaluated": judge.data_sha256,
        "build": plan.build.deciding(),
        "sweep": plan.name,
    }
    methods = [method.name for method in chosen(plan.baselines)]
    parts |= {} if methods == ["pca"] else {"baselines": ",".join(methods)}
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
