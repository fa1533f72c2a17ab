"""Anomalies: how a detector's scores tell anomalies from normal items, and what in the most anomalous ones is badly
rebuilt.

Address: `report` (its name), `threshold` (a score; the detector's own where it is left out), `kind` (which examples).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from saescope.dashboard import charts, panels, theme
from saescope.dashboard.components.table import Cell, Column, Row, table
from saescope.dashboard.formats import day, plain
from saescope.dashboard.presentation import anomalous, sources
from saescope.dashboard.state import controls, links, reads
from saescope.store.format.anomaly_tables import SIGNALS
from saescope.store.numbers import count, percent, significant

if TYPE_CHECKING:
    from saescope.store import FeatureStore
    from saescope.store.read.anomalies import AnomalyReport

KINDS = {"most anomalous": "Most anomalous", "missed": "Missed anomalies", "false alarm": "False alarms"}
_JUDGED = ("auc", "average_precision", "detection_rate", "false_alarm_rate")
_RATES = {
    "auc": ("AUC", "chance that an anomaly scores higher than a normal item, ties counted half"),
    "average_precision": ("average precision", "sum over thresholds of (recall gained) x precision"),
}


def rates(scores: np.ndarray, truth: np.ndarray, threshold: float) -> tuple[float, float]:
    """Share of anomalies and of normal items whose score is above the threshold."""
    flagged = scores > threshold
    return float(flagged[truth].mean()), float(flagged[~truth].mean())


def handles(edges: np.ndarray, own: float) -> list[float]:
    """Thresholds that the slider offers: the edges of the histogram's bins, and the detector's own."""
    return sorted({*(float(edge) for edge in edges), own})


def chosen_threshold(offered: list[float], own: float) -> float:
    """`?threshold=` brought to the nearest one offered; the detector's own where it names none."""
    given = st.query_params.get("threshold")
    try:
        wanted = own if given is None else float(given)
    except ValueError:
        wanted = own
    return own if not math.isfinite(wanted) else min(offered, key=lambda each: abs(each - wanted))


def _threshold(report: AnomalyReport) -> float:
    """The slider, whose value is in the address."""
    own = report.manifest.threshold
    rows = reads.report_table(report, "histogram")
    offered = handles(np.append(rows["lower"].to_numpy(), rows["upper"].to_numpy()[-1:]), own)
    key = "_anomalies_threshold"
    st.session_state[key] = chosen_threshold(offered, own)

    def moved() -> None:
        value = st.session_state[key]
        links.move(threshold=None if value == own else f"{value:.10g}")

    st.select_slider(
        f"threshold (the detector's own: {significant(own)})",
        offered,
        key=key,
        format_func=significant,
        on_change=moved,
        help=f"Items with a higher score are flagged. The detector's own was chosen by "
        f"{plain(report.manifest.detector.get('threshold_rule', ''))} of normal training items.",
    )
    return chosen_threshold(offered, own)


def scores_figure(report: AnomalyReport, threshold: float) -> charts.Figure:
    """Normal items and anomalies by score, each as a share of its own, with the threshold as a line."""
    scheme = theme.scheme()
    rows = reads.report_table(report, "histogram")
    lower, upper = rows["lower"].to_numpy(), rows["upper"].to_numpy()
    log = bool(lower[0] > 0)
    middle = np.sqrt(lower * upper) if log else (lower + upper) / 2
    colours = {"n_normal": theme.ACCENT[scheme], "n_anomalous": theme.DIVERGING[scheme][2]}
    names = {"n_normal": "normal", "n_anomalous": "anomalies"}
    traces: list[charts.Trace] = []
    for column, colour in colours.items():
        counts = rows[column].to_numpy()
        shares = counts / max(1, counts.sum())
        traces.append(
            {
                "type": "bar", "name": names[column], "x": middle.tolist(), "y": shares.tolist(),
                "width": (upper - lower).tolist(), "opacity": 0.6, "marker": {"color": colour, "line": {"width": 0}},
                "hovertext": [
                    f"{count(int(n))} {names[column]}<br>score {significant(float(a))} to {significant(float(b))}"
                    for n, a, b in zip(counts, lower, upper, strict=True)
                ],
                "hoverinfo": "text",
            }
        )  # fmt: skip
    return charts.figure(
        traces,
        charts.Axis(f"score{', log scale' if log else ''}", log=log, range=(float(lower[0]), float(upper[-1]))),
        charts.Axis("share of its kind", percent=True),
        height=290,
        legend=True,
        shapes=[charts.vertical_line(threshold, theme.INK[scheme], "solid")],
        barmode="overlay",
        bargap=0,
        margin={"l": 8, "r": 12, "t": 24, "b": 8, "pad": 0},
    )


