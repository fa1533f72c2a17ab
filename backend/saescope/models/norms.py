"""LayerNorm and RMSNorm of any class, by what they do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saescope.store.errors import CheckpointError


@dataclass(frozen=True)
class Norm:
    """gain * n(x) + bias, n(x) = x / sqrt(mean(x^2) + eps), with x - mean(x) in place of x where `centres`."""

    centres: bool
    gain: Float[Tensor, " width"]
    """Float32, as it multiplies: Gemma's 1 + weight."""
    bias: Float[Tensor, " width"] | None
    eps: float

    def normalised(self, x: Float[Tensor, "*row width"]) -> Float[Tensor, "*row width"]:
        """n(x)."""
        x = x - x.mean(-1, keepdim=True) if self.centres else x
        return x / torch.sqrt(x.square().mean(-1, keepdim=True) + self.eps)

    def scaled(self, normalised: Float[Tensor, "*row width"]) -> Float[Tensor, "*row width"]:
        """gain * normalised + bias."""
        scaled = normalised * self.gain.to(normalised.device)
        return scaled if self.bias is None else scaled + self.bias.to(normalised.device)


@torch.no_grad()
def measured_norm(norm: nn.Module, width: int, subject: str) -> Norm:
    """What a norm does, read off what it makes of two vectors in float32: classes differ in what they store (Gemma
    keeps gain - 1). Raises `CheckpointError` for one that is neither LayerNorm nor RMSNorm."""
    stored = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in norm.named_parameters()}
    eps = float(getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", None) or 0.0)

    def run(x: Tensor) -> Tensor:
        return torch.func.functional_call(norm, stored, (x[None, None],))[0, 0].float()

    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (width,), generator=generator) * 2.0 - 1.0
    probe, other = signs * (1 + torch.rand(width, generator=generator)), torch.randn(width, generator=generator)
    centres = bool(torch.allclose(run(probe), run(probe + 1), atol=1e-4, rtol=1e-4))
    bias = (run(probe) + run(-probe)) / 2
    plain = Norm(centres, torch.ones(width), None, eps)
    gain = (run(probe) - bias) / plain.normalised(probe)
    expected = gain * plain.normalised(other) + bias
    scale = float(run(other).abs().max())
    if not torch.allclose(run(other), expected, atol=1e-4 * max(scale, 1e-6), rtol=1e-3):
        raise CheckpointError(f"{subject} ({type(norm).__name__}) is neither LayerNorm nor RMSNorm")
    return Norm(centres, gain, bias if bool(bias.abs().max() > 1e-7) else None, eps)
