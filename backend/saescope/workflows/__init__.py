"""What the commands do, as functions: training, sweeping, building and evaluating, from a source to a store.

They take the words of the command line (`SourceOptions`, `TrainingConfig`, `BuildOptions`) and see to it that an SAE is
judged by what its training did not see.
"""

from saescope.workflows.baseline import FittedBaseline, baseline
from saescope.workflows.build import Built, build
from saescope.workflows.demo import demo
from saescope.workflows.denoise import Denoised, denoise
from saescope.workflows.evaluate import evaluate
from saescope.workflows.notes import WorkflowNote
from saescope.workflows.sweep import SweepEntry, SweepPlan, sweep
from saescope.workflows.train import Trained, train

__all__ = [
    "Built",
    "Denoised",
    "FittedBaseline",
    "SweepEntry",
    "SweepPlan",
    "Trained",
    "WorkflowNote",
    "baseline",
    "build",
    "demo",
    "denoise",
    "evaluate",
    "sweep",
    "train",
]
