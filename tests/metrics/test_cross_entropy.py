"""Sums over predictions whose items share runs, against each item's own logits."""

from __future__ import annotations

import pytest
import torch

from saescope.metrics import cross_entropy
from saescope.models.splicing import Spliced


@pytest.mark.parametrize("rows_at_once", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("run", [[0, 1, 2, 3], [2, 0, 1, 2], [0, 0, 0, 0], [1, 0, 1, 0]])
def test_totals_do_not_depend_on_which_items_share_a_run(
    run: list[int], rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    n_items, n_positions, width, n_tokens = 4, 5, 3, 7
    unembedding = torch.randn(width, n_tokens, generator=generator)
    ids = torch.randint(n_tokens, (n_items, n_positions), generator=generator)
    counted = torch.ones(n_items, n_positions - 1, dtype=torch.bool)
    counted[3, 1] = counted[1, 3] = False
    monkeypatch.setattr(cross_entropy, "LOGITS_AT_ONCE", rows_at_once * n_tokens)
    own, shared = torch.arange(n_items), torch.tensor(run)
    for clean_run in (own, shared):
        spliced = {
            name: Spliced(torch.randn(int(runs.max()) + 1, n_positions, width, generator=generator), runs)
            for name, runs in (("clean", clean_run), ("zero", shared))
        }
        nats, divergence = cross_entropy._totals(lambda states: states @ unembedding, spliced, ids, counted, n_tokens)
        logs = {
            name: (variant.states[variant.run] @ unembedding).double().log_softmax(-1)[:, :-1]
            for name, variant in spliced.items()
        }
        for name, expected in logs.items():
            of_next = expected.gather(2, ids[:, 1:, None]).squeeze(2)
            apart = (logs["clean"].exp() * (logs["clean"] - expected)).sum(2)
            assert nats[name] == pytest.approx(-float(of_next[counted].sum()), rel=1e-5)
            assert divergence[name] == pytest.approx(float(apart[counted].sum()), rel=1e-5, abs=1e-5)


def test_contexts_of_one_token_predict_nothing() -> None:
    def logits(states: torch.Tensor) -> torch.Tensor:
        raise AssertionError("there is nothing to unembed")

    spliced = {"clean": Spliced(torch.zeros(2, 1, 3), torch.arange(2))}
    none = torch.zeros(2, 0, dtype=torch.bool)
    assert cross_entropy._totals(logits, spliced, torch.zeros(2, 1, dtype=torch.int64), none, 7) == (
        {"clean": 0.0},
        {"clean": 0.0},
    )
