"""A variational autoencoder (Kingma & Welling 2014): a distribution of codes for each input, and a prior."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.layered import DenseSettings
from saescope.autoencoders.settings.run import Fraction, NotNegative, Positive, RunSettings
from saescope.options import Open, flag
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class VariationalSettings(DenseSettings[Open]):
    """Of a variational autoencoder. `--loss bce` makes its output Bernoulli, `mse` Gaussian."""

    swept = "beta"

    beta: NotNegative = field(default=1.0, metadata=flag(metavar="BETA"))
    """Weight of the divergence from the prior in the loss; 1 for the bound on the likelihood."""
    beta_warmup: Fraction = 0.2
    """Fraction of the steps over which the weight of the divergence rises linearly from 0."""
    free_bits: NotNegative = field(default=0.0, metadata=flag(metavar="NATS"))
    """Divergence per unit, its mean over a batch, below which it costs no less."""
    output_variance: Positive | None = field(
        default=None, metadata=flag(metavar="V", default="learned, one for all dimensions")
    )
    """`mse`: variance of the Gaussian output, in the space of training."""
    binarise: bool = False
    """Whether each value in [0, 1] is drawn anew as 0 or 1, with itself as the probability, in every step (dynamic
    binarisation): input and target of a Bernoulli output."""

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        if self.loss == "psnr":
            raise OptionError(
                "--loss psnr is no likelihood, and a variational autoencoder is trained by one", "use --loss mse or bce"
            )
        if self.loss == "bce" and self.output_variance is not None:
            raise OptionError("--output-variance is a Gaussian's, but with --loss bce the output is Bernoulli")
        if self.binarise and self.loss != "bce":
            raise OptionError(
                "--binarise draws values from {0, 1}, which a Gaussian output is not for", "add --loss bce"
            )
        if self.binarise and run.corruption != "none":
            raise OptionError("--binarise and --corruption both say what the inputs are", "leave one out")
        if run.input_transform == "zca":
            raise OptionError(
                "--input-transform zca would give the output another variance in every direction", "use scale or none"
            )


ARCHITECTURE = Architecture(
    "variational",
    settings=VariationalSettings,
    config_at=f"{__name__}.module:VariationalConfig",
    module_at=f"{__name__}.module:VariationalAutoencoder",
    objective_at=f"{__name__}.objective:VariationalObjective",
    constraint="codes are noisy, and telling them from the prior costs: + beta KL(N(mu, diag sigma^2) || N(0, I))",
)
