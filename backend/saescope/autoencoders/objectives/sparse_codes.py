"""Linear maths of sparse codes whose cost, after the encoder's product, follows the number of non-zero entries.

A code with few entries per row needs, per entry, one row of W_dec to decode (forward), one dot product with that row
(gradient of the value) and one scaled copy of a row of x or of the error (gradients of the two matrices). All of these
are sums over bags of rows, so torch's `embedding_bag` does them: by rows of the batch forward, by features backward.

Shape symbols: `batch` rows, `entry` non-zero places of the code by row, `n_features`, `d_in`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from saescope.autoencoders.protocol import Selection

LARGE_STEP = 2**24
"""Cells of a dense code from which a GPU may take the sparse path."""


class Entries(NamedTuple):
    """The non-zero places of a code, by row and by feature. A place occurs at most once."""

    features: Int64[Tensor, " entry"]
    rows: Int64[Tensor, " entry"]
    row_starts: Int64[Tensor, " batch"]
    order: Int64[Tensor, " entry"]
    """Permutation that sorts the entries by feature, then row."""
    rows_by_feature: Int64[Tensor, " entry"]
    feature_starts: Int64[Tensor, " n_features"]
    counts: Int64[Tensor, " n_features"]
    """Entries of each feature."""


def pays(fraction: Callable[[], float], z: Float[Tensor, "batch n_features"]) -> bool:
    """Whether the sparse path is faster for a code of the pre-activations `z`, with this fraction of non-zero places.

    A place costs about seven times a dense cell on a CPU, and sixty times on a GPU (H200, float32). There, to ask for
    the fraction waits for all that the device has to do, and small steps are bound by the number of their kernels: only
    large ones are asked. With autocast dense products cost next to nothing.
    """
    if z.device.type == "cpu":
        return fraction() < 0.12
    return z.dtype == torch.float32 and z.numel() >= LARGE_STEP and fraction() < 0.015


def _entries(
    features: Int64[Tensor, " entry"], rows: Int64[Tensor, " entry"], row_starts: Tensor, n_features: int
) -> Entries:
    narrow = features.to(torch.int16) if n_features <= 2**15 else features.to(torch.int32)
    order = torch.argsort(narrow, stable=True)
    counts = torch.bincount(features, minlength=n_features)
    return Entries(features, rows, row_starts, order, rows[order], torch.cumsum(counts, 0) - counts, counts)


def entries_of_selection(chosen: Selection, n_features: int) -> Entries:
    """Entries of a code with a fixed number of places per row."""
    n_rows, k = chosen.indices.shape
    starts = torch.arange(0, n_rows * k, k, device=chosen.indices.device)
    rows = torch.arange(n_rows, device=starts.device).repeat_interleave(k)
    return _entries(chosen.indices.reshape(-1), rows, starts, n_features)


def entries_of_mask(mask: Bool[Tensor, "batch n_features"]) -> Entries:
    """Entries of a code with any number of places per row."""
    rows, features = mask.nonzero(as_tuple=True)
    per_row = torch.bincount(rows, minlength=mask.shape[0])
    return _entries(features, rows, torch.cumsum(per_row, 0) - per_row, mask.shape[1])


def split_rows(entries: Entries, prefixes: Sequence[int], n_rows: int) -> Entries:
    """Entries (by row, then feature) of rows cut into groups of features: row r becomes rows r G, ..., r G + G - 1.

    `prefixes` are the ends of the G groups, the last one being the number of features.
    """
    ends = torch.tensor(prefixes, device=entries.features.device)
    rows = entries.rows * len(prefixes) + torch.bucketize(entries.features, ends, right=True)
    per_row = torch.bincount(rows, minlength=n_rows * len(prefixes))
    starts = torch.cumsum(per_row, 0) - per_row
    return entries._replace(rows=rows, row_starts=starts, rows_by_feature=rows[entries.order])


def at_features(entries: Entries, values: Float[Tensor, " n_features"]) -> Float[Tensor, " entry"]:
    """A number of each feature, at the entries. Differentiable."""
    result: Tensor = _AtFeatures.apply(entries, values)
    return result


def pre_activations_at(
    entries: Entries,
    z: Float[Tensor, "batch n_features"],
    x: Float[Tensor, "batch d_in"],
    encoder: Float[Tensor, "n_features d_in"],
    b_enc: Float[Tensor, " n_features"] | None,
) -> Float[Tensor, " entry"]:
    """z at the entries, where z = x encoder^T + b_enc was computed without gradient. Differentiable in the weights.

    b_enc None is a z without it. The gradient of x, where it is asked for (a trained bias inside x), costs as much as a
    decode.
    """
    result: Tensor = _PreActivationsAt.apply(entries, z, x, encoder, b_enc)
    return result


def decode(
    entries: Entries, values: Float[Tensor, " entry"], W_dec: Float[Tensor, "n_features d_in"]
) -> Float[Tensor, "batch d_in"]:
    """sum over a row's entries of value W_dec[feature]. Differentiable in the values and in W_dec."""
    result: Tensor = _Decode.apply(entries, values, W_dec)
    return result


