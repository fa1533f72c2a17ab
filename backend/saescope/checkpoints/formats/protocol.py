"""What a format of checkpoints is, and what reading a checkpoint gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.tensors.files import CheckpointFiles


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was read."""

    sae: Autoencoder
    """Takes raw activations; on the CPU, in evaluation mode, without gradients."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What its files say about where it belongs, JSON-ready: model, hook, layer, context_size, prepend_bos, ..."""
    notes: tuple[str, ...] = ()
    """What its reader should know, a sentence each."""
    format: str = ""
    """Name of the format that it was read as."""
    weights: tuple[Path, ...] = ()
    """The weights files that were looked into."""
    corrections: tuple[str, ...] = ()
    """Names of assumptions that changed what was read."""


@dataclass(frozen=True)
class CheckpointFormat:
    """One file format. None of its functions executes code from a checkpoint."""

    name: str
    recognise: Callable[[CheckpointFiles], bool]
    """Whether the files look like this format. Reads little and never raises."""
    load: Callable[[CheckpointFiles, Assumptions], Loaded]
    """The SAE, checked; `CheckpointError` with all faults at once."""
    last_resort: bool = False
    """Whether it is tried only where no other format fits."""
