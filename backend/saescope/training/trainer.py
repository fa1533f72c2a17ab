"""`train` and `train_sweep`: from a table of activations to checkpoints, resumable at any moment."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from saescope.autoencoders.device import choose_device
from saescope.autoencoders.objectives.processes import ALONE, Processes
from saescope.autoencoders.settings.run import TransformKind
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import ActivationTable
from saescope.sources.targets import CapturedTable, PairedTable, Targets
from saescope.store.errors import DataError, DeviceError, OptionError, StorageError
from saescope.training.config import ResolvedConfig, TrainingConfig
from saescope.training.data import Shuffle, TrainingData, data_size, hold_out, representative
from saescope.training.input_transform import InputTransform, fit
from saescope.training.run import Run
from saescope.training.run_folder import RunFolder

STATE_SECONDS = 10.0
"""A state is saved about this often, and less often where saving takes more than a fiftieth of the time."""
SMALL_PRODUCT = 2**25
"""Steps whose encoder multiplies less often than this (batch x d_in x n_features) run on one thread: waking others
costs more."""


def train(
    table: ActivationTable,
    config: TrainingConfig,
    out: Path,
    *,
    description: Mapping[str, Any],
    device: str = "auto",
    processes: Processes = ALONE,
    progress: Progress = SILENT,
) -> Path:
    """Trains one SAE on `table` and writes its checkpoint, curve and state to the folder `out`, which it returns.

    `description` is the training source's `describe()` with `held_out`: what of that source `table` leaves out
    ({"seed", "fraction"} of `held_out_items`, or None: metrics over the same data are then in-sample). A run that was
    cut goes on from its last state and ends with the same bits; a finished one with the same settings is left as it
    is. `device` is auto (CUDA where there is one), cpu or cuda. `processes` are those that call this together, each
    with the same arguments but its own device; they share `out`. Raises `UserError` for a folder with other
    contents, unusable data, and a run that diverges.
    """
    return train_sweep(
        table, [config], [out], description=description, device=device, processes=processes, progress=progress
    )[0]


def train_sweep(
    table: ActivationTable,
    configs: Sequence[TrainingConfig],
    outs: Sequence[Path],
    *,
    description: Mapping[str, Any],
    device: str = "auto",
    processes: Processes = ALONE,
    progress: Progress = SILENT,
) -> list[Path]:
    """`train` for several configs on one table. Each run ends with the same bits as alone.

    The input transform is fitted once. A table that fits into memory is transformed once, and the runs go one after
    another; otherwise runs with equal batches share each batch, so that the table is read once for all of them.
    """
    if len(configs) != len(outs) or len({Path(out).resolve() for out in outs}) != len(outs):
        raise OptionError(f"{len(configs)} runs need as many different folders, {len(outs)} given")
    if table.n_rows < 1:
        raise DataError("there are no activations to train on")
    _check_held_out(description)
    where = choose_device(device)
    if any(c.run.autocast for c in configs):
        check_autocast(where)
    for config in configs:
        config.own.check_targets(isinstance(table, PairedTable), isinstance(table, CapturedTable))
    size = data_size(table, description, configs)
    resolved = [c.resolve(size) for c in configs]
    folders = [RunFolder(Path(out), c, description) for c, out in zip(resolved, outs, strict=True)]
    open_folders = [folder for folder in folders if not folder.finished()]
    processes.wait()  # nothing is written before all have looked
    for space in dict.fromkeys(_space(f.config) for f in open_folders):
        members = [f for f in open_folders if _space(f.config) == space]
        kind, epsilon, holds_out = space
        kept = [t for t in (f.kept_transforms() for f in members) if t is not None]
        progress.update("measuring the data", 0, 1)
        inputs, targets = kept[0] if kept else _fitted(table, kind, epsilon)
        trained_on, held_out = hold_out(table) if holds_out else (table, None)
        data = TrainingData(trained_on, inputs, where, targets, held_out, size.shape)
        for together in _groups(members, data):
            _advance_together(together, data, processes, progress)
    processes.wait()
    return [folder.root for folder in folders]


def _check_held_out(description: Mapping[str, Any]) -> None:
    """Warns where nothing says whether metrics over the same data would be in-sample; `OptionError` for what is no
    rule."""
    how = 'description={**source.describe(), "held_out": ...}, None or the rule of held_out_items'
    if "held_out" not in description:
        warnings.warn(
            f"nothing says what was held out, so metrics over the same data will be in-sample; give {how}", stacklevel=4
        )
        return
    rule = description["held_out"]
    if rule is not None and not (isinstance(rule, Mapping) and {"seed", "fraction"} <= rule.keys()):
        raise OptionError(
            f"held_out of the description is {rule}; expected None or what was kept away from training",
            f"give {how}, such as " + '{"seed": 0, "fraction": 0.1}',
        )


def check_autocast(device: torch.device) -> None:
    """`DeviceError` where `device` gains nothing by bfloat16."""
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        supported = device.type == "cpu" and cpu_has_bfloat16()
    if not supported:
        which = "GPU" if device.type == "cuda" else device.type.upper()
        raise DeviceError(
            f"--autocast needs bfloat16, which this {which} computes in software only", "leave --autocast out"
        )


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies matrices in bfloat16 faster than in float32, as far as torch can tell."""
    told: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(told.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _space(config: ResolvedConfig) -> tuple[TransformKind, float, bool]:
    """What runs have in common that see the same data: the transform, and whether rows are held out."""
    holds_out = config.run.target_l0 is not None or config.objective().needs_held_out_rows
    return config.run.input_transform, config.run.zca_epsilon, holds_out


def _fitted(
    table: ActivationTable, kind: TransformKind, epsilon: float
) -> tuple[InputTransform, InputTransform | None]:
    """The transforms of the inputs and of the targets, if any."""
    sample = representative(table)
    return fit(sample, kind, epsilon), fit(Targets(sample), kind, epsilon) if isinstance(sample, PairedTable) else None


def _groups(folders: list[RunFolder], data: TrainingData) -> list[list[RunFolder]]:
    """Runs to advance batch by batch together."""
    if data.is_cached:
        return [[folder] for folder in folders]
    groups: dict[tuple[int, int], list[RunFolder]] = {}
    for folder in folders:
        groups.setdefault((folder.config.run.batch_size, folder.config.run.seed), []).append(folder)
    return list(groups.values())


def _advance_together(folders: list[RunFolder], data: TrainingData, processes: Processes, progress: Progress) -> None:
    configs = [folder.config for folder in folders]
    batch_size, seed = configs[0].run.batch_size, configs[0].run.seed
    widest = max(batch_size // processes.size * c.own.products(c.run, data.table.d_in) for c in configs)
    threads = _threads(1 if data.device.type == "cpu" and widest < SMALL_PRODUCT else None)
    # cuDNN may choose among algorithms for convolutions by their speed, and some of them add in any order
    with threads, torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        runs = [Run(config, data, processes) for config in configs]
        for folder, run in zip(folders, runs, strict=True):
            folder.restore_state(run)
            _check_together(folder, run)
            run.share()
        processes.wait()
        shuffle = Shuffle(data.table, batch_size, seed)
        stage, notes = _stage(configs), ""
        total = sum(run.steps for run in runs)
        saved, pause = time.monotonic(), STATE_SECONDS
        for step in range(min(run.step for run in runs), max(run.steps for run in runs)):
            batch = data.batch(processes.part(shuffle.indices(step)))
            for run in runs:
                if run.step == step < run.steps:
                    notes = run.advance(*batch) or notes
            progress.update(stage, sum(run.step for run in runs), total, notes)
            if processes.is_first and time.monotonic() - saved > pause:
                started = time.monotonic()
                for folder, run in zip(folders, runs, strict=True):
                    folder.save_state(run)
                saved = time.monotonic()
                pause = max(STATE_SECONDS, 50 * (saved - started))
        for folder, run in zip(folders, runs, strict=True):
            if processes.is_first:
                folder.finish(run)


def _check_together(folder: RunFolder, run: Run) -> None:
    """Refuse processes that do not go on from the same step: they do not see the same folder."""
    mean = float(run.processes.mean(torch.tensor(float(run.step), dtype=torch.float64, device=run.data.device)))
    if mean != run.step:
        raise StorageError(
            f"the processes do not find the same state in {folder.root}", "give a folder that all of them share"
        )


def _stage(configs: list[ResolvedConfig]) -> str:
    first = configs[0]
    values = ", ".join(f"{c.sparsity[1]:g}" for c in configs)
    return f"training {first.architecture} {first.sparsity[0]}={values}"


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
