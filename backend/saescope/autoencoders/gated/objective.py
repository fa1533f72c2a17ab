"""Gated (Rajamanoharan et al. 2024, "Improving dictionary learning with gated sparse autoencoders").

    loss = [sum (x - x_hat)^2 + l1 sum_j w_j max(g_j, 0) + sum (x - x_gate)^2] / d_in      (means over the batch)

g are the gates' pre-activations and x_gate = max(g, 0) W_dec + b_dec: the auxiliary term keeps the gates, which get no
gradient from the first, to features that reconstruct. w_j is the norm of atom j, or 1. The penalty shrinks the gates
only, so magnitudes need no refit.

In the paper the auxiliary term leaves the decoder as it is (`gate_decoder` held). Atoms that begin small must learn
from it as well, as in SAELens: gates would else have to make up for what the atoms still lack, and features die of it.
(MNIST, 512 features, 1,500 steps, target L0 8: 16 % dead with the decoder held, 0.8 % with one that learns.)
"""

from __future__ import annotations

from typing import Never

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders.gated import GatedSettings
from saescope.autoencoders.gated.module import GatedAutoencoder, GatedConfig
from saescope.autoencoders.objectives import sparse_codes
from saescope.autoencoders.objectives.linear import LinearObjective, l1_weights, make_atoms_unit
from saescope.autoencoders.objectives.protocol import StepInputs, StepLoss, warmed


class GatedObjective(LinearObjective[GatedAutoencoder, GatedSettings[Never]]):
    """See the module."""

    n_reconstructions = 2

    def new_model(self, d_in: int) -> GatedAutoencoder:
        return GatedAutoencoder(GatedConfig(**self.fields(d_in)))

    def bias_parameters(self, model: GatedAutoencoder) -> list[Tensor]:
        return [model.b_gate, model.b_mag]

    def restart(
        self, model: GatedAutoencoder, features: Int64[Tensor, " dead"], inputs: Float[Tensor, "row d_in"], rate: float
    ) -> list[Tensor]:
        model.r_mag[features] = 0.0
        model.b_mag[features] = self.resampled_bias
        return [model.r_mag, model.b_mag, *super().restart(model, features, inputs, rate)]

    def finish(self, model: GatedAutoencoder, sample: Float[Tensor, "batch d_in"]) -> None:
        """Moves the atoms' norms into the encoder."""
        make_atoms_unit(model, model.b_mag)

    def loss(self, model: GatedAutoencoder, inputs: StepInputs) -> StepLoss:
        x, n_batch = inputs.x, inputs.x.shape[0]
        u = functional.linear(model.centred(x), model.encoder_rows)
        open_gates = u.detach() > -model.b_gate.detach()
        learns = self.own.gate_decoder == "learns"
        gate_W_dec, gate_b_dec = (t if learns else t.detach() for t in (model.W_dec, model.b_dec))
        weights = l1_weights(model, self.own)
        if sparse_codes.pays(lambda: float(open_gates.sum()) / u.numel(), u):
            entries = sparse_codes.entries_of_mask(open_gates)
            at = sparse_codes.pre_activations_at(entries, u.detach(), model.centred(x), model.encoder_rows, None)
            gates = torch.relu(at + sparse_codes.at_features(entries, model.b_gate))
            scale, shift = (sparse_codes.at_features(entries, t) for t in (torch.exp(model.r_mag), model.b_mag))
            values = torch.relu(at * scale + shift)
            decoded = sparse_codes.decode(entries, values, model.W_dec) + model.b_dec
            decoded_gates = sparse_codes.decode(entries, gates, gate_W_dec) + gate_b_dec
            penalty = (gates if weights is None else gates * sparse_codes.at_features(entries, weights)).sum()
            firing = torch.bincount(entries.features, weights=(values.detach() > 0).float(), minlength=u.shape[1])
        else:
            gates = torch.relu(u + model.b_gate)
            values = torch.where(open_gates, torch.relu(u * torch.exp(model.r_mag) + model.b_mag), 0.0)
            decoded = model.decode(values)
            decoded_gates = torch.addmm(gate_b_dec, gates, gate_W_dec)
            penalty = (gates if weights is None else gates * weights).sum()
            firing = (values.detach() > 0).sum(0)
        squared = (inputs.target - model.restore(x, decoded)).square().sum() / n_batch
        auxiliary = (inputs.target - model.restore(x, decoded_gates)).square().sum() / n_batch
        penalty = penalty / n_batch
        strength = inputs.sparsity * warmed(self.own.l1_warmup, self.run.steps, inputs.step)
        total = (squared + strength * penalty + auxiliary) / model.d_out
        terms = {"gate_l1": penalty.detach(), "auxiliary": auxiliary.detach()}
        return StepLoss(total, squared.detach(), firing.long(), terms)
