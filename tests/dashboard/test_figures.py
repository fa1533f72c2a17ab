"""Charts as dicts: valid for Plotly, right in what they mark."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest

from saescope.dashboard import charts
from saescope.dashboard.components import end_labels, feature_scatter, tradeoff
from saescope.dashboard.components.feature_scatter import Box
from saescope.dashboard.components.sparkline import svg
from saescope.dashboard.metrics import METRICS
from saescope.dashboard.views.health import curve_figure, density_bins, density_figure
from saescope.store.read.queries import Scatter


def _points(n: int, seed: int) -> list[tradeoff.Point]:
    rng = np.random.default_rng(seed)
    xy = np.round(rng.uniform(1, 4, size=(n, 2)), 1)  # rounding makes ties
    return [tradeoff.Point(f"s{i}", float(x), float(y), 64, {"l0": float(x)}) for i, (x, y) in enumerate(xy)]


@pytest.mark.parametrize("seed", range(5))
def test_pareto_front_is_what_no_other_beats(seed: int) -> None:
    points = _points(60, seed)
    front = tradeoff.pareto_front(points)
    best = {
        (p.x, p.y) for p in points if not any((q.x <= p.x and q.y < p.y) or (q.x < p.x and q.y <= p.y) for q in points)
    }
    assert {(p.x, p.y) for p in front} == best
    assert len(front) == len(best)


def test_the_tradeoff_chart_is_valid_and_marks_picks() -> None:
    points = _points(5, 0)
    curves = [tradeoff.Curve("a <b>", "topk", points[:3]), tradeoff.Curve("c", "unheard-of", points[3:])]
    references = [tradeoff.Reference("PCA", "pca", [(1.0, 3.0, "1 component"), (2.0, 1e-12, "64 components")])]
    chart = tradeoff.figure(curves, references, METRICS["l0"], METRICS["fvu"], picked=["s1"])
    go.Figure(chart)
    sizes = [size for trace in chart["data"] if "customdata" in trace for size in trace["marker"]["size"]]
    assert [size > min(sizes) for size in sizes] == [False, True, False, False, False]
    low = 10 ** chart["layout"]["yaxis"]["range"][0]
    assert low > min(p.y for p in points) / 10  # a perfect baseline does not stretch the axis
    assert "a &lt;b&gt;" in [note["text"] for note in chart["layout"]["annotations"]]


def test_names_at_the_ends_of_curves_stand_beside_them_or_in_a_column() -> None:
    far = [end_labels.End(f"c{i}", "#000", 1.0, 0.2 * 3**i) for i in range(4)]
    notes = end_labels.end_labels(far, (0.1, 10.0), (0.1, 10.0), 370)
    assert [note["showarrow"] for note in notes] == [False] * 4
    assert [note["yshift"] for note in notes] == [0.0] * 4
    lines = [[(0.2, 0.2 * 3**i), (1.0, 0.2 * 3**i)] for i in range(4)]
    for beside, showarrow in ([(1.0, 1.8), (1.3, 1.8)], True), ([(2.0, 0.1), (2.0, 10.0)], False):
        notes = end_labels.end_labels(far, (0.1, 10.0), (0.1, 10.0), 370, [*lines, beside])
        assert [note["showarrow"] for note in notes] == [showarrow] * 4
    crowd = [end_labels.End(f"c{i}", "#000", 1.0 + i, 1.0 + i * 1e-4) for i in range(6)]
    notes = end_labels.end_labels(crowd, (0.1, 10.0), (0.1, 10.0), 370)
    assert len({note["ax"] for note in notes}) == 1
    assert notes[0]["ax"] > 1  # beyond the axis' end, whose logarithm is 1
    assert min(np.diff([note["ay"] for note in notes])) * 370 / 2 > end_labels.GAP - 1e-6
    assert abs(np.mean([note["ay"] for note in notes])) < 0.01  # on both sides of the points
    assert [note["y"] for note in notes] == pytest.approx([np.log10(end.y) for end in crowd])


@pytest.mark.parametrize(("points", "length"), [([0, 0, 0, 5], 100), ([95, 99, 100], 100), ([10, 11, 60, 61], 70)])
def test_places_keep_their_order_and_distance_and_stay_inside(points: list[float], length: float) -> None:
    places = end_labels.spread(points, 15, length)
    assert min(np.diff(places)) >= 15 - 1e-9
    assert min(places) >= 0
    assert max(places) <= length


def test_curves_of_one_architecture_differ_in_their_lines() -> None:
    points = _points(6, 1)
    curves = [tradeoff.Curve(f"c{i}", "relu", points[2 * i : 2 * i + 2]) for i in range(3)]
    traces = [t for t in tradeoff.figure(curves, [], METRICS["l0"], METRICS["fvu"])["data"] if "customdata" in t]
    assert len({t["line"]["dash"] for t in traces}) == 3
    assert len({t["line"]["color"] for t in traces}) == 1
    assert [t["marker"]["symbol"].endswith("-open") for t in traces] == [False, True, False]


@pytest.mark.parametrize(("low", "high"), [(0.012, 0.61), (1.6, 2.7), (1e-7, 1.0), (3, 300), (0.0999, 0.1001)])
def test_log_ticks_lie_inside_and_are_a_handful(low: float, high: float) -> None:
    ticks = charts.log_ticks(low, high)
    assert 2 <= len(ticks) <= 11
    assert all(low * (1 - 1e-9) <= t <= high * (1 + 1e-9) for t in ticks)
    assert len({charts.tick(t) for t in ticks}) == len(ticks)


def test_a_region_survives_the_address() -> None:
    box = Box((0.001234567, 0.2), (-1.5, 8.0))
    again = Box.parse(box.text())
    assert again is not None
    assert again.x == pytest.approx(box.x, rel=1e-3)
    assert again.y == box.y
    assert Box.parse("4,3,2,1") == Box((3, 4), (1, 2))
    for bad in ("", "1,2,3", "a,b,c,d", "nan,1,2,3", "1,inf,2,3"):
        assert Box.parse(bad) is None


def test_cells_are_drawn_for_many_features() -> None:
    cells = pa.table(
        {
            "x_low": [0.001, 0.01],
            "x_high": [0.01, 0.1],
            "y_low": [1.0, 2.0],
            "y_high": [2.0, 4.0],
            "n_features": [9_000, 4_000],
            "feature_id": [0, 3],
        }
    )
    scatter = Scatter(None, cells, 13_000, 0)
    chart = feature_scatter.figure(scatter, "density", "max_activation", (True, True), height=400)
    go.Figure(chart)
    trace = chart["data"][0]
    assert trace["x"] == pytest.approx([math.sqrt(1e-5), math.sqrt(1e-3)])
    assert trace["customdata"] == [[0.001, 0.01, 1.0, 2.0], [0.01, 0.1, 2.0, 4.0]]
    assert "9,000 features" in trace["hovertext"][0]


@pytest.mark.parametrize("n_positions", [7, 100, 1797, 60_000])
def test_density_bins_hold_each_live_feature_once_and_part_at_dense(n_positions: int) -> None:
    rng = np.random.default_rng(n_positions)
    fired = np.concatenate([rng.integers(0, n_positions + 1, 500), [0, 1, n_positions]])
    density = fired / n_positions
    edges, counts = density_bins(density, n_positions)
    assert counts.sum() == (density > 0).sum()
    assert edges[0] <= 1 / n_positions
    assert edges[-1] == 1
    assert counts[edges[:-1] > 0.0999].sum() == (density > 0.1).sum()
    go.Figure(density_figure(density, n_positions))


def test_a_density_of_exactly_a_tenth_is_not_dense() -> None:
    edges, counts = density_bins(np.array([0.1, 0.1000001]), 1000)
    assert counts[edges[:-1] > 0.0999].sum() == 1


def test_training_curves_take_a_log_axis_where_they_span_decades() -> None:
    steps = list(range(5))
    flat = curve_figure(steps, [5.0, 4.0, 3.0, None, 2.0], "loss")
    steep = curve_figure(steps, [500.0, 50.0, 5.0, 0.5, 0.05], "loss")
    assert flat["layout"]["yaxis"]["type"] == "linear"
    assert steep["layout"]["yaxis"]["type"] == "log"
    go.Figure(flat)
    go.Figure(steep)
    go.Figure(curve_figure(steps, [0.0] * 5, "dead"))
    go.Figure(curve_figure(steps, [math.nan] * 5, "nothing"))


def test_a_sweeps_thumbnail_names_its_axes_and_escapes() -> None:
    drawing = svg({"relu": [(1.0, 0.5), (10.0, 0.1)], "<x>": [(2.0, 0.3)]}, "L0", "FVU")
    assert drawing is not None
    assert drawing.count("<circle") == 3
    assert ">FVU<" in drawing
    assert "<x>" not in drawing
    assert svg({"relu": [(0.0, 0.5)]}, "L0", "FVU") is None
