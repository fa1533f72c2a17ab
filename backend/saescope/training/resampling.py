"""Resampling of dead features (after Bricken et al. 2023): they start again on what is reconstructed badly.

Positions are drawn with probability proportional to their squared error. A resampled atom is the direction of such an
error (the paper takes the input's, which repeats what living features hold where one direction dominates the data),
its encoder row the same direction (a transcoder's: that of the drawn input, centred), with a norm and a bias that the
objective chooses; the optimiser's moments of these slices are cleared, the second ones if the objective says so.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.objectives.linear import LinearObjective
from saescope.training.adam import Adam


def resample(
    model: LinearAutoencoder,
    optimiser: Adam,
    dead: Int64[Tensor, " dead"],
    inputs: Float[Tensor, "batch d_in"],
    generator: torch.Generator,
    objective: LinearObjective[Any, Any],
    targets: Float[Tensor, "batch d_out"] | None = None,
) -> None:
    """Gives the features `dead` a new start from `inputs` and, where there are any, `targets`, both in their spaces of
    training."""
    with torch.no_grad():
        output = model(inputs)
        error = (inputs if targets is None else targets) - output.reconstruction
        loss = error.square().sum(1).double().cpu()
        if not float(loss.sum()) > 0:
            return
        drawn = torch.multinomial(loss, len(dead), replacement=len(dead) > len(loss), generator=generator)
        chosen = drawn.to(inputs.device)
        directions = unit_rows(error[chosen])
        read = directions
        if model.config.transcoder:
            x = inputs[:, : model.d_in]  # without the noise level, which it may be told
            read = unit_rows(x[chosen] - x.mean(0))
        living = torch.ones(model.n_features, dtype=torch.bool, device=dead.device)
        living[dead] = False
        norms = torch.linalg.vector_norm(model.encoder_rows, dim=1)
        typical = norms[living].mean() if bool(living.any()) else norms.mean()
        atom_norms = torch.linalg.vector_norm(model.W_dec, dim=1)
        atom_norm = atom_norms[living].mean() if bool(living.any()) else atom_norms.mean()
        model.W_dec[dead] = directions * atom_norm
        if not model.config.tied:
            model.encoder[dead] = 0.0
            model.encoder[dead, : model.d_in] = read * (objective.resampled_norm * typical)
        model.b_enc[dead] = objective.resampled_bias
        fires = (output.codes != 0).sum(0)[living]
        rate = float(fires.double().mean()) / len(inputs) if len(fires) else 1.0
        more = objective.restart(model, dead, inputs, rate)
        for parameter in (model.W_dec, model.encoder_rows, model.b_enc, *more):
            optimiser.restart_rows(parameter, dead, usual_steps=objective.resampled_steps_usual)


def unit_rows(rows: Float[Tensor, "row width"]) -> Float[Tensor, "row width"]:
    """Each row with norm 1; a row of zeros stays."""
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=1e-12)
