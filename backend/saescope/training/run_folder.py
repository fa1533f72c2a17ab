"""A run's folder: what a finished run leaves, and the state from which a cut run goes on.

OUT/cfg.json, OUT/sae.safetensors    the checkpoint, folded; cfg.json is written last: with it the run is finished
OUT/training.parquet                 the training curve
OUT/state/run.safetensors            unfolded weights, optimiser, counters and curve: one file, replaced atomically
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saescope.checkpoints.formats import native
from saescope.store import atomic
from saescope.store.errors import CheckpointError, OptionError, StorageError
from saescope.store.format.safetensors import read_header
from saescope.training.config import ResolvedConfig
from saescope.training.curve import Curve
from saescope.training.export import write_checkpoint
from saescope.training.input_transform import InputTransform
from saescope.training.run import Run

STATE_VERSION = "3"


def run_key(config: ResolvedConfig, description: Mapping[str, Any]) -> str:
    """Hash of everything that decides a run's result: its resolved settings and its data."""
    decides = {"config": config.deciding(), **data_of(description)}
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def data_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """What of a source's description decides the rows that are trained on."""
    # A model's activations are decided by more than the data, streamed ones are shuffled in another way, and a
    # transcoder is decided by its targets too, as is what learns from a second capture by that.
    further = ("activations_key", "streamed", "targets_sha256", "pair_sha256")
    found = {name: description.get(name) for name in ("data_sha256", "held_out")}
    return found | {name: description[name] for name in further if name in description}


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, root: Path, config: ResolvedConfig, description: Mapping[str, Any]) -> None:
        self.root, self.config, self.description = root, config, dict(description)
        self.key = run_key(config, description)
        self._check()

    @property
    def _state(self) -> Path:
        return self.root / "state" / "run.safetensors"

    def finished(self) -> bool:
        """Whether this very run is complete."""
        return (self.root / native.CONFIG_NAME).is_file()

    def _check(self) -> None:
        """Refuses a file, a foreign folder and another run's folder; removes leftovers of cut writes."""
        if self.root.exists() and not self.root.is_dir():
            raise StorageError(f"{self.root} is a file; the run needs a folder", "choose another --out")
        if not self.root.is_dir():
            return
        for folder in (self.root, self._state.parent):
            for path in folder.iterdir() if folder.is_dir() else ():
                if atomic.is_temporary(path):
                    path.unlink(missing_ok=True)
        key = self._present_key()
        if key is None and any(path.name != "state" for path in self.root.iterdir()):
            known = {native.WEIGHTS_NAME, "training.parquet"}
            if not {p.name for p in self.root.iterdir() if p.name != "state"} <= known:
                raise StorageError(f"{self.root} holds other files", "choose an empty or a new folder with --out")
        if key is not None and key != self.key:
            raise OptionError(
                f"{self.root} holds a run with other settings or data", "choose another --out, or remove that folder"
            )

    def _present_key(self) -> str | None:
        """The key of the run in the folder, finished or not."""
        if (self.root / native.CONFIG_NAME).exists():
            training = native.read_config(self.root).get("training")
            return str(training.get("run_key")) if isinstance(training, dict) else "not a training run"
        if self._state.exists():
            return self._metadata().get("key")
        return None

    def _metadata(self) -> dict[str, str]:
        damaged = "remove that folder and start again"
        header = read_header(
            self._state, lambda message: CheckpointError(f"the training state is damaged: {message}", damaged)
        )
        return header.metadata

    @contextmanager
    def _state_tensors(self) -> Iterator[Callable[[str], dict[str, Tensor]]]:
        """Gives the tensors of the state whose names begin with a prefix, by the rest of their names.

        `CheckpointError` for a state of another version, and for one in which something is missing.
        """
        version = self._metadata().get("version")
        if version != STATE_VERSION:
            raise CheckpointError(
                f"{self._state} was written by another version of saescope: format {version}, expected {STATE_VERSION}",
                "remove that folder and start again",
            )
        try:
            with safe_open(self._state, framework="pt", device="cpu") as file:
                names = list(file.keys())
                yield lambda prefix: {
                    name.removeprefix(prefix): file.get_tensor(name) for name in names if name.startswith(prefix)
                }
        except (KeyError, ValueError, SafetensorError) as error:
            raise CheckpointError(
                f"the training state {self._state} is damaged: {error} is missing or wrong",
                "remove that folder and start again",
            ) from error

    def kept_transforms(self) -> tuple[InputTransform, InputTransform | None] | None:
        """The transforms of a cut run's inputs and targets, so that it goes on with the same bits."""
        if not self._state.exists():
            return None
        kind = self.config.run.input_transform
        with self._state_tensors() as tensors:
            targets = tensors("target_transform.")
            inputs = InputTransform.from_tensors(kind, tensors("transform."))
            return inputs, InputTransform.from_tensors(kind, targets) if targets else None

    def save_state(self, run: Run) -> None:
        """Everything that a resumed run needs."""
        tensors: dict[str, Tensor] = {"silent": run.silent}
        tensors |= {f"transform.{name}": t for name, t in run.data.transform.tensors().items()}
        if run.data.target_transform is not None:
            tensors |= {f"target_transform.{name}": t for name, t in run.data.target_transform.tensors().items()}
        tensors |= {f"model.{name}": t for name, t in run.model.state_dict().items()}
        tensors |= {f"adam.{name}": t for name, t in run.optimiser.tensors().items()}
        metadata = {
            "version": STATE_VERSION,
            "key": self.key,
            "step": str(run.step),
            "curve": json.dumps(run.curve.to_json()),
        }
        if run.l0_controller is not None:
            metadata["target"] = json.dumps(run.l0_controller.to_json())
        atomic.make_folder(self._state.parent)
        with atomic.replacing(self._state) as temporary:
            save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, temporary, metadata)

    def restore_state(self, run: Run) -> bool:
        """Puts a kept state into `run`; False where there is none."""
        if not self._state.exists():
            return False
        with self._state_tensors() as tensors, torch.no_grad():
            model, adam, metadata = tensors("model."), tensors("adam."), self._metadata()
            for name, tensor in run.model.state_dict().items():
                tensor.copy_(model[name])
            for name, moment in run.optimiser.tensors().items():
                moment.copy_(adam[name])
            run.silent.copy_(tensors("silent")[""])
            run.step = int(metadata["step"])
            if run.l0_controller is not None:
                run.l0_controller.restore(json.loads(metadata["target"]))
            run.curve = Curve.from_json(json.loads(metadata["curve"]), run.data.device)
        return True

    def finish(self, run: Run) -> None:
        """The final state, the curve and the checkpoint."""
        self.save_state(run)
        with atomic.replacing(self.root / "training.parquet") as temporary:
            pq.write_table(run.curve.table(), temporary, compression="zstd")
        run.finish()
        transform = run.data.transform
        training: dict[str, Any] = {
            "run_key": self.key,
            "config": self.config.to_dict(),
            "seed": self.config.run.seed,
            "data_sha256": self.description.get("data_sha256"),
            "held_out": self.description.get("held_out"),
            "source": self.description,
            "steps": run.step,
            "n_rows": run.data.table.n_rows,
            "n_examples": run.n_examples,
            "transform": {
                "kind": transform.kind,
                "scale": transform.scale,
                "zca_epsilon": self.config.run.zca_epsilon if transform.kind == "zca" else None,
            },
            "device": run.data.device.type,
            "processes": run.processes.size,
        }
        if run.data.target_transform is not None:
            training["transform"]["target_scale"] = run.data.target_transform.scale
        if run.l0_controller is not None:
            training["reached"] = run.l0_controller.reached()
        write_checkpoint(run.model, transform, self.root, training, run.data.target_transform)
