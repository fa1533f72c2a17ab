"""The sparse path against dense formulas and autograd, in float64."""

from __future__ import annotations

import pytest
import torch

from saescope.autoencoders.largest_entries import largest
from saescope.autoencoders.objectives import sparse_codes

BATCH, D_IN, N = 31, 11, 40


def tensors() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = {"x": (BATCH, D_IN), "encoder": (N, D_IN), "b_enc": (N,), "W_dec": (N, D_IN), "b_dec": (D_IN,)}
    return {name: torch.randn(s, generator=g, dtype=torch.float64).requires_grad_() for name, s in shapes.items()}


def dense_loss(t: dict[str, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    codes = torch.relu(t["x"] @ t["encoder"].T + t["b_enc"]) * mask
    x_hat = codes @ t["W_dec"] + t["b_dec"]
    return ((t["x"] - x_hat) ** 2).sum() + 0.3 * codes.sum()


def sparse_loss(t: dict[str, torch.Tensor], entries: sparse_codes.Entries) -> torch.Tensor:
    z = (t["x"] @ t["encoder"].T + t["b_enc"]).detach()
    values = torch.relu(sparse_codes.pre_activations_at(entries, z, t["x"], t["encoder"], t["b_enc"]))
    x_hat = sparse_codes.decode(entries, values, t["W_dec"]) + t["b_dec"]
    return ((t["x"] - x_hat) ** 2).sum() + 0.3 * values.sum()


@pytest.mark.parametrize("kind", ["topk", "mask", "empty rows"])
def test_loss_and_gradients_equal_the_dense_ones(kind: str) -> None:
    t = tensors()
    z = (t["x"] @ t["encoder"].T + t["b_enc"]).detach()
    if kind == "topk":
        chosen = largest(z, 5)
        mask = torch.zeros_like(z).scatter(1, chosen.indices, 1.0)
        entries = sparse_codes.entries_of_selection(chosen, N)
    else:
        keep = z > (0 if kind == "mask" else 6)
        if kind != "mask":
            assert (keep.sum(1) == 0).any()
        mask = keep.double()
        entries = sparse_codes.entries_of_mask(keep)
    dense, fast = dense_loss(t, mask), sparse_loss(t, entries)
    torch.testing.assert_close(fast, dense)
    expected = torch.autograd.grad(dense, list(t.values()))
    got = torch.autograd.grad(fast, list(t.values()))
    for name, a, b in zip(t, got, expected, strict=True):
        torch.testing.assert_close(a, b, msg=lambda m, name=name: f"gradient of {name}: {m}")


def test_entries_list_every_place_once_in_both_orders() -> None:
    mask = torch.rand(BATCH, N, generator=torch.Generator().manual_seed(1)) < 0.1
    e = sparse_codes.entries_of_mask(mask)
    rebuilt = torch.zeros_like(mask)
    rebuilt[e.rows, e.features] = True
    assert torch.equal(rebuilt, mask)
    assert torch.equal(e.counts, mask.sum(0))
    by_feature = [(int(f), int(r)) for r, f in zip(e.rows_by_feature, e.features[e.order], strict=True)]
    assert by_feature == sorted(by_feature)
    assert len(by_feature) == int(mask.sum())


def test_many_features_sort_right() -> None:
    features = torch.tensor([[40_000, 70_000], [5, 40_000]])
    chosen = sparse_codes.entries_of_selection(largest(torch.randn(2, 80_000), 2)._replace(indices=features), 80_000)
    assert chosen.features[chosen.order].tolist() == [5, 40_000, 40_000, 70_000]
