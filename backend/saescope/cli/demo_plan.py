"""What the demo trains: two sources, two architectures, four sparsities each, in the time of a cup of tea.

benchmarks/demo.py prints what these come to.
"""

from __future__ import annotations

from saescope.cli.sweep_runs import SweepPlan
from saescope.sources import SourceOptions

DIGITS = SourceOptions(images="embedded:digits")
PHOTOS = SourceOptions(images="embedded:photos", patch=8, image_mode="colour")


def plans() -> list[SweepPlan]:
    """The demo's sweeps, in the order in which they are trained."""
    return [
        SweepPlan("digits", DIGITS, {"architecture": "topk", "n_features": 256}, (2, 4, 8, 16)),
        SweepPlan("digits", DIGITS, {"architecture": "relu", "n_features": 256}, (1.0, 2.0, 5.0, 10.0)),
        SweepPlan(
            "photos", PHOTOS, {"architecture": "topk", "n_features": 256, "input_transform": "zca"}, (4, 8, 16, 32)
        ),
        SweepPlan(
            "photos",
            PHOTOS,
            {"architecture": "relu", "n_features": 256, "input_transform": "zca"},
            (2.0, 4.0, 6.0, 8.0),
        ),
    ]
