"""What the demo trains: two sources, two architectures, four sparsities each.

Fewer steps than training takes by itself, so that all is there after about two minutes; benchmarks/demo.py prints what
the SAEs come to.
"""

from __future__ import annotations

from typing import Any

from saescope.cli.sweep_runs import SweepPlan
from saescope.sources import SourceOptions

DIGITS = SourceOptions(images="embedded:digits")
PHOTOS = SourceOptions(images="embedded:photos", patch=8, image_mode="colour")

ON_DIGITS: dict[str, Any] = {"n_features": 192}
ON_PHOTOS: dict[str, Any] = {"n_features": 256, "steps": 1000, "input_transform": "zca", "zca_epsilon": 1.0}
"""Whitened half way: fully, noise weighs as much as edges, and the reconstruction in pixels suffers."""


def plans() -> list[SweepPlan]:
    """The demo's sweeps, in the order in which they are trained."""
    return [
        SweepPlan("digits", DIGITS, {"architecture": "topk", "steps": 1000, **ON_DIGITS}, (2, 4, 8, 16)),
        SweepPlan("digits", DIGITS, {"architecture": "relu", "steps": 3000, **ON_DIGITS}, (0.5, 1, 2, 4)),
        SweepPlan("photos", PHOTOS, {"architecture": "topk", **ON_PHOTOS}, (4, 8, 16, 32)),
        SweepPlan("photos", PHOTOS, {"architecture": "relu", **ON_PHOTOS}, (1, 2, 4, 8)),
    ]
