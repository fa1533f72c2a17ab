"""The k largest entries of each row, with a rule for equal ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saescope.autoencoders.protocol import Selection

GROUP = 64
"""Neighbouring entries of a group, see `largest_in_groups`."""

First = Callable[[Tensor, Tensor, int], Tensor]
"""Values, their indices and k -> the k indices whose values are the largest."""


def largest(z: Float[Tensor, "batch n_features"], k: int, *, signed: bool = False) -> Selection:
    """The k largest entries of each row; of equal ones at the border, those with the lowest index. ReLU is applied,
    except with `signed`.

    Order inside a row is unspecified. A row's result depends on that row alone.
    """
    n = z.shape[1]
    if k >= n:
        every = torch.arange(n, device=z.device).expand(z.shape[0], n)
        return Selection(every.contiguous(), z if signed else torch.relu(z))
    if z.is_cuda and z.dtype != torch.float64 and groups_pay(n, k):  # its keys hold 32 bits of a value
        indices = largest_in_groups(z, k)
        values = z.gather(1, indices)
        return Selection(indices, values if signed else torch.relu(values))
    values, indices = torch.topk(z, k + 1, dim=1, sorted=True)
    # topk leaves open which of equal values it takes. Only a tie across the border that is kept changes the code.
    tied = values[:, k - 1] == values[:, k]
    if not signed:
        tied &= values[:, k] > 0
    values, indices = values[:, :k], indices[:, :k]
    if bool(tied.any()):
        rows = torch.nonzero(tied).squeeze(1)
        ordered, order = torch.sort(z[rows], dim=1, descending=True, stable=True)
        values[rows], indices[rows] = ordered[:, :k], order[:, :k]
    return Selection(indices.contiguous(), values.contiguous() if signed else torch.relu(values))


def any_largest(z: Float[Tensor, "batch n_features"], k: int) -> Selection:
    """The k largest entries of each row, whichever of equal ones, as they are and in any order."""
    if z.is_cuda and groups_pay(z.shape[1], k):
        indices = largest_in_groups(z, k, _any_first)
        return Selection(indices, z.gather(1, indices))
    values, indices = torch.topk(z, k, dim=1, sorted=False)
    return Selection(indices, values)


def groups_pay(n: int, k: int) -> bool:
    """Whether a GPU finds the k largest of n entries sooner by `largest_in_groups` (H200: encoding 131,072 features at
    k = 32 takes 0.89 times as long, of 16,384 1.05 times). On a CPU nothing is won."""
    return n >= 16 * k * GROUP


def _any_first(values: Float[Tensor, "batch n"], indices: Int64[Tensor, "batch n"], k: int) -> Int64[Tensor, "batch k"]:
    """k indices with the largest values, in any order."""
    return indices.gather(1, torch.topk(values, k, dim=1, sorted=False).indices)


def _first(values: Float[Tensor, "batch n"], indices: Int64[Tensor, "batch n"], k: int) -> Int64[Tensor, "batch k"]:
    """The k indices with the largest values, of equal ones the lowest, in that order. NaN counts as largest.

    No two keys are equal: the upper half is the value's bits, ordered as integers, the lower one falls with the index.
    """
    bits = (values.float() + 0.0).view(torch.int32)  # -0.0 + 0.0 is 0.0
    ordered = torch.where(values.isnan(), 2**31 - 1, bits ^ ((bits >> 31) & (2**31 - 1)))
    keys = (ordered.long() << 32) | (2**32 - 1 - indices)
    return 2**32 - 1 - (torch.topk(keys, k, dim=1, sorted=True).values & (2**32 - 1))


def largest_in_groups(z: Float[Tensor, "batch n_features"], k: int, first: First = _first) -> Int64[Tensor, "batch k"]:
    """Indices of the k largest entries of each row, from the first on; of equal ones those with the lowest index.

    Every row is read once: each group of neighbours gives its largest entry, and the k largest lie in the k groups
    whose largest entries come first. All of it is exact, in a fixed order, and nothing waits for the device. `first`
    may leave open which of equal ones are taken.
    """
    n_rows, n = z.shape
    n_groups = n // GROUP
    groups = z[:, : n_groups * GROUP].view(n_rows, n_groups, GROUP)
    chosen = first(groups.amax(2), torch.arange(n_groups, device=z.device).expand(n_rows, n_groups), k)
    within = torch.arange(GROUP, device=z.device)
    values = groups.gather(1, chosen.unsqueeze(2).expand(n_rows, k, GROUP)).flatten(1)
    indices = (chosen.unsqueeze(2) * GROUP + within).flatten(1)
    if n_groups * GROUP < n:  # what is left over is no group, and looked at as well
        rest = torch.arange(n_groups * GROUP, n, device=z.device).expand(n_rows, -1)
        values, indices = torch.cat([values, z[:, n_groups * GROUP :]], 1), torch.cat([indices, rest], 1)
    return first(values, indices, k)
