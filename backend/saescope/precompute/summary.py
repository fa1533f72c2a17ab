"""The metrics that a pass comes to, cross-entropy with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from saescope.autoencoders.layered import LayeredAutoencoder
from saescope.autoencoders.protocol import Autoencoder
from saescope.autoencoders.variational.module import VariationalAutoencoder
from saescope.metrics.cross_entropy import CrossEntropy, cross_entropy
from saescope.metrics.evaluation import Evaluation
from saescope.metrics.feature_counts import feature_counts
from saescope.metrics.jacobian import N_POSITIONS, has_encoder_jacobian, jacobian_norms
from saescope.precompute import kernels
from saescope.precompute.latent_pass import latent_statistics
from saescope.precompute.one_pass.blocks import Encoder, block_rows
from saescope.precompute.one_pass.decoding import Decoder
from saescope.precompute.one_pass.run import PassResult
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source, TokenSource, as_tokens, flat_positions

CONTEXTS_SEED = 1
"""Of the hash that orders contexts: another one than that of the sampled items."""
JACOBIAN_SEED = 2
"""Of the hash that orders the items whose Jacobians are measured."""
CONTEXTS_AT_ONCE = 256
"""Contexts whose lengths are read at a time."""
ITEMS_AT_ONCE = 2**20


def evaluation_of(
    sae: Autoencoder,
    source: Source,
    result: PassResult,
    chosen: Bool[np.ndarray, " n_items"] | None,
    *,
    trained_on: bool,
    n_ce_positions: int,
    saved: Path | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """The metrics that a pass with decoding came to, over the items `chosen` (None: all).

    Where the source is texts through a causal language model, cross-entropy is measured on `n_ce_positions`; `saved`
    holds its sums, so that a cut run goes on. A variational autoencoder takes one more pass.
    """
    assert result.sums is not None
    n_firing = result.state.n_firing
    metrics = result.sums.values(len(n_firing)) | feature_counts(n_firing, result.n_positions)
    ce = CrossEntropy()
    if result.sums.n:
        ce = _cross_entropy(sae, source, result.sums.mean, chosen, n_ce_positions, saved, progress)
    latents = None
    if isinstance(sae, VariationalAutoencoder) and result.sums.n:
        latents = latent_statistics(sae, source, chosen, progress)
        metrics |= latents.metrics()
    if has_encoder_jacobian(sae):
        assert isinstance(sae, LayeredAutoencoder)
        metrics |= {"jacobian_norm": _jacobian_norm(sae, source, chosen)}
    return Evaluation(metrics | ce.metrics(), result.sums.n, result.n_positions, trained_on, ce.n, latents)


def _jacobian_norm(
    sae: LayeredAutoencoder, source: Source, chosen: Bool[np.ndarray, " n_items"] | None
) -> float | None:
    """`jacobian_norm`; None where no position is evaluated. Items with the smallest hash come first."""
    items = np.arange(source.n_items) if chosen is None else np.flatnonzero(chosen)
    keys = kernels.position_keys(items, np.full(len(items), JACOBIAN_SEED))
    found = list[Tensor]()
    for item in items[np.argsort(keys)[:N_POSITIONS]]:  # long items are few, and not those at the beginning
        batch = next(iter(source.batches(int(item), 1)), None)
        if batch is not None:
            found.append(flat_positions(batch)[0])
        if sum(map(len, found)) >= N_POSITIONS:
            break
    if not sum(map(len, found)):
        return None
    x = torch.cat(found)[:N_POSITIONS].to(next(sae.parameters()).device)
    return float(jacobian_norms(sae, x).double().mean())


def _cross_entropy(
    sae: Autoencoder,
    source: Source,
    mean: Float[Tensor, " d_out"],
    chosen: Bool[np.ndarray, " n_items"] | None,
    n_positions: int,
    saved: Path | None,
    progress: Progress,
) -> CrossEntropy:
    """Of no prediction where the source has no predictions to measure: it is no causal language model's."""
    tokens = as_tokens(source)
    if tokens is None or not n_positions or tokens.hooked.loaded.kind != "causal":
        return CrossEntropy()
    contexts = choose_contexts(tokens, chosen, n_positions)
    return cross_entropy(tokens, Reconstruction(sae), mean, contexts, saved=saved, progress=progress)


def choose_contexts(
    source: TokenSource, allowed: Bool[np.ndarray, " n_items"] | None, n_positions: int
) -> Int64[np.ndarray, " item"]:
    """Contexts of `allowed` (None: all), as many as hold `n_positions` predictions, or all there are; ascending.

    Those with the smallest hash come first, so the choice depends on which items there are and on nothing else.
    """
    candidates = np.empty(0, np.int64)
    for start in range(0, source.n_items, ITEMS_AT_ONCE):
        items = np.arange(start, min(start + ITEMS_AT_ONCE, source.n_items))
        items = np.concatenate([candidates, items if allowed is None else items[allowed[items]]])
        keys = kernels.position_keys(items, np.full(len(items), CONTEXTS_SEED))
        candidates = items[np.argsort(keys)[:n_positions]]
    chosen: list[int] = []
    held = 0
    for start in range(0, len(candidates), CONTEXTS_AT_ONCE):
        piece = candidates[start : start + CONTEXTS_AT_ONCE]
        _, real, _ = source.contexts(piece)
        for item, length in zip(piece, (real[:, :-1] & real[:, 1:]).sum(1), strict=True):
            if held >= n_positions:
                return np.sort(np.array(chosen, np.int64))
            chosen.append(int(item))
            held += int(length)
    return np.sort(np.array(chosen, np.int64))


class Reconstruction:
    """x -> x_hat in blocks of the pass's size, on a CPU from the sparse codes."""

    def __init__(self, sae: Autoencoder) -> None:
        self.sae = sae
        self.device = next(sae.parameters()).device
        self.n_rows = block_rows(sae.n_features, self.device)
        self.encoder, self.decoder = Encoder(sae, self.n_rows, self.device), Decoder(sae)

    def __call__(self, x: Float[Tensor, "row d_in"]) -> Float[Tensor, "row d_out"]:
        return torch.cat([self._block(part) for part in x.to(self.device).split(self.n_rows)]).to(x.device)

    def _block(self, x: Float[Tensor, "row d_in"]) -> Float[Tensor, "row d_out"]:
        if self.device.type == "cpu":
            return self.decoder(x, self.encoder(x))
        selection = self.sae.select(x)
        return self.sae(x).reconstruction if selection is None else self.sae.reconstruct_selection(x, selection)
