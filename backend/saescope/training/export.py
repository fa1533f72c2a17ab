"""From the space of training to a checkpoint that takes raw activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch

from saescope.autoencoders.folding import WithNoiseLevel
from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.formats import native
from saescope.training.input_transform import InputTransform

AnyAutoencoder = TypeVar("AnyAutoencoder", bound=Autoencoder)


def folded(
    model: AnyAutoencoder, transform: InputTransform, target_transform: InputTransform | None = None
) -> AnyAutoencoder:
    """The same SAE for raw activations: equal codes, reconstructions back in raw units.

    `target_transform` is that of the target, where it is not the input's.
    """
    result = type(model)(model.config.exported())
    inputs = WithNoiseLevel(transform) if model.config.noise_input else transform
    tensors = model.folded_tensors(inputs, target_transform or transform)
    result.load_tensors(tensors)
    return result


def write_checkpoint(
    model: Autoencoder,
    transform: InputTransform,
    folder: Path,
    training: dict[str, Any],
    target_transform: InputTransform | None = None,
) -> None:
    """Folds and saves in the native format; `training` is recorded in cfg.json."""
    whitening = None
    judged_in = target_transform or transform
    if judged_in.matrix is not None:
        whitening = native.Whitening(judged_in.mean.to(torch.float32), judged_in.matrix.to(torch.float32))
    native.save(folded(model, transform, target_transform), folder, {"training": training}, whitening=whitening)
