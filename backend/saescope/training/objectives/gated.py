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

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders.gated import GatedAutoencoder, GatedConfig
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.training import sparse
from saescope.training.config import Recipe, TrainingConfig
from saescope.training.objectives.defaults import with_norms_for_l1, with_shared_defaults
from saescope.training.objectives.protocol import DataSize, Objective, StepInputs, StepLoss, make_atoms_unit
from saescope.training.objectives.registry import register
from saescope.training.schedule import warmed


@register("gated")
class GatedObjective(Objective):
    """See the module."""

    sparsity = "l1"
    errors_in_loss = 2
    own_settings = frozenset(
        (
            "l1_weighting",
            "gate_decoder",
            "l1_warmup",
        )
    )

    @classmethod
    def resolve(cls, config: TrainingConfig, size: DataSize) -> Recipe:
        own = config.filled(
            revival="resample",
            l1_warmup=0.0 if config.target_l0 else 0.3,
        )
        own = with_norms_for_l1(own)
        return with_shared_defaults(own.filled(gate_decoder="held" if own.decoder_norm == "unit" else "learns"), size)

    def new_model(self, d_in: int) -> LinearAutoencoder:
        return GatedAutoencoder(GatedConfig(**self.fields(d_in)))

    def quick(self, model: LinearAutoencoder) -> list[Tensor]:
        assert isinstance(model, GatedAutoencoder)
        return [model.b_gate, model.b_mag]

    def restart(
        self, model: LinearAutoencoder, features: Int64[Tensor, " dead"], inputs: Float[Tensor, "row d_in"], rate: float
    ) -> list[Tensor]:
        assert isinstance(model, GatedAutoencoder)
        model.r_mag[features] = 0.0
        model.b_mag[features] = self.resampled_bias
        return [model.r_mag, model.b_mag, *super().restart(model, features, inputs, rate)]

    def finish(self, model: LinearAutoencoder, sample: Float[Tensor, "batch d_in"]) -> None:
        """Moves the atoms' norms into the encoder."""
        assert isinstance(model, GatedAutoencoder)
        make_atoms_unit(model, model.b_mag)

    def loss(self, model: LinearAutoencoder, inputs: StepInputs) -> StepLoss:
        assert isinstance(model, GatedAutoencoder)
        x, n_batch = inputs.x, inputs.x.shape[0]
        u = functional.linear(model.centred(x), model.encoder_rows)
        open_gates = u.detach() > -model.b_gate.detach()
        learns = self.config.gate_decoder == "learns"
        gate_W_dec, gate_b_dec = (t if learns else t.detach() for t in (model.W_dec, model.b_dec))
        weights = self.l1_weights(model)
        if sparse.pays(float(open_gates.sum()) / u.numel(), x.device):
            entries = sparse.entries_of_mask(open_gates)
            at = sparse.pre_activations_at(entries, u.detach(), model.centred(x), model.encoder_rows, None)
            gates = torch.relu(at + sparse.at_features(entries, model.b_gate))
            scale, shift = (sparse.at_features(entries, t) for t in (torch.exp(model.r_mag), model.b_mag))
            values = torch.relu(at * scale + shift)
            decoded = sparse.decode(entries, values, model.W_dec) + model.b_dec
            decoded_gates = sparse.decode(entries, gates, gate_W_dec) + gate_b_dec
            penalty = (gates if weights is None else gates * sparse.at_features(entries, weights)).sum()
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
        strength = inputs.sparsity * warmed(self.config, inputs.step)
        total = (squared + strength * penalty + auxiliary) / model.d_out
        terms = {"gate_l1": penalty.detach(), "auxiliary": auxiliary.detach()}
        return StepLoss(total, squared.detach(), firing.long(), terms)
