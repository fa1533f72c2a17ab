"""Checkpoints: one file format per file, none of which executes code on loading."""

from saescope.checkpoints.formats.native import read_config, weights_sha256
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.formats.registry import known_formats
from saescope.checkpoints.loading import CheckpointWarning, RecordedPlace, load_checkpoint, load_sae, recorded_place

__all__ = [
    "CheckpointFormat",
    "CheckpointWarning",
    "Loaded",
    "RecordedPlace",
    "known_formats",
    "load_checkpoint",
    "load_sae",
    "read_config",
    "recorded_place",
    "weights_sha256",
]