def curve_figure(report: AnomalyReport, kind: str, here: tuple[float, float]) -> charts.Figure:
    """A curve of every signal, the score's in full colour, and the present threshold as a point on that."""
    scheme = theme.scheme()
    titles = ("false-alarm rate", "detection rate") if kind == "roc" else ("recall", "precision")
    traces: list[charts.Trace] = []
    for signal in sorted(report.manifest.signals, key=lambda each: each == report.manifest.signal):
        curve = reads.report_curve(report, kind, signal)
        is_own = signal == report.manifest.signal
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": SIGNALS.get(signal, signal),
                "x": curve["x"].to_pylist(), "y": curve["y"].to_pylist(),
                "line": {
                    "color": theme.ACCENT[scheme] if is_own else theme.DEAD[scheme],
                    "width": 2 if is_own else 1,
                    "dash": "solid" if is_own else "dot",
                },
                "hovertemplate": f"{SIGNALS.get(signal, signal)}<br>{titles[0]} %{{x:.3f}}<br>{titles[1]} %{{y:.3f}}"
                "<extra></extra>",
            }
        )  # fmt: skip
    traces.append(
        {
            "type": "scatter", "mode": "markers", "x": [here[0]], "y": [here[1]], "name": "threshold",
            "marker": {"color": theme.INK[scheme], "size": 9},
            "hovertemplate": f"threshold<br>{titles[0]} %{{x:.3f}}<br>{titles[1]} %{{y:.3f}}<extra></extra>",
        }
    )  # fmt: skip
    return charts.figure(
        traces, charts.Axis(titles[0], range=(-0.01, 1.01)), charts.Axis(titles[1], range=(-0.01, 1.01)), height=290
    )


def drift_figure(report: AnomalyReport) -> charts.Figure:
    """Median and 95th percentile of the moving window, and the limit that the median is held against."""
    scheme = theme.scheme()
    rows = reads.report_table(report, "drift")
    drift = report.manifest.drift or {}
    ends = rows["end"].to_pylist()
    values = np.concatenate([rows["median"].to_numpy(), rows["upper"].to_numpy()])
    log = bool(len(values) and values.min() > 0 and values.max() / values.min() > 30)
    lines = (
        ("median", theme.ACCENT[scheme], "solid"),
        ("mean", theme.DENSE[scheme], "dash"),
        ("upper", theme.DEAD[scheme], "dot"),
    )
    traces: list[charts.Trace] = [
        {
            "type": "scatter", "mode": "lines", "name": "95th percentile" if name == "upper" else name, "x": ends,
            "y": rows[name].to_pylist(), "line": {"color": colour, "width": 1.5, "dash": dash},
            "hovertemplate": "item %{x:,}<br>%{y:.4g}<extra></extra>",
        }
        for name, colour, dash in lines
    ]  # fmt: skip
    limit = float(drift.get("limit") or 0.0)
    traces.append(
        {
            "type": "scatter", "mode": "lines", "name": "limit of the median", "x": [ends[0], ends[-1]],
            "y": [limit, limit], "line": {"color": theme.DIVERGING[scheme][2], "width": 1, "dash": "dash"},
            "hoverinfo": "skip",
        }
    )  # fmt: skip
    refit = drift.get("refit_from")
    shapes = [] if refit is None else [charts.vertical_line(float(refit), theme.DIVERGING[scheme][2])]
    return charts.figure(
        traces, charts.Axis("items in their order"), charts.Axis(f"score{', log scale' if log else ''}", log=log),
        height=250, legend=True, shapes=shapes, margin={"l": 8, "r": 12, "t": 24, "b": 8, "pad": 0},
    )  # fmt: skip


def _judgements(report: AnomalyReport) -> dict[tuple[str, str], dict[str, Any]]:
    """Signal and metric -> its row. `StoreError` where one is not there."""
    found = {(row["signal"], row["metric"]): row for row in reads.report_table(report, "judgements").to_pylist()}
    signals = {*report.manifest.signals, report.manifest.signal}
    lacking = sorted(f"{signal} {metric}" for signal in signals for metric in _JUDGED if (signal, metric) not in found)
    if lacking:
        raise report.damaged(f"table judgements lacks {', '.join(lacking)}")
    return found


