"""Checkpoints: one file format per file, none of which executes code on loading."""

from saescope.checkpoints.formats.native import read_config, weights_sha256
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.formats.registry import known_formats
from saescope.checkpoints.loading import CheckpointWarning, load_checkpoint, load_sae

__all__ = [
    "CheckpointFormat",
    "CheckpointWarning",
    "Loaded",
    "known_formats",
    "load_checkpoint",
    "load_sae",
    "read_config",
    "weights_sha256",
]
