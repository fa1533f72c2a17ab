"""Checkpoints: one file format per file, none of which executes code on loading."""

from saescope.checkpoints.formats import (
    CheckpointFormat,
    CheckpointWarning,
    Loaded,
    formats,
    load_checkpoint,
    load_sae,
)
from saescope.checkpoints.native import read_config, weights_sha256

__all__ = [
    "CheckpointFormat",
    "CheckpointWarning",
    "Loaded",
    "formats",
    "load_checkpoint",
    "load_sae",
    "read_config",
    "weights_sha256",
]
