"""Training objectives: one architecture per file."""

from saescope.training.objectives.protocol import DataSize, Objective, StepInputs, StepLoss
from saescope.training.objectives.registry import objective, objectives, register

__all__ = ["DataSize", "Objective", "StepInputs", "StepLoss", "objective", "objectives", "register"]
