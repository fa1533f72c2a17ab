"""Every metric of an SAE on a source, those that need something beside the pass included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.evaluation.pass_metrics import evaluate
from saescope.metrics.absorption import Absorption
from saescope.metrics.consistency import FiringItems
from saescope.metrics.defaults import MATCH_COSINE, N_CE_POSITIONS
from saescope.metrics.dictionaries import (
    compare_dictionaries,
    comparison_metrics,
    recovery_metrics,
    similarity_metrics,
)
from saescope.metrics.evaluation import Evaluation
from saescope.metrics.sparse_probing import PooledCodes, plan_probe, probe
from saescope.precompute.one_pass.blocks import CodeBlock, Rows
from saescope.precompute.one_pass.run import check_source
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source


def judge(
    sae: Autoencoder,
    source: Source,
    config: Mapping[str, Any] | None = None,
    *,
    against: Autoencoder | None = None,
    probes: Sequence[str] = (),
    absorption: bool = False,
    match_cosine: float = MATCH_COSINE,
    whitening: Float[Tensor, "d_in d_in"] | None = None,
    n_ce_positions: int = N_CE_POSITIONS,
    device: torch.device | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """`evaluate` and more.

    Where the source is a toy, the SAE's dictionary is compared with the true one; `against` adds a comparison with
    another SAE's; `probes` are metadata columns of the source that sparse probes predict, after the same pass;
    `absorption` measures feature absorption on the words of texts. Atoms are compared only where decoders are linear:
    `UserError` where `against` or `absorption` is given and one is not.
    """
    check_source(sae, source)
    absorbing = Absorption(sae, source) if absorption else None
    dictionaries = _dictionaries(sae, source, against, match_cosine, progress)
    plans = [plan_probe(source, column) for column in dict.fromkeys(probes)]
    pooled = [PooledCodes(plan.items, sae.n_features) for plan in plans]

    consistency = FiringItems(sae.n_features) if source.positions_per_item > 1 else None

    def observe(rows: Rows, codes: CodeBlock) -> None:
        for each in pooled:
            each.add(codes.sparse, rows.items)
        if consistency is not None:
            consistency.add(codes.sparse, rows.items)
        if absorbing is not None:
            absorbing.add(rows.x, codes.sparse, rows.items, rows.positions)

    found = evaluate(
        sae,
        source,
        config,
        whitening=whitening,
        n_ce_positions=n_ce_positions,
        device=device,
        observe=observe,
        progress=progress,
    )
    metrics = found.metrics | dictionaries
    if consistency is not None:
        metrics |= consistency.metrics()
    for plan, codes in zip(plans, pooled, strict=True):
        metrics |= probe(plan, codes.matrix(), progress)
    if absorbing is not None:
        metrics |= absorbing.metrics(progress)
    return replace(found, metrics=metrics)


def _dictionaries(
    sae: Autoencoder, source: Source, against: Autoencoder | None, match_cosine: float, progress: Progress
) -> dict[str, float | None]:
    """What the weights alone tell. `UserError` where `against` is to be compared with and one has no atoms."""
    if against is None and not sae.has_linear_decoder:
        return {}
    atoms = sae.atoms.detach()
    metrics = similarity_metrics(sae, progress)
    if against is not None:
        metrics |= comparison_metrics(compare_dictionaries(atoms, against.atoms.detach(), match_cosine, progress))
    true_features = getattr(source, "true_features", None)
    if true_features is not None:
        metrics |= recovery_metrics(compare_dictionaries(true_features.to(atoms.device), atoms, match_cosine, progress))
    return metrics
