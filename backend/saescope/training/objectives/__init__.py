"""Training objectives: one architecture per file."""

from saescope.training.objectives.protocol import DataSize, GeneralObjective, Objective, StepInputs, StepLoss
from saescope.training.objectives.registry import objective, objectives, register

__all__ = ["DataSize", "GeneralObjective", "Objective", "StepInputs", "StepLoss", "objective", "objectives", "register"]
