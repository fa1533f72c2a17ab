"""`saescope anomaly`: items that an autoencoder trained on normal ones rebuilds badly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saescope.cli.checkpoint_options import checkpoint_options, say_notes
from saescope.cli.report import count, json_object, json_option, line, number, percent, table
from saescope.cli.source_options import parsed, source_options
from saescope.options.flags import Option, collected, option_flags

_DEVICE = click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu or cuda.")
_CHECKPOINT = click.option(
    "--checkpoint", metavar="CHECKPOINT", help="The detector's autoencoder, where it has moved since the fit."
)


def fit_flags() -> dict[str, Option]:
    """The options of `fit`."""
    from saescope.anomalies.options import FitOptions

    return collected({"fit": FitOptions})


def report_flags() -> dict[str, Option]:
    """The options of `report`."""
    from saescope.anomalies.options import ReportOptions

    return collected({"report": ReportOptions})


@click.group()
def command() -> None:
    """Find items that an autoencoder trained on normal ones rebuilds badly.

    Fit a detector on normal training items, score any items, and report how well labelled anomalies are told apart.
    """


@command.command()
@click.argument("checkpoint")
@source_options
@checkpoint_options
@option_flags(fit_flags(), into="fitting")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New folder for the detector."
)
@_DEVICE
@json_option
def fit(
    checkpoint: str,
    source: dict[str, Any],
    format_name: str | None,
    assume: dict[str, str],
    fitting: dict[str, Any],
    out: Path,
    device: str,
    as_json: bool,
) -> None:
    """Fit a detector on the normal items of the training data.

    CHECKPOINT is any autoencoder (a path, or a name on the Hugging Face hub). Of data with splits the training split is
    read; of other data the nine tenths that training keeps.
    """
    options = parsed(source, device)
    from saescope.anomalies.options import FitOptions
    from saescope.progress.terminal import terminal_progress
    from saescope.workflows.anomalies import fit_anomalies

    with terminal_progress() as progress:
        detector = fit_anomalies(
            checkpoint,
            options,
            out,
            FitOptions(**fitting),
            format=format_name,
            assume=assume,
            device=device,
            note=progress.tell,
            progress=progress,
        )
    about = detector.about
    if as_json:
        json_object(
            {
                "detector": str(out),
                "signal": about.main,
                "threshold": about.thresholds[about.main],
                "n_fitted": about.n_fitted,
                "n_calibrated": about.n_calibrated,
            }
        )
        return
    line(f"fitted on {count(about.n_fitted)} normal items: {out}")
    line(
        f"threshold {number(about.thresholds[about.main], 4)} ({about.threshold_rule} of {count(about.n_calibrated)}: "
        f"{about.calibrated_on})"
    )


@command.command()
@click.argument("detector", type=click.Path(path_type=Path))
@source_options
@_CHECKPOINT
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="PATH", help="File to write, .parquet or .csv."
)
@_DEVICE
@json_option
def score(
    detector: Path, source: dict[str, Any], checkpoint: str | None, out: Path, device: str, as_json: bool
) -> None:
    """Score every item and flag those above the threshold."""
    options = parsed(source, device)
    from saescope.progress.terminal import terminal_progress
    from saescope.workflows.anomalies import score_anomalies

    with terminal_progress() as progress:
        scored = score_anomalies(detector, options, out, checkpoint=checkpoint, device=device, progress=progress)
    if as_json:
        json_object({"path": str(scored.path), "n_items": scored.n_items, "n_flagged": scored.n_flagged})
        return
    share = percent(scored.n_flagged / scored.n_items if scored.n_items else None)
    line(f"{count(scored.n_items)} items scored, {count(scored.n_flagged)} flagged ({share}): {scored.path}")


@command.command()
@click.argument("detector", type=click.Path(path_type=Path))
@source_options
@_CHECKPOINT
@option_flags(report_flags(), into="reporting")
@click.option("--store", type=click.Path(path_type=Path), metavar="DIR", help="Publish the report in this store.")
@click.option("--name", metavar="NAME", help="Name of the published report.")
@_DEVICE
@json_option
def report(
    detector: Path,
    source: dict[str, Any],
    checkpoint: str | None,
    reporting: dict[str, Any],
    store: Path | None,
    name: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Say how well a detector tells labelled anomalies from normal items that it was not fitted on."""
    options = parsed(source, device)
    from saescope.anomalies.judging import METRICS
    from saescope.anomalies.options import ReportOptions
    from saescope.anomalies.publishing import drift_record
    from saescope.progress.terminal import terminal_progress
    from saescope.store.format.anomaly_tables import SIGNALS
    from saescope.workflows.anomalies import report_anomalies

    with terminal_progress() as progress:
        found = report_anomalies(
            detector,
            options,
            ReportOptions(**reporting),
            store=store,
            name=name,
            checkpoint=checkpoint,
            device=device,
            note=progress.tell,
            progress=progress,
        )
    judged, about = found.judged, found.detector.about
    n_anomalous = int((judged.counted & judged.truth).sum())
    n_normal = int(judged.counted.sum()) - n_anomalous
    drift = drift_record(judged)
    if as_json:
        json_object(
            {
                **found.metrics,
                "n_normal": n_normal,
                "n_anomalies": n_anomalous,
                "signal": about.main,
                "intervals": judged.intervals[about.main],
                "signals": {signal: dict(metrics) for signal, metrics in judged.metrics.items()},
                "drift": drift,
            }
        )
        return
    rows = []
    for signal in sorted(judged.metrics, key=lambda each: (each != about.main, each)):
        cells = [SIGNALS[signal] + (" (the score)" if signal == about.main else "")]
        for each in METRICS:
            low, high = judged.intervals[signal][each]
            cells.append(f"{number(judged.metrics[signal][each], 3)} [{number(low, 3)}, {number(high, 3)}]")
        rows.append([*cells, number(about.thresholds[signal], 4)])
    header = ("signal", "AUC", "average precision", "detection rate", "false-alarm rate", "threshold")
    table(header, rows, right=(1, 2, 3, 4, 5))
    line(f"over {count(n_normal)} normal items and {count(n_anomalous)} anomalies; 95 % bootstrap intervals")
    if drift is not None:
        refit = drift["refit_from"]
        said = "no drift" if refit is None else f"drift: refit from item {drift['item_id']} on"
        line(f"{said} (windows of {count(drift['window'])} items; {drift['rule']})")
    else:
        line(f"no drift is watched: there are fewer items than a window of {count(reporting.get('window', 200))}")
    say_notes(None if found.published is None else f"published as {name} in {store}")
