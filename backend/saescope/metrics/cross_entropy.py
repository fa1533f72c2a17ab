"""How much of what a model predicts survives the SAE: cross-entropy with other activations in the hook's place.

Whole contexts run once up to the hook and from there once for each of four variants: clean, the SAE's
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

from saescope.metrics.registry import Over, define
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import TokenSource, item_lengths
from saescope.store import atomic

POSITIONS_AT_ONCE = 2048
"""Most positions in a batch of contexts, unless one is longer."""
LOGITS_AT_ONCE = 2**23
"""Most logits at a time on a CPU, per variant (32 MiB): as many as allocators hand out again without a system call, and
enough rows for a fast product."""
LOGITS_AT_ONCE_GPU = 2**27

Splice = Callable[[Float[Tensor, "row d_in"]], Float[Tensor, "row d_out"]]
"""x -> x_hat."""


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
        return {name: value(self) for name, value in _METRICS.items()}


def _recovered(clean: float, sae: float, ablated: float) -> float | None:
    return (ablated - sae) / (ablated - clean) if ablated != clean else None


_PREDICTIONS = "at every token but a context's last, added and excluded ones too"
_METRICS: dict[str, Callable[[CrossEntropy], float | None]] = define(
    Over.PREDICTIONS,
    {
        "ce_clean": (
            f"mean over predictions of -log p(next token), the model as it is, nats; {_PREDICTIONS}",
            lambda s: s.clean / s.n,
        ),
        "ce_sae": (
            "ce_clean with x_hat in place of x at every evaluated position; others keep x",
            lambda s: s.sae / s.n,
        ),
        "ce_zero": ("ce_clean with 0 in place of x at every evaluated position; others keep x", lambda s: s.zero / s.n),
        "ce_mean": (
            "ce_clean with mean(x), as in fvu, in place of x at every evaluated position; others keep x",
            lambda s: s.mean / s.n,
        ),
        "ce_recovered": (
            "(ce_zero - ce_sae) / (ce_zero - ce_clean)",
            lambda s: _recovered(s.clean / s.n, s.sae / s.n, s.zero / s.n),
        ),
        "ce_recovered_mean": (
            "(ce_mean - ce_sae) / (ce_mean - ce_clean)",
            lambda s: _recovered(s.clean / s.n, s.sae / s.n, s.mean / s.n),
        ),
        "kl": ("mean over predictions of KL(p_clean || p_sae), nats", lambda s: s.kl / s.n),
        "kl_zero": ("kl with the zero ablation of ce_zero in place of the SAE", lambda s: s.kl_zero / s.n),
        "kl_recovered": (
            "(kl_zero - kl) / kl_zero",
            lambda s: (s.kl_zero - s.kl) / s.kl_zero if s.kl_zero else None,
        ),
    },
)
"""Name -> the value that sums over one prediction or more come to."""


@torch.inference_mode()
def cross_entropy(
    source: TokenSource,
    splice: Splice,
    mean: Float[Tensor, " width"],
    items: Int64[np.ndarray, " item"],
    *,
    saved: Path | None = None,
    progress: Progress = SILENT,
) -> CrossEntropy:
    """Over every prediction inside the contexts `items`. `splice` gives the SAE's reconstructions; `mean` stands in
    for activations (a transcoder's targets) in the mean ablation.

    With `saved`, a cut run goes on after its last whole batch.
    """
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
    sums: CrossEntropy, source: TokenSource, splice: Splice, mean: Tensor, items: Int64[np.ndarray, " item"]
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
