"""Training: objectives, the trainer, revival of dead features, sweeps, and exact resuming."""

from saescope.training.config import TrainingConfig
from saescope.training.trainer import train, train_sweep

__all__ = ["TrainingConfig", "train", "train_sweep"]
