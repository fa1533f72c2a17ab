"""Bad combinations are refused on construction."""

from __future__ import annotations

from typing import Any

import pytest

from saescope.autoencoders.registry import trainable
from saescope.autoencoders.settings.run import DataSize
from saescope.cli.training_options import sparsity_settings
from saescope.store.errors import UserError
from saescope.training import TrainingConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "topkk", "k": 3}, "unknown architecture 'topkk'"),
        ({"n_features": 0}, "n_features is 0"),
        ({"k": 0}, "k is 0"),
        ({"k": 17}, "k is 17"),
        ({"k": None}, "topk takes one sparsity setting, --k; none given"),
        ({"l1": 1.0}, "--k and --l1 given"),
        ({"architecture": "relu"}, "relu takes one sparsity setting, --l1; --k given"),
        ({"architecture": "relu", "k": None, "l1": -1.0}, "l1 is -1.0"),
        ({"architecture": "relu", "k": None, "l1": float("nan")}, "l1 is nan"),
        ({"architecture": "kl", "k": None, "rho": 0.0}, "rho is 0.0"),
        ({"architecture": "kl", "k": None, "rho": 1.0}, "rho is 1.0"),
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"lr_warmup": 1.5}, "lr_warmup is 1.5"),
        ({"lr_warmup": 0.6, "lr_decay": 0.6}, "together exceed"),
        ({"seed": -1}, "seed is -1"),
        (
            {"architecture": "relu", "k": None, "l1": 1.0, "revival": "auxk"},
            "revival is 'auxk', expected resample or none",
        ),
        ({"l1_reduction": "mean"}, "--l1-reduction is a setting of relu; topk has no use for it"),
        (
            {"architecture": "relu", "k": None, "l1": 1.0, "l1_reduction": "mean", "input_transform": "zca"},
            "takes raw inputs",
        ),
        (
            {"architecture": "relu", "k": None, "l1": 1.0, "l1_weighting": "decoder_norm", "decoder_norm": "unit"},
            "no difference with unit norms",
        ),
        ({"architecture": "relu", "k": None, "l1": 1.0, "tied": True, "refit": 0.1}, "tied weights forbid"),
    ],
)
def test_refused(fields: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"architecture": "topk", "n_features": 16, "k": 3, **fields}
    with pytest.raises(UserError) as caught:
        TrainingConfig(**settings)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["topk", "relu", "kl"])
def test_resolved_settings_leave_nothing_open_and_keep_what_was_given(name: str) -> None:
    sparsity: dict[str, Any] = {"topk": {"k": 3}, "relu": {"l1": 1.0}, "kl": {"rho": 0.1}}[name]
    config = TrainingConfig(name, 16, lr=0.123, **sparsity)
    resolved = config.resolve(DataSize(1000, 8))
    assert resolved.run.lr == 0.123
    assert resolved.sparsity == config.sparsity == next(iter(sparsity.items()))
    assert not [
        k
        for k, v in resolved.to_dict().items()
        if v is None and k not in (*sparsity_settings(), "recipe", "group_sizes", "noise", "noise_range")
    ]


def test_a_small_table_limits_the_batch() -> None:
    resolved = TrainingConfig("topk", 16, k=3).resolve(DataSize(40, 8))
    assert resolved.run.batch_size <= 40


def test_architectures_are_found_by_themselves() -> None:
    assert {"topk", "relu", "kl"} <= set(trainable())


def test_rates_follow_the_width_of_the_input() -> None:
    narrow, wide = (TrainingConfig("topk", n, k=3).resolve(DataSize(1000, d)) for n, d in ((256, 64), (4096, 1024)))
    assert narrow.run.lr == pytest.approx(0.0113 / 64**0.25)
    assert wide.run.lr == pytest.approx(0.0113 / 1024**0.25 / 2**0.5)
    assert narrow.run.bias_rate == wide.run.bias_rate == 4.0
    assert TrainingConfig("kl", 64, rho=0.05).resolve(DataSize(1000, 64)).run.bias_rate == 8.0


def test_few_features_per_position_are_revived_both_ways() -> None:
    ways = [TrainingConfig("topk", 64, k=k).resolve(DataSize(1000, 8)).own.revival for k in (2, 7, 8, 32)]
    assert ways == ["both", "both", "auxk", "auxk"]


@pytest.mark.parametrize(("steps", "more"), [(8000, 1.0), (3000, 1.0), (1500, 2**0.5), (750, 2.0), (10, 2.0)])
def test_short_runs_take_a_higher_rate(steps: int, more: float) -> None:
    resolved = TrainingConfig("relu", 256, l1=1.0, steps=steps).resolve(DataSize(1000, 64))
    assert resolved.run.lr == pytest.approx(more * 0.0113 / 64**0.25)
