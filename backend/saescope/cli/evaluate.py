"""`saescope evaluate`: every metric of a trained SAE on a source."""

from __future__ import annotations

from typing import Any

import click

from saescope.cli.checkpoint_options import checkpoint_options, recorded_by
from saescope.cli.report import count, json_object, json_option, line, metric, table
from saescope.cli.source_options import parsed, source_options
from saescope.metrics.defaults import MATCH_COSINE, N_CE_POSITIONS


@click.command()
@click.argument("checkpoint")
@source_options
@checkpoint_options
@click.option(
    "--n-ce-positions",
    type=click.IntRange(min=0),
    default=N_CE_POSITIONS,
    show_default=True,
    metavar="N",
    help="Texts: predictions that cross-entropy is measured on.",
)
@click.option(
    "--against",
    metavar="CHECKPOINT",
    help="Another SAE (a path or a hub name) to compare the dictionary with.",
)
@click.option(
    "--match-cosine",
    type=click.FloatRange(0, 1, min_open=True),
    default=MATCH_COSINE,
    show_default=True,
    metavar="X",
    help="Least cosine of atoms that count as the same.",
)
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="COLUMN",
    help="Metadata column that sparse probes predict, e.g. label; may be repeated.",
)
@click.option(
    "--absorption", is_flag=True, help="Texts: how far features for first letters are absorbed by others (more work)."
)
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu or cuda.")
@json_option
def command(
    checkpoint: str,
    source: dict[str, Any],
    format_name: str | None,
    assume: dict[str, str],
    n_ce_positions: int,
    against: str | None,
    match_cosine: float,
    probes: tuple[str, ...],
    absorption: bool,
    device: str,
    as_json: bool,
) -> None:
    """Print every metric of the SAE in CHECKPOINT (a path, or a name on the Hugging Face hub) on a source.

    On the data that it was trained on, the items that training held out count alone. On a toy source, the
    dictionary is compared with the true one.
    """
    options = parsed(source, device, recorded_by(checkpoint, format_name, assume))
    from saescope.metrics import metric as definition
    from saescope.progress.terminal import terminal_progress
    from saescope.workflows import evaluate

    with terminal_progress() as progress:
        evaluation = evaluate(
            checkpoint,
            options,
            format=format_name,
            assume=assume,
            against=against,
            probes=probes,
            absorption=absorption,
            match_cosine=match_cosine,
            n_ce_positions=n_ce_positions,
            device=device,
            note=progress.tell,
            progress=progress,
        )
    if as_json:
        json_object({"metrics": evaluation.metrics, "n_positions": evaluation.n_positions})
        return
    rows = [(name, metric(name, value), definition(name).formula) for name, value in sorted(evaluation.metrics.items())]
    table(("metric", "value", "formula"), rows, right=(1,))
    behind = f"over {count(evaluation.n_positions)} positions; dead and dense over {count(evaluation.n_evaluated)}"
    if evaluation.n_predictions:
        behind += f"; ce and kl over {count(evaluation.n_predictions)} predictions"
    line(behind)
    if evaluation.trained_on:
        line("the SAE was trained on these very positions")
