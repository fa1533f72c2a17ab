"""Training in bfloat16 where there is hardware for it. What can be seen without any is seen on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.objectives import sparse_codes
from saescope.autoencoders.settings.run import DataSize
from saescope.checkpoints.formats import native
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train
from saescope.training.data import TrainingData
from saescope.training.input_transform import fit
from saescope.training.run import Run
from saescope.training.trainer import check_autocast
from tests.training.arrays import DESCRIPTION, digits

SPARSITY: dict[str, dict[str, Any]] = {
    "topk": {"k": 4},
    "relu": {"l1": 1.0},
    "gated": {"l1": 1.0},
    "jumprelu": {"l0_weight": 0.3},
    "batchtopk": {"k": 4},
    "matryoshka": {"k": 4},
    "kl": {"rho": 0.05},
}


def config(architecture: str, **fields: Any) -> TrainingConfig:
    return TrainingConfig(
        architecture, n_features=32, **{"steps": 60, "batch_size": 64, **SPARSITY[architecture], **fields}
    )


def advanced(given: TrainingConfig) -> tuple[Run, dict[str, float]]:
    """A run on the CPU after all its steps, and the last row of its curve. `train` would refuse autocast there."""
    table = digits()
    resolved = given.resolve(DataSize(table.n_rows, table.d_in))
    data = TrainingData(table, fit(table, resolved.run.input_transform), torch.device("cpu"))
    run = Run(resolved, data)
    rng = np.random.default_rng(0)
    for _ in range(resolved.run.steps):
        run.advance(data.batch(rng.integers(0, table.n_rows, 64)).x)
    return run, run.curve.rows[-1]


@pytest.mark.parametrize("architecture", SPARSITY)
def test_what_is_kept_stays_float32_and_near(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_codes, "pays", lambda fraction, device: False)  # as on CUDA
    plain, before = advanced(config(architecture))
    mixed, after = advanced(config(architecture, autocast=True))
    for tensor in (*mixed.model.state_dict().values(), *mixed.optimiser.tensors().values()):
        assert tensor.dtype == torch.float32
        assert bool(torch.isfinite(tensor).all())
    assert not torch.equal(mixed.model.W_dec, plain.model.W_dec)
    assert after["fvu"] == pytest.approx(before["fvu"], rel=0.1)
    assert after["l0"] == pytest.approx(before["l0"], rel=0.1)


def test_nothing_else_is_decided_by_it() -> None:
    for architecture in SPARSITY:
        with_it, without = (config(architecture, autocast=on).resolve(DataSize(1000, 64)) for on in (True, False))
        assert replace(with_it, run=replace(with_it.run, autocast=False)) == without
    table = digits()
    kept = [Run(r, TrainingData(table, fit(table, "scale"), torch.device("cpu"))) for r in (with_it, without)]
    for a, b in zip(kept[0].model.parameters(), kept[1].model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_is_refused_where_it_gains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": False})
    with pytest.raises(UserError, match="this CPU computes in software only"):
        train(digits(), config("topk", autocast=True), tmp_path / "x", description=DESCRIPTION, device="cpu")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(UserError, match="this GPU computes in software only"):
        check_autocast(torch.device("cuda"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    check_autocast(torch.device("cpu"))
    with pytest.raises(UserError, match="this MPS computes in software only"):
        check_autocast(torch.device("mps"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("architecture", SPARSITY)
def test_training_on_cuda_comes_near_float32(architecture: str, tmp_path: Path) -> None:
    reached = []
    for on in (False, True):
        given = config(architecture, autocast=on, steps=600)
        out = train(digits(), given, tmp_path / str(on), description=DESCRIPTION, device="cuda")
        weights = native.load(out)
        x = digits().rows(np.arange(digits().n_rows))
        missed = x - weights(x).reconstruction.detach()
        reached.append(float(missed.square().sum() / (x - x.mean(0)).square().sum()))
    assert reached[1] == pytest.approx(reached[0], rel=0.1)
