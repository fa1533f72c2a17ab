"""One classical dictionary, from a source to a checkpoint that is built, browsed and exported as an SAE's."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saescope.baselines.fitting import autoencoder, completed
from saescope.baselines.registry import method
from saescope.baselines.settings import MethodSettings
from saescope.checkpoints.formats import native
from saescope.progress import SILENT, Progress
from saescope.sources import DataOptions
from saescope.sources.targets import CapturedTable, target_width
from saescope.store import atomic
from saescope.store.errors import OptionError, StorageError
from saescope.training.data import representative
from saescope.training.run_folder import data_of
from saescope.workflows.divided_source import open_to_train


@dataclass(frozen=True)
class FittedBaseline:
    """What became of a fit."""

    checkpoint: Path
    """Folder of the checkpoint."""
    n_features: int
    n_rows: int
    """Training rows that it was fitted on; 0 where the folder held it already."""
    seconds: float
    """That fitting took; 0 likewise."""


def baseline(
    name: str, source: DataOptions, settings: MethodSettings, out: Path | str, *, progress: Progress = SILENT
) -> FittedBaseline:
    """Fits the method `name` on the training rows of `source` and writes its checkpoint to the folder `out`.

    Training and judging see different items, as in `train`; of activations that are computed as they are read, a sample
    stands for all. An `out` that holds the same fit is left as it is. Raises `UserError` for data and settings that do
    not go together, and an `out` with other contents.
    """
    kind, folder = method(name), Path(out)
    data = open_to_train(source, progress)
    if target_width(data.source) is not None:
        raise OptionError(
            f"{name} rebuilds its input, and this source has targets beside it", "leave --hook-out or --targets out"
        )
    if isinstance(data.table, CapturedTable):
        raise OptionError(f"{name} is fitted on one capture alone, and has no use for a second", "leave --pair out")
    table = representative(data.table)
    complete = completed(kind, table, settings)
    about = json.loads(json.dumps(data.description))
    decides = {"architecture": name, "config": asdict(complete), **data_of(about)}
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    if _holds(folder, key):
        return FittedBaseline(folder, native.read_config(folder)["n_features"], 0, 0.0)
    started = time.perf_counter()
    found = kind.fit(table, complete, progress)
    seconds = time.perf_counter() - started
    sae = autoencoder(kind, found, complete)
    training: dict[str, Any] = {
        "run_key": key,
        "config": {"architecture": name, **asdict(complete)},
        "seed": getattr(complete, "seed", None),
        "data_sha256": about.get("data_sha256"),
        "held_out": about.get("held_out"),
        "source": about,
        "n_rows": data.table.n_rows,
        "n_fitted_rows": found.n_rows,
    }
    native.save(sae, folder, {"training": training})
    return FittedBaseline(folder, sae.n_features, found.n_rows, seconds)


def _holds(folder: Path, key: str) -> bool:
    """Whether the folder holds this very fit; refuses any other contents."""
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} is a file; a checkpoint needs a folder", "choose another --out")
    inside = {path.name for path in folder.iterdir() if not atomic.is_temporary(path)} if folder.is_dir() else set()
    if native.CONFIG_NAME in inside:
        if (native.read_config(folder).get("training") or {}).get("run_key") == key:
            return True
        raise OptionError(
            f"{folder} holds a checkpoint with other settings or data", "choose another --out, or remove that folder"
        )
    if inside - {native.WEIGHTS_NAME}:
        raise StorageError(f"{folder} holds other files", "choose an empty or a new folder with --out")
    return False
