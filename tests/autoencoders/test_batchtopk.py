"""Codes above one threshold, the rule while there is none, and nested groups."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from saescope.autoencoders.batchtopk.module import BatchtopkAutoencoder, BatchtopkConfig
from saescope.autoencoders.matryoshka.module import MatryoshkaAutoencoder, MatryoshkaConfig
from saescope.checkpoints import load_sae
from saescope.checkpoints.formats import native
from saescope.store.errors import FaultsError, UserError

D_IN, N, BATCH, K = 7, 19, 200, 4


def filled(threshold: float) -> MatryoshkaAutoencoder:
    model = MatryoshkaAutoencoder(MatryoshkaConfig(D_IN, N, k=K, group_sizes=(3, 6, 10)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
        model.threshold.fill_(threshold)
    return model


def inputs() -> torch.Tensor:
    return torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(1))


def test_only_what_exceeds_the_threshold_fires() -> None:
    model = filled(1.5)
    z = model.pre_activations(inputs())
    codes = model.encode(inputs())
    assert torch.equal(codes, z * (z > 1.5))
    assert int((codes > 0).sum(1).max()) > K
    assert model.select(inputs()) is None
    with torch.no_grad():
        model.encoder.zero_()
        model.b_enc.copy_(torch.linspace(0, 1.5, N))
    assert not model.encode(inputs()).any()


def test_without_a_threshold_each_position_keeps_its_k_largest() -> None:
    model, x = filled(-1.0), inputs()
    codes, chosen = model.encode(x), model.select(x)
    assert chosen is not None
    assert chosen.indices.shape == (BATCH, K)
    assert torch.equal(torch.zeros_like(codes).scatter(1, chosen.indices, chosen.values), codes)
    z = model.pre_activations(x)
    kth = z.sort(dim=1, descending=True).values[:, K - 1 : K]
    assert torch.equal(codes, torch.where(z >= kth, z, 0.0).clamp(min=0))
    assert float(BatchtopkAutoencoder(BatchtopkConfig(D_IN, N, k=K)).threshold.detach()) == -1.0


@pytest.mark.parametrize("sizes", [(), (19, 0), (3, 6, 11), (20, -1)])
def test_groups_that_do_not_add_up_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="group_sizes are"):
        MatryoshkaConfig(D_IN, N, k=K, group_sizes=sizes)


def test_checkpoints_keep_the_threshold_and_the_groups(tmp_path: Path) -> None:
    model, x = filled(0.5), inputs()
    native.save(model, tmp_path)
    again = load_sae(tmp_path)
    assert again.config == model.config
    assert torch.equal(again.encode(x), model.encode(x))


@pytest.mark.parametrize("given", ["3,6,10", [3, 6.5, 9.5], [True, 18]])
def test_group_sizes_must_be_a_list_of_whole_numbers(given: object, tmp_path: Path) -> None:
    native.save(filled(0.5), tmp_path)
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"group_sizes": given}))
    with pytest.raises(FaultsError, match="expected a list of values, each a whole number"):
        load_sae(tmp_path)
