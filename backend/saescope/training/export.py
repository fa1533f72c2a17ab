"""From the space of training to a checkpoint that takes raw activations."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.checkpoints import native
from saescope.training.input_transform import InputTransform


def folded(model: LinearAutoencoder, transform: InputTransform) -> LinearAutoencoder:
    """The same SAE for raw activations: equal codes, reconstructions back in raw units.

    What an architecture adds besides the two matrices and biases (thresholds) lives beside the pre-activations, which
    do not change, and is kept. Tied weights come out untied, since the two matrices fold differently.
    """
    config = model.config
    if config.tied:
        config = dataclasses.replace(config, tied=False)
    result = copy.deepcopy(model).cpu() if config is model.config else type(model)(config)
    tensors = {name: t.detach().cpu() for name, t in model.tensors().items()}
    W_enc, shift = transform.fold_encoder(tensors["W_enc"], subtracts_b_dec=config.apply_b_dec_to_input)
    biases = {name: bias.float() for name, bias in model.biases_after_shift(tensors, shift).items()}
    W_dec, b_dec = transform.fold_decoder(tensors["W_dec"], tensors["b_dec"])
    result.load_tensors(tensors | biases | {"W_enc": W_enc, "W_dec": W_dec, "b_dec": b_dec})
    return result


def write_checkpoint(
    model: LinearAutoencoder, transform: InputTransform, folder: Path, training: dict[str, Any]
) -> None:
    """Folds and saves in the native format; `training` is recorded in cfg.json."""
    whitening = None
    if transform.matrix is not None:
        whitening = native.Whitening(transform.mean.to(torch.float32), transform.matrix.to(torch.float32))
    native.save(folded(model, transform), folder, {"training": training}, whitening=whitening)