def _bag_sums(
    bags: Int64[Tensor, " entry"], starts: Tensor, table: Float[Tensor, "row d_in"], weights: Float[Tensor, " entry"]
) -> Float[Tensor, "bag d_in"]:
    """sum over each bag's entries of weight table[row]."""
    sums: Tensor = torch.embedding_bag(table, bags, starts, False, 0, False, weights)[0]  # mode 0: sum
    return sums


def _sums_of_features(entries: Entries, values: Float[Tensor, " entry"]) -> Float[Tensor, " n_features"]:
    """sum over each feature's entries, in the order of rows. (`index_add_` keeps no order on a GPU.)"""
    if values.is_cuda:
        ones = torch.ones_like(values)
        return _bag_sums(entries.order, entries.feature_starts, values.unsqueeze(1), ones).squeeze(1)
    return values.new_zeros(len(entries.counts)).index_add_(0, entries.features, values)


class _PreActivationsAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, entries: Entries, z: Tensor, x: Tensor, encoder: Tensor, b_enc: Tensor | None) -> Tensor:
        ctx.entries = entries
        ctx.save_for_backward(x, encoder)
        return z[entries.rows, entries.features]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        entries: Entries = ctx.entries
        x, encoder = ctx.saved_tensors
        grad_x = grad_encoder = grad_bias = None
        if ctx.needs_input_grad[2]:
            grad_x = _bag_sums(entries.features, entries.row_starts, encoder, grad)
        if ctx.needs_input_grad[3]:
            grad_encoder = _bag_sums(entries.rows_by_feature, entries.feature_starts, x, grad[entries.order])
        if ctx.needs_input_grad[4]:
            grad_bias = _sums_of_features(entries, grad)
        return None, None, grad_x, grad_encoder, grad_bias


class _AtFeatures(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, entries: Entries, values: Tensor) -> Tensor:
        ctx.entries = entries
        return values[entries.features]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        entries: Entries = ctx.entries
        return None, _sums_of_features(entries, grad)


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, entries: Entries, values: Tensor, W_dec: Tensor) -> Tensor:
        ctx.entries = entries
        ctx.save_for_backward(values, W_dec)
        return _bag_sums(entries.features, entries.row_starts, W_dec, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        entries: Entries = ctx.entries
        values, W_dec = ctx.saved_tensors
        grad = grad.contiguous()
        grad_values = grad_W_dec = None
        if ctx.needs_input_grad[1]:
            # The dot products grad[row] . W_dec[feature], one per entry: embedding_bag's gradient of its weights.
            grad_values = torch.ops.aten._embedding_bag_per_sample_weights_backward(
                grad, W_dec, entries.features, entries.row_starts, entries.rows, 0, -1
            )
        if ctx.needs_input_grad[2]:
            grad_W_dec = _bag_sums(entries.rows_by_feature, entries.feature_starts, grad, values[entries.order])
        return None, grad_values, grad_W_dec
