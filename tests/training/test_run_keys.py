"""Runs begun or finished by an earlier version are taken up by their keys, which stay what they were."""

from __future__ import annotations

from typing import Any

import pytest

from saescope.autoencoders.settings.run import DataSize
from saescope.training import TrainingConfig
from saescope.training.run_folder import run_key


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"architecture": "topk", "k": 6}, "7fd2df7d59a13734"),
        ({"architecture": "topk", "target_l0": 5}, "020e953a8dc96fac"),
        ({"architecture": "topk", "k": 3, "tied": True}, "5c08b45bd29ab69b"),
        ({"architecture": "matryoshka", "k": 6, "group_sizes": (8, 24, 64)}, "7445b3903cbc4880"),
        ({"architecture": "relu", "l1": 1.0}, "0f1171c7c4d15e5a"),
        ({"architecture": "relu", "l1": 1, "decoder_norm": "unit"}, "b83ae8aa387e6dd4"),
        ({"architecture": "relu", "l1": 1.0, "recipe": "april2024"}, "85757f23389e97a6"),
        ({"architecture": "relu", "l1": 1.0, "l1_reduction": "mean"}, "e38b984629bac82f"),
        ({"architecture": "gated", "target_l0": 8}, "019c644d888f2e8f"),
        ({"architecture": "jumprelu", "l0_weight": 0.05, "l0_penalty": "tanh", "dead_after": 300}, "266cd5f95b7ea864"),
        ({"architecture": "kl", "rho": 0.05}, "12f4ad0e0bc0a5c2"),
        ({"architecture": "deep", "l1": 0.2}, "1807118676868e13"),
    ],
)
def test_keys_are_those_of_the_first_version(settings: dict[str, Any], key: str) -> None:
    config = TrainingConfig(n_features=96, batch_size=64, **{"steps": 60, **settings})
    resolved = config.resolve(DataSize(n_rows=1797, d_in=64))
    assert run_key(resolved, {"data_sha256": "x", "held_out": None})[:16] == key
