"""What entries of a sweep are called, and what its values are of."""

from __future__ import annotations

from typing import Any

import pytest

from saescope.sources import SourceOptions
from saescope.store.errors import UserError
from saescope.workflows.sweep import SweepPlan, _configs, entry_name


@pytest.mark.parametrize(
    ("architecture", "by_target", "value", "name", "field"),
    [
        ("topk", False, 16.0, "m-topk-k16", "k"),
        ("matryoshka", False, 16.0, "m-matryoshka-k16", "k"),
        ("relu", False, 0.5, "m-relu-l1-0.5", "l1"),
        ("gated", False, 2.0, "m-gated-l1-2", "l1"),
        ("jumprelu", False, 0.25, "m-jumprelu-l0-weight-0.25", "l0_weight"),
        ("kl", False, 0.05, "m-kl-rho-0.05", "rho"),
        ("jumprelu", True, 16.0, "m-jumprelu-target-l0-16", "target_l0"),
        ("topk", True, 16.0, "m-topk-target-l0-16", "target_l0"),
    ],
)
def test_entries_are_named_after_their_setting(
    architecture: str, by_target: bool, value: float, name: str, field: str
) -> None:
    training: dict[str, Any] = {"architecture": architecture, "n_features": 64}
    plan = SweepPlan("m", SourceOptions(images="embedded:digits"), training, [value], by_target=by_target)
    [(sae_id, given, config)] = _configs(plan)
    assert (sae_id, given) == (name, value)
    assert config.sparsity == (field, value)
    assert entry_name("m", architecture, field, value) == name


def test_values_given_twice_are_refused() -> None:
    training: dict[str, Any] = {"architecture": "relu", "n_features": 64}
    plan = SweepPlan("m", SourceOptions(images="embedded:digits"), training, [8, 8.0], by_target=True)
    with pytest.raises(UserError, match="m-relu-target-l0-8"):
        _configs(plan)
