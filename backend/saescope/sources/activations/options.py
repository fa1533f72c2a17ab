"""What a user can say about cached activations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from saescope.options import flag
from saescope.sources.images.options import ArrayOptions


@dataclass(frozen=True, kw_only=True)
class ActivationOptions(ArrayOptions):
    """Activations from a file, [item, d_in] or [item, position, d_in]."""

    activations: str = field(metadata=flag(metavar="PATH"))
    """Cached activations as .npy, .npz, .safetensors, a torch file, Parquet or Arrow, or a folder of such shards."""
    targets: str | None = field(default=None, metadata=flag(metavar="PATH"))
    """A second file of as many items (and positions) with each one's target, for transcoders."""

    kind: ClassVar[str] = "activations"
    data: ClassVar[str] = "activations"
    called: ClassVar[str] = "the source is a file of activations"
    concern: ClassVar[str] = "cached activations"
    foreign: ClassVar[dict[str, tuple[str, str]]] = {
        "model": (
            "activations and a model are given; cached activations need no model",
            "leave --model out, or give --texts or --images",
        )
    }
