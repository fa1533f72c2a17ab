"""Every metric of an SAE, from a checkpoint and a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saescope.autoencoders.device import choose_device
from saescope.baselines.registry import METHODS
from saescope.checkpoints import load_checkpoint
from saescope.checkpoints.conversion import training_space
from saescope.evaluation import Evaluation, judge
from saescope.evaluation.plausibility import check_on_source, looks_wrong
from saescope.metrics.absorption import unmeasured_letters
from saescope.metrics.defaults import MATCH_COSINE, N_CE_POSITIONS
from saescope.progress import SILENT, Progress
from saescope.sources import DataOptions, open_source
from saescope.sources.hooked.provenance import differences, remarks
from saescope.workflows.notes import Note, warn
from saescope.workflows.trained_columns import as_trained


def evaluate(
    checkpoint: Path | str,
    source: DataOptions,
    *,
    format: str | None = None,
    assume: Mapping[str, Any] | None = None,
    against: Path | str | None = None,
    probes: Sequence[str] = (),
    absorption: bool = False,
    match_cosine: float = MATCH_COSINE,
    n_ce_positions: int = N_CE_POSITIONS,
    device: str = "auto",
    note: Note = warn,
    progress: Progress = SILENT,
) -> Evaluation:
    """Every metric of the SAE in `checkpoint` (a path or a hub name) on `source`, as `judge` measures them.

    On the data that it was trained on, the items that training held out count alone. `against` is another checkpoint
    whose dictionary it is compared with. `format` and `assume` as in `load_sae`. `note` hears what the checkpoints
    leave out, what could not be measured, and what probably went wrong where the SAE does not fit the source.
    """
    chosen = choose_device(device)
    other = None if against is None else load_checkpoint(against)
    loaded = load_checkpoint(checkpoint, format, assume)
    for text in (*(other.notes if other is not None else ()), *loaded.notes):
        note(text)
    config, whitening = training_space(loaded, str(checkpoint))
    opened = open_source(as_trained(source, checkpoint), "evaluate", progress)
    different = differences(loaded.metadata, opened)
    for text in (*different, *remarks(opened)):
        note(text)
    evaluation = judge(
        loaded.sae.to(chosen),
        opened,
        config,
        whitening=None if whitening is None else whitening.matrix,
        against=None if other is None else other.sae,
        probes=probes,
        absorption=absorption,
        match_cosine=match_cosine,
        n_ce_positions=n_ce_positions,
        device=chosen,
        progress=progress,
    )
    found = evaluation.metrics
    # elsewhere than where it was trained any SAE looks wrong, and other readings of it would mend nothing
    # and a classical dictionary may be dense by its nature
    sae, classical = loaded.sae, loaded.sae.config.architecture in METHODS
    fvu, l0, sparse = found.get("fvu"), found.get("l0"), sae.config.has_sparse_code
    doubtful = not different and not classical and looks_wrong(fvu, l0, sae.n_features, sparse)
    for remark in (
        check_on_source(sae, opened, chosen).warning if doubtful else None,
        unmeasured_letters(found),
    ):
        if remark is not None:
            note(remark)
    return evaluation
