"""How much of what a model predicts survives the SAE: cross-entropy with other activations in the hook's place.

Whole contexts, chosen by hash, run once up to the hook and from there once for each of four variants: clean, the SAE's
reconstruction, zero, and the mean activation. These end before the unembedding, so that a few positions at a time have
their logits in all variants and no more is held. A transcoder's stand in the place of its target: at the targets' hook,
the reconstruction being made from what is at the inputs' hook. Positions that are excluded from statistics (BOS,
special tokens, activations with outlying norms) keep their clean activation in every variant. All sums are saved after
each batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from saescope.autoencoders import Autoencoder
from saescope.precompute import kernels
from saescope.precompute.one_pass.blocks import Encoder, block_rows
from saescope.precompute.one_pass.decoding import Decoder
from saescope.precompute.tables.tokens import item_lengths
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import TokenSource
from saescope.store.write import atomic

N_CE_POSITIONS = 4096
"""Predictions that cross-entropy is measured on, unless told otherwise."""
CONTEXTS_SEED = 1
"""Of the hash that orders contexts: another one than that of the sampled items."""
POSITIONS_AT_ONCE = 2048
"""Most positions in a batch of contexts, unless one is longer."""
LOGITS_AT_ONCE = 2**23
"""Most logits at a time on a CPU, per variant (32 MiB): as many as allocators hand out again without a system call, and
enough rows for a fast product."""
LOGITS_AT_ONCE_GPU = 2**27
CONTEXTS_AT_ONCE = 256
"""Contexts whose lengths are read at a time."""
ITEMS_AT_ONCE = 2**20


@dataclass(frozen=True)
class CrossEntropy:
    """Sums over `n` predictions, in nats: -log p(next token) of each variant, and KL(p_clean || p) of the SAE's p and
    that of the zero ablation."""

    n: int = 0
    clean: float = 0.0
    sae: float = 0.0
    zero: float = 0.0
    mean: float = 0.0
    kl: float = 0.0
    kl_zero: float = 0.0
    n_batches: int = 0
    """Batches that are in the sums."""

    def metrics(self) -> dict[str, float | None]:
        """By the store's names; None where undefined."""
        if not self.n:
            return {}
        clean, sae, zero, mean = (v / self.n for v in (self.clean, self.sae, self.zero, self.mean))
        return {
            "ce_clean": clean,
            "ce_sae": sae,
            "ce_zero": zero,
            "ce_mean": mean,
            "ce_recovered": _recovered(clean, sae, zero),
            "ce_recovered_mean": _recovered(clean, sae, mean),
            "kl": self.kl / self.n,
            "kl_zero": self.kl_zero / self.n,
            "kl_recovered": (self.kl_zero - self.kl) / self.kl_zero if self.kl_zero else None,
        }


def _recovered(clean: float, sae: float, ablated: float) -> float | None:
    return (ablated - sae) / (ablated - clean) if ablated != clean else None


@torch.inference_mode()
def cross_entropy(
    sae: Autoencoder,
    source: TokenSource,
    mean: Float[Tensor, " width"],
    items: Int64[np.ndarray, " item"],
    *,
    saved: Path | None = None,
    progress: Progress = SILENT,
) -> CrossEntropy:
    """Over every prediction inside the contexts `items`. `mean` stands in for activations (a transcoder's targets) in
    the mean ablation.

    With `saved`, a cut run goes on after its last whole batch.
    """
    splice = _Splice(sae)
    sums = _read(saved)
    batches = _batches(source, items) if len(items) else []
    with source.hooked_out.unembedding_packed():
        for at in range(sums.n_batches, len(batches)):
            progress.update("cross-entropy", at, len(batches))
            sums = _add(sums, source, splice, mean, batches[at])
            if saved is not None:
                atomic.write_text(saved, json.dumps(asdict(sums)))
    progress.update("cross-entropy", len(batches), len(batches))
    return sums


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


class _Splice:
    """The SAE's reconstructions, from the sparse codes."""

    def __init__(self, sae: Autoencoder) -> None:
        self.device = next(sae.parameters()).device
        self.n_rows = block_rows(sae.n_features)
        self.encoder, self.decoder = Encoder(sae, self.n_rows, self.device), Decoder(sae)

    def __call__(self, x: Float[Tensor, "row d_in"]) -> Float[Tensor, "row d_out"]:
        parts = [self.decoder(part, self.encoder(part)) for part in x.to(self.device).split(self.n_rows)]
        return torch.cat(parts).to(x.device)


