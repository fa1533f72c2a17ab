"""GroupMax: the features stand in k groups, and the largest pre-activation of each is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.linear import AuxkSettings
from saescope.autoencoders.settings.run import RunSettings
from saescope.options import Open
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class GroupmaxSettings(AuxkSettings[Open]):
    """k counts groups, all of one size."""

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        k = self.k or int(run.target_l0 or 1)
        if run.n_features % k:
            raise OptionError(
                f"{run.n_features} features do not divide into {k} groups of one size",
                "choose n_features as a multiple of k",
            )


ARCHITECTURE = Architecture(
    "groupmax",
    settings=GroupmaxSettings,
    config_at=f"{__name__}.module:GroupmaxConfig",
    module_at=f"{__name__}.module:GroupmaxAutoencoder",
    objective_at=f"{__name__}.objective:GroupmaxObjective",
    constraint="at most one feature of each of k groups fires: ||f_g||_0 <= 1",
)
