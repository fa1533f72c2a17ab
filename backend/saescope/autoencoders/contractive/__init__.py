"""A code that hardly moves when the input does: the Jacobian of the encoder is penalised (Rifai et al. 2011)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.layered import DenseSettings
from saescope.autoencoders.settings.run import DataSize, NotNegative, RunSettings
from saescope.options import OPEN, Open, filled
from saescope.store.errors import OptionError

SHARE = 0.004
"""Default contraction, over d_in^2 / n_features: in the space of training all of the data weighs about d_in, and a unit
that follows its spread with slope s adds about s^2 / d_in to the squared norm."""


@dataclass(frozen=True)
class ContractiveSettings(DenseSettings[Open]):
    """How much the Jacobian costs."""

    swept = "contraction"

    contraction: NotNegative | Open = OPEN
    """Weight of the squared Frobenius norm of the encoder's Jacobian beside the reconstruction's loss, per position, in
    the space of training."""

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        if self.batch_norm:
            raise OptionError(
                f"{architecture} penalises how a code follows its input; with --batch-norm it follows the whole batch",
                "leave --batch-norm out",
            )

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        run, own = super().with_own_defaults(run, size)
        return run, filled(own, contraction=SHARE * size.d_in**2 / run.n_features)


ARCHITECTURE = Architecture(
    "contractive",
    settings=ContractiveSettings,
    config_at=f"{__name__}.module:ContractiveConfig",
    module_at=f"{__name__}.module:ContractiveAutoencoder",
    objective_at=f"{__name__}.objective:ContractiveObjective",
    constraint="a code that follows the input costs: + contraction ||df/dx||_F^2",
)
