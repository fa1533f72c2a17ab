"""How the residual stream becomes logits: the final norm, then a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saescope.models.families import find_blocks
from saescope.models.norms import measured_norm
from saescope.store.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NORMS = ("norm", "ln_f", "norm_f", "final_layer_norm", "final_layernorm", "ln_final", "layer_norm")


@dataclass(frozen=True)
class Unembedding:
    """logits = scale * (W_U n(x) + logit_bias), n(x) = gain * x / sqrt(mean(x^2) + eps) + bias, with x - mean(x) in
    place of x where `centres`; then softcap * tanh(logits / softcap) where there is a softcap."""

    norm: Literal["layer", "rms"]
    gain: Float[Tensor, " d_model"]
    """Float32, as it multiplies: Gemma's 1 + weight."""
    bias: Float[Tensor, " d_model"] | None
    eps: float
    weight: Float[Tensor, "vocab d_model"]
    """W_U, one row per token, in the model's dtype and on its device; shares the model's memory."""
    logit_bias: Float[Tensor, " vocab"] | None
    is_tied: bool
    """Whether W_U is the token embedding."""
    softcap: float | None = None
    scale: float = 1.0

    @property
    def centres(self) -> bool:
        """Whether the norm subtracts the mean over the width (LayerNorm), so that it has no effect on logits."""
        return self.norm == "layer"

    def through_norm(self, directions: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """Directions of the residual stream as the unembedding sees them, but for the norm's division by a length:
        centred where the norm centres, times its gain."""
        wide = directions.to(self.gain.device, torch.float32)
        if self.centres:
            wide = wide - wide.mean(-1, keepdim=True)
        return wide * self.gain


def find_unembedding(model: PreTrainedModel) -> Unembedding:
    """The final norm and unembedding of a causal language model. Raises `CheckpointError` for a model without them."""
    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    blocks = find_blocks(model)
    body = model.get_submodule(blocks.path.rpartition(".")[0])
    norm = next((getattr(body, name) for name in _NORMS if isinstance(getattr(body, name, None), nn.Module)), None)
    if not isinstance(weight, Tensor) or norm is None or weight.shape[1] != model.config.get_text_config().hidden_size:
        raise CheckpointError(
            f"a {type(model).__name__} has no final norm and unembedding, so features have no logit effects"
        )
    found = measured_norm(norm, int(weight.shape[1]), f"the final norm of a {type(model).__name__}")
    config = model.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    embedding = model.get_input_embeddings()
    head_bias = getattr(head, "bias", None)
    return Unembedding(
        norm="layer" if found.centres else "rms",
        gain=found.gain.to(weight.device),
        bias=None if found.bias is None else found.bias.to(weight.device),
        eps=found.eps,
        weight=weight.detach(),
        logit_bias=None if head_bias is None else head_bias.detach(),
        is_tied=getattr(embedding, "weight", None) is weight,
        softcap=getattr(config, "final_logit_softcapping", None),
        scale=float(scale),
    )