def _numbers(report: AnomalyReport, detected: float, alarmed: float) -> None:
    rows = _judgements(report)
    line = st.container(horizontal=True, gap="large")
    for name, (title, formula) in _RATES.items():
        row = rows[(report.manifest.signal, name)]
        line.metric(
            title,
            f"{row['value']:.3f}",
            help=f"{plain(formula)}. 95 % bootstrap interval: {row['low']:.3f} to {row['high']:.3f}.",
        )
    manifest = report.manifest
    line.metric(
        "detected", percent(detected), help=f"of {count(manifest.n_anomalous)} anomalies, at the threshold below"
    )
    line.metric("false alarms", percent(alarmed), help=f"of {count(manifest.n_normal)} normal items")


def _signals(report: AnomalyReport) -> None:
    st.markdown("#### Beside other detectors", help="fitted on the same normal items, judged by the same ones")
    found = _judgements(report)
    ordered = sorted(report.manifest.signals, key=lambda each: -found[(each, "auc")]["value"])
    lines = []
    for signal in ordered:
        cells = [Cell(SIGNALS.get(signal, signal))]
        for name in _JUDGED:
            row = found[(signal, name)]
            cells.append(Cell(f"{row['value']:.3f}", help=f"95 %: {row['low']:.3f} to {row['high']:.3f}"))
        lines.append(Row((*cells, Cell(significant(row["threshold"]))), marked=signal == report.manifest.signal))
    titles = ("AUC", "average precision", "detected", "false alarms")
    table(
        [
            Column("signal", align="left", grows=True),
            *(Column(title, "with its 95 % interval on hover") for title in titles),
            Column("threshold", "each detector's own, by the same rule"),
        ],
        lines,
        "anomaly-signals",
    )


def _examples(report: AnomalyReport) -> None:
    rows = reads.report_table(report, "examples").to_pylist()
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in KINDS}
    st.markdown("#### What is badly rebuilt")
    kind = controls.choice(
        "examples",
        "kind",
        {name: f"{title} ({counts[name]})" for name, title in KINDS.items()},
        style="segmented",
        show_label=False,
    )
    shown = [row for row in rows if row["kind"] == kind]
    if not shown:
        panels.empty("There are none at the detector's own threshold.")
        return
    anomalous.show(report.manifest.described, shown, key=f"anomalies-{report.name}-{kind}")


def _drift(report: AnomalyReport) -> None:
    drift = report.manifest.drift
    if drift is None or not report.has_table("drift"):
        return
    refit = drift.get("refit_from")
    said = (
        "no refit is advised"
        if refit is None
        else f"refit from item {count(int(drift['item_id']))} on, number {count(int(refit))} in the order"
    )
    st.markdown("#### Drift", help=plain(str(drift.get("rule", ""))))
    st.caption(plain(f"Windows of {count(int(drift['window']))} items: {said}."))
    st.plotly_chart(
        drift_figure(report), key="anomaly-drift", config=charts.CONFIG, alt="Scores of a moving window of items"
    )


def render(store: FeatureStore) -> None:
    """Draw the page."""
    st.title("Anomalies")
    names = store.anomaly_names()
    if not names:
        panels.empty("This store holds no anomaly report yet.", "Publish one with saescope anomaly report --store.")
        return
    given = st.query_params.get("report")
    name = names[0] if given is None else given
    if len(names) > 1 and name in names:
        name = controls.choice("report", "report", {each: each for each in names})
    report = store.anomaly(name)
    manifest = report.manifest
    described = manifest.described
    parts = (
        manifest.name,
        f"{manifest.architecture} by {SIGNALS.get(manifest.signal, manifest.signal)}",
        sources.name(described),
        f"{count(manifest.n_normal)} normal items and {count(manifest.n_anomalous)} anomalies",
        day(manifest.created_at),
    )
    st.caption(plain(" · ".join(parts)))
    scores, truth = reads.report_scores(report)
    numbers = st.container()
    left, middle, right = st.columns([2, 1, 1], gap="medium")
    with left:
        threshold = _threshold(report)
        st.plotly_chart(
            scores_figure(report, threshold),
            key="anomaly-scores",
            config=charts.CONFIG,
            alt="Histogram of the scores of normal items and anomalies",
        )
    detected, alarmed = rates(scores, truth, threshold)
    with numbers:
        _numbers(report, detected, alarmed)
    flagged = scores > threshold
    precision = float(truth[flagged].mean()) if flagged.any() else 1.0
    for place, kind, title, here in (
        (middle, "roc", "ROC", (alarmed, detected)),
        (right, "precision_recall", "Precision and recall", (detected, precision)),
    ):
        with place:
            st.markdown(f"#### {title}")
            st.plotly_chart(
                curve_figure(report, kind, here), key=f"anomaly-{kind}", config=charts.CONFIG, alt=f"{title} curve"
            )
    _examples(report)
    _signals(report)
    _drift(report)
