"""What decides a training run: the settings of all runs, and those of its architecture."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Never

from saescope.autoencoders.objectives.protocol import Objective
from saescope.autoencoders.registry import architecture, settings_of, trainable
from saescope.autoencoders.settings.architecture import ArchitectureSettings
from saescope.autoencoders.settings.corruption import CorruptionSettings
from saescope.autoencoders.settings.run import DataSize, RunSettings
from saescope.options.fields import flag_of
from saescope.options.flags import owners_in_words
from saescope.store.errors import OptionError


@dataclass(frozen=True, init=False)
class TrainingConfig:
    """Settings of one run. The same config, data and device kind give the same weights, bit for bit.

    `TrainingConfig(architecture="topk", n_features=1024, k=16, steps=2000)`: further settings are the fields of
    `RunSettings` and of the architecture's settings, one of which, or `target_l0`, decides how sparse the code is.
    """

    architecture: str
    """Name of the architecture: relu, kl, topk, ..."""
    run: RunSettings[None]
    """What every run takes."""
    own: ArchitectureSettings[None]
    """What the architecture takes."""

    def __init__(self, architecture: str, n_features: int, **settings: Any) -> None:
        """`OptionError` for a value that is none of a setting's, settings of other architectures, and settings that do
        not go together. What is None, or the value that holds where a setting is left out, counts as left out."""
        kind = settings_of(architecture)
        _check_sparsity(architecture, kind, settings)
        names, own_names = _names(RunSettings), _names(kind)
        for name, value in settings.items():
            if name not in names and name not in own_names:
                _check_foreign(architecture, name, value)
        given = {name: value for name, value in settings.items() if value is not None}
        run: RunSettings[None] = RunSettings(n_features, **{n: v for n, v in given.items() if n in names})
        own = kind(**{n: v for n, v in given.items() if n in own_names})
        own.check(architecture, run)
        for name, value in (("architecture", architecture), ("run", run), ("own", own)):
            object.__setattr__(self, name, value)

    @property
    def n_features(self) -> int:
        """Width of the code."""
        return self.run.n_features

    @property
    def sparsity(self) -> tuple[str, float]:
        """Name and value of the setting that decides how sparse the code is: the target L0, where there is one, or the
        width where nothing else does."""
        return _sparsity(self.run, self.own)

    def resolve(self, size: DataSize) -> ResolvedConfig:
        """With what is left open filled in, by the architecture and the size of the data."""
        return ResolvedConfig(self.architecture, *self.own.resolve(self.run, size))


@dataclass(frozen=True)
class ResolvedConfig:
    """What a run goes by: nothing is left open."""

    architecture: str
    run: RunSettings[Never]
    own: ArchitectureSettings[Never]

    @property
    def sparsity(self) -> tuple[str, float]:
        """Name and value of the setting that decides how sparse the code is: the target L0, where there is one, or the
        width where nothing else does."""
        return _sparsity(self.run, self.own)

    def objective(self, d_target: int | None = None) -> Objective[Any, Any]:
        """How it is trained, for a transcoder of targets of width `d_target` or an SAE."""
        return architecture(self.architecture).objective(self.run, self.own, d_target)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, flat. Settings that the architecture does not have hold what stands for nothing in records."""
        unused = {**ABSENT, "resample_every": max(1, self.run.steps // 40)}
        return {"architecture": self.architecture, **unused, **asdict(self.run), **asdict(self.own)}

    def deciding(self) -> dict[str, Any]:
        """What of `to_dict` makes a run another one."""
        return {name: v for name, v in self.to_dict().items() if name not in LATER or LATER[name] != v}


LATER: dict[str, Any] = {
    "first_atoms": "random",
    **{field.name: field.default for field in fields(CorruptionSettings)},
}
"""Settings that came after runs had been kept, as those runs had them: keys of older runs and sweeps stay what they
are."""
ABSENT: dict[str, Any] = {
    "k": None,
    "l1": None,
    "l0_weight": None,
    "rho": None,
    "recipe": None,
    "decoder_norm": "free",
    "first_norm": 1.0,
    "first_b_dec": "mean",
    "first_atoms": "random",
    "tied": False,
    "apply_b_dec_to_input": False,
    "skip": False,
    "l1_reduction": "sum",
    "l1_weighting": "none",
    "gate_decoder": "held",
    "l1_warmup": 0.0,
    "refit": 0.0,
    "p_end": 1.0,
    "p_from": 0.3,
    "l0_penalty": "step",
    "bandwidth": 1.0,
    "initial_threshold": 0.0,
    "tanh_scale": 1.0,
    "pre_activation_weight": 0.0,
    "group_sizes": None,
    "encoder_widths": (),
    "decoder_widths": (),
    "kl_weight": 0.0,
    "aux_weight": 0.0,
    "aux_k": 1,
    "resample_until": 0.85,
}
"""What records of runs hold for settings that an architecture does not have. They are part of a run's key: runs are
taken up by theirs, so this list stays as it is, and settings of new architectures do not join it."""


def _sparsity(run: RunSettings[Any], own: ArchitectureSettings[Any]) -> tuple[str, float]:
    if run.target_l0 is not None:
        return "target_l0", run.target_l0
    name = own.sparsity_setting
    return ("n_features", run.n_features) if name is None else (name, getattr(own, name))


def _names(settings: type) -> set[str]:
    return {field.name for field in fields(settings)}


def _check_sparsity(architecture: str, kind: type[ArchitectureSettings[Any]], settings: dict[str, Any]) -> None:
    known = dict.fromkeys(name for each in trainable().values() for name in each.sparsity)
    given = [name for name in (*known, "target_l0") if settings.get(name) is not None]
    if given in [[name] for name in (*kind.sparsity, "target_l0")] and kind.sparsity:
        return
    if not kind.sparsity:
        if given:
            raise OptionError(
                f"{_flag(given[0])} is given, but nothing makes the code of {architecture} sparse",
                "leave it out; --n-features decides how much the code holds",
            )
        return
    got = " and ".join(map(_flag, given)) if given else "none"
    raise OptionError(
        f"{architecture} takes one sparsity setting, {' or '.join(map(_flag, kind.sparsity))}; {got} given",
        f"or say the L0 to arrive at, with {_flag('target_l0')}",
    )


def _check_foreign(architecture: str, name: str, value: Any) -> None:
    """Refuses a setting that the architecture does not have, if it says anything."""
    owners = {owner: field for owner, each in trainable().items() for field in fields(each) if field.name == name}
    if not owners:
        raise OptionError(f"there is no setting {name!r}", "the options of `saescope train --help` are the settings")
    if value is None or any(field.default is not MISSING and value == field.default for field in owners.values()):
        return
    first = next(iter(owners))
    names = flag_of(trainable()[first], owners[first]).names.partition("/")[0]
    whose = owners_in_words(list(owners), list(trainable()))
    raise OptionError(f"{names} is a setting of {whose}; {architecture} has no use for it")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