def _batches(source: TokenSource, items: Int64[np.ndarray, " item"]) -> list[Int64[np.ndarray, " item"]]:
    """Contexts of like length together, so that little is padded."""
    lengths = item_lengths(source, items)
    order = np.argsort(lengths, kind="stable")
    batches, first = [], 0
    for at in range(1, len(items) + 1):
        if at == len(items) or (at + 1 - first) * lengths[order[at]] > POSITIONS_AT_ONCE:
            batches.append(items[order[first:at]])
            first = at
    return batches


def _add(
    sums: CrossEntropy, source: TokenSource, splice: _Splice, mean: Tensor, items: Int64[np.ndarray, " item"]
) -> CrossEntropy:
    """The sums with one more batch in them."""
    ids, real, evaluated = (torch.from_numpy(array) for array in source.contexts(items))
    counted = real[:, :-1] & real[:, 1:]

    separate = source.hooked_out is not source.hooked
    read = source.hooked.activations(ids, real) if separate else None

    def edited(target: Tensor, new: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """`new` gets what the SAE reads and what it is to give, at the positions that count."""
        x = target if read is None else read
        replaced = evaluated.to(x.device) & source.usual(x)
        out = target.clone()
        if bool(replaced.any()):
            out[replaced] = new(x[replaced], target[replaced])
        return out

    edits: dict[str, Callable[[Tensor], Tensor]] = {
        "clean": lambda target: target,
        "sae": lambda target: edited(target, lambda x, _: splice(x)),
        "zero": lambda target: edited(target, lambda _, rows: torch.zeros_like(rows)),
        "mean": lambda target: edited(target, lambda _, rows: mean.to(rows).expand_as(rows)),
    }

    spliced = dict(source.hooked_out.variants(ids, real, edits))
    nats, divergence = _totals(source.hooked_out.logits, spliced, ids, counted, len(source.vocabulary))
    return CrossEntropy(
        n=sums.n + int(counted.sum()),
        clean=sums.clean + nats["clean"],
        sae=sums.sae + nats["sae"],
        zero=sums.zero + nats["zero"],
        mean=sums.mean + nats["mean"],
        kl=sums.kl + divergence["sae"],
        kl_zero=sums.kl_zero + divergence["zero"],
        n_batches=sums.n_batches + 1,
    )


def _totals(
    logits_of: Callable[[Tensor], Tensor],
    spliced: Mapping[str, Any],
    ids: Int[Tensor, "item position"],
    counted: Bool[Tensor, "item predicting"],
    n_tokens: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Sums over the predictions that count, of each variant: -log p(next token), and KL(p_clean || p) =
    sum_v p_clean,v (log p_clean,v - log p_v). The first variant is the clean one.

    Predictions come by position, so that items which share a run have their logits computed once.
    """
    position, item = counted.T.nonzero(as_tuple=True)
    after = ids[item, position + 1]
    nats, divergence = dict.fromkeys(spliced, 0.0), dict.fromkeys(spliced, 0.0)
    if not len(item):
        return nats, divergence
    device = next(iter(spliced.values())).states.device
    at_once = LOGITS_AT_ONCE if device.type == "cpu" else LOGITS_AT_ONCE_GPU
    for rows in torch.arange(len(item)).split(max(at_once // n_tokens, 1)):
        p_clean = negative_entropy = None
        for name, variant in spliced.items():
            n_runs = len(variant.states)
            key, which = (position[rows] * n_runs + variant.run[item[rows]]).unique(return_inverse=True)
            logs = logits_of(variant.states[key % n_runs, key // n_runs]).log_softmax(-1)
            in_order = bool((which.diff() == 1).all())  # each prediction has logits of its own, and they stand alike
            which = which.to(device)
            nats[name] -= float(logs[which, after[rows].to(device)].double().sum())
            if p_clean is None:
                logs, in_order = logs if in_order else logs[which], True
                p_clean = logs.exp()
            if in_order:
                expected = torch.linalg.vecdot(p_clean, logs)
            else:
                expected = (p_clean @ logs.T).gather(1, which[:, None]).squeeze(1)
            negative_entropy = expected if negative_entropy is None else negative_entropy
            divergence[name] += float((negative_entropy - expected).double().sum())
    return nats, divergence


def _read(saved: Path | None) -> CrossEntropy:
    if saved is None or not saved.exists():
        return CrossEntropy()
    return CrossEntropy(**json.loads(saved.read_text()))
