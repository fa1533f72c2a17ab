"""Library, Sparsity vs. reconstruction, Features and Health on a real store: numbers against the store's own."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from saescope.store import FeatureStore, numbers
from tests.dashboard.pages import charts, checked, components, run_page, tables, texts


def test_library_shows_every_sae_with_its_numbers(digits_store: Path, store: FeatureStore) -> None:
    rows = {}
    at = run_page("library", digits_store)
    for table in tables(at):
        cells = (dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True))
        rows |= {row["SAE"]: row for row in cells}
    assert sorted(rows) == store.ids()
    entry = store["digits-topk-k4"]
    row = rows["digits-topk-k4"]
    assert (row["features"], row["L0"]) == ("64", "4.00")
    assert row["FVU"] == numbers.significant(entry.metrics["fvu"])
    assert row["MSE"] == numbers.significant(entry.metrics["mse"])
    assert "architecture" not in row  # a sweep of one architecture says it above its rows
    assert any(caption.value.startswith("topk · ") for caption in at.caption)
    assert rows["digits-relu"]["architecture"] == "relu"


def test_features_lists_what_the_query_finds(digits_store: Path, store: FeatureStore) -> None:
    entry = store["digits-topk-k8"]
    density = entry.table("features")["density"].to_numpy()
    at = run_page("features", digits_store, sae="digits-topk-k8", q="density > 0.12")
    expected = np.flatnonzero(density > 0.12)
    assert 0 < len(expected) < 64
    assert f"{len(expected)} of 64 features" in texts(at)
    shown = [int(name.strip("# ★")) for name in tables(at)[0]["feature"]]
    assert sorted(shown) == expected.tolist()
    assert np.all(np.diff(density[shown]) <= 0)


def test_a_row_shows_the_labels_precision_and_tells_the_rest(digits_store: Path, store: FeatureStore) -> None:
    rows = store["digits-topk-k4"].table("features").to_pylist()
    at = run_page("features", digits_store, sae="digits-topk-k4", sort="feature_id", order="up")
    shown = components(at, "saescope_table")[0]
    label = [column["title"] for column in shown["columns"]].index("label")
    assert len(shown["rows"]) == 64
    for row, drawn in zip(rows, shown["rows"], strict=True):
        cell, name = drawn["cells"][label], row["auto_label"]
        if name is None:
            assert cell["text"] == ""
            continue
        precision, recall, base = (numbers.percent(row[f"label_{n}"]) for n in ("precision", "recall", "base_rate"))
        assert cell["text"] == f"{name}: {precision} of firings"
        assert cell["help"] == f"automatic: {cell['text']}, recall {recall}, base rate {base}"


@pytest.mark.parametrize(
    ("sort", "order", "column"), [("density", "up", "density"), ("decoder_norm", "down", "decoder_norm")]
)
def test_features_sort_in_the_store(
    digits_store: Path, store: FeatureStore, sort: str, order: str, column: str
) -> None:
    at = run_page("features", digits_store, sae="digits-relu", sort=sort, order=order)
    shown = [int(name.strip("# ★")) for name in tables(at)[0]["feature"]]
    values = store["digits-relu"].table("features")[sort].to_numpy()[shown]
    assert np.all(np.diff(values) * (1 if order == "up" else -1) >= 0)


def test_a_brushed_region_lists_what_lies_in_it(digits_store: Path, store: FeatureStore) -> None:
    table = store["digits-relu"].table("features")
    density, most = table["density"].to_numpy(), table["max_activation"].to_numpy()
    low, high = np.quantile(density, [0.25, 0.75])
    floor = float(np.median(most))
    at = run_page("features", digits_store, sae="digits-relu", box=f"{low:.4g},{high:.4g},{floor:.4g},1000")
    inside = (density >= float(f"{low:.4g}")) & (density <= float(f"{high:.4g}")) & (most >= np.float32(f"{floor:.4g}"))
    assert f"{inside.sum()} of 64 features" in texts(at)
    region = next(button for button in at.button if "Region" in button.label)
    checked(region.click().run())
    assert "box" not in at.query_params
    assert "64 of 64 features" in texts(at)


def test_a_filter_goes_with_a_query(digits_store: Path, store: FeatureStore) -> None:
    table = store["digits-topk-k16"].table("features")
    dense = table["is_dense"].to_numpy(zero_copy_only=False)
    even = table["feature_id"].to_numpy() < 32
    at = run_page("features", digits_store, sae="digits-topk-k16", show="dense", q="feature_id < 32 or density > 2")
    assert f"{(dense & even).sum()} of 64 features" in texts(at)


def test_a_bare_number_is_a_feature_with_a_filter_too(digits_store: Path, store: FeatureStore) -> None:
    assert not store["digits-relu"].feature(12).is_dead
    for show in ("all", "live"):
        at = run_page("features", digits_store, sae="digits-relu", show=show, q="12")
        assert "#0012" in tables(at)[0]["feature"]


def test_a_bad_query_is_told_and_leaves_the_search_box(digits_store: Path) -> None:
    at = run_page("features", digits_store, sae="digits-relu", q="denisty > 0.1")
    assert "not understood" in texts(at)
    assert "density" in texts(at)  # the nearest name
    checked(at.text_input[0].set_value("density > 0.1").run())
    assert at.query_params["q"] == "density > 0.1"
    assert "not understood" not in texts(at)


def test_a_page_past_the_end_shows_the_last_one(digits_store: Path) -> None:
    at = run_page("features", digits_store, sae="digits-relu", page="900")
    assert len(tables(at)[0]["feature"]) == 64


def test_sparsity_draws_each_sae_once_at_its_metrics(digits_store: Path, store: FeatureStore) -> None:
    at = run_page("sparsity", digits_store, sae="digits-relu", x="fraction_active", y="mse")
    points = {}
    for trace in charts(at)[0]["data"]:
        for custom, x, y in zip(trace.get("customdata", []), trace["x"], trace["y"], strict=False):
            assert custom[0] not in points
            points[custom[0]] = (x, y)
    same_source = store["digits-relu"].manifest.source
    expected = [e for e in store.entries() if e.manifest.source.get("patch") == same_source.get("patch")]
    assert sorted(points) == sorted(e.sae_id for e in expected)
    for entry in expected:
        assert points[entry.sae_id] == (entry.metrics["fraction_active"], entry.metrics["mse"])


def test_sparsity_restores_its_picks_and_leaves_out_what_is_unknown(digits_store: Path) -> None:
    at = run_page("sparsity", digits_store, picked="digits-topk-k8,digits-topk-k2,nope")
    assert at.multiselect[0].value == ["digits-topk-k8", "digits-topk-k2"]
    assert tables(at)[0]["SAE"] == ["digits-topk-k2", "digits-topk-k8"]  # sparsest first
    assert "nope" in texts(at)
    labels = [data["label"] for data in components(at, "saescope_picture_tiles")]
    assert labels == ["Atoms of digits-topk-k2", "Atoms of digits-topk-k8"]


def test_sparsity_shows_the_same_numbers_of_features_on_request(digits_store: Path) -> None:
    at = run_page("sparsity", digits_store, picked="digits-topk-k8,digits-topk-k2", order="same")
    grids = [[tile["value"] for tile in data["tiles"]] for data in components(at, "saescope_picture_tiles")]
    assert len(grids) == 2
    assert grids[0] == grids[1]


@pytest.mark.parametrize("parameters", [{"x": "bogus", "y": "../", "order": "?"}, {"on": "nothing", "click": "x"}])
def test_nonsense_in_the_address_counts_as_the_default(digits_store: Path, parameters: dict[str, str]) -> None:
    at = run_page("sparsity", digits_store, sae="digits-relu", **parameters)
    assert charts(at)[0]["layout"]["xaxis"]["title"]["text"].startswith("L0")


def test_health_counts_and_bounds(digits_store: Path, store: FeatureStore) -> None:
    entry = store["digits-topk-k16"]
    at = run_page("health", digits_store, sae="digits-topk-k16")
    values = {metric.label: metric.value for metric in at.metric}
    n_dense = entry.metrics["n_dense"]
    assert n_dense is not None
    assert values["dense features"].startswith(f"{n_dense:.0f} (")
    assert values["evaluated positions N"] == numbers.count(entry.n_positions)
    help = next(metric.help for metric in at.metric if metric.label == "dead features")
    assert "1 - 0.05^(1/N)" in help
    assert sum(charts(at)[0]["data"][0]["y"]) + charts(at)[0]["data"][1]["y"][0] == 64


def test_health_shows_near_duplicates_closest_first(digits_store: Path, store: FeatureStore) -> None:
    entry = store["digits-patches"]
    atoms = entry.atoms()
    unit = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    cosine = np.triu(unit @ unit.T, 1)
    assert (cosine >= 0.8).any()
    at = run_page("health", digits_store, sae="digits-patches", cosine="0.8")
    shown = [tuple(tile["value"] for tile in data["tiles"]) for data in components(at, "saescope_picture_tiles")]
    assert shown
    values = [cosine[pair] for pair in shown]
    assert values[0] == pytest.approx(cosine.max(), abs=1e-6)
    assert all(a >= b - 1e-6 for a, b in itertools.pairwise(values))


def test_health_lists_every_metric_with_its_formula(digits_store: Path, store: FeatureStore) -> None:
    at = run_page("health", digits_store, sae="digits-relu")
    rows = store["digits-relu"].table("metrics").to_pylist()
    shown = tables(at)[-1]
    assert dict(zip(shown["metric"], shown["formula"], strict=True)) == {row["name"]: row["formula"] for row in rows}


def test_titles_of_metrics_show_the_formula_of_the_store(digits_store: Path, store: FeatureStore) -> None:
    formulas = {row["name"]: row["formula"] for row in store["digits-relu"].table("metrics").to_pylist()}
    columns = components(run_page("library", digits_store), "saescope_table")[0]["columns"]
    helps = {column["title"]: column["help"] for column in columns}
    assert helps["L0"] == formulas["l0"]
    assert helps["FVU"] == formulas["fvu"]


def test_a_long_library_can_be_filtered(digits_store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    (copy / "saes").mkdir(parents=True)
    (copy / "store.json").write_bytes((digits_store / "store.json").read_bytes())
    original = digits_store / "saes" / "digits-relu"
    version = (original / "CURRENT").read_text().strip()
    for i in range(13):
        folder = copy / "saes" / f"sae-{i:02d}"
        (folder / version).mkdir(parents=True)
        (folder / "CURRENT").write_bytes((original / "CURRENT").read_bytes())
        manifest = json.loads((original / version / "manifest.json").read_text()) | {"sae_id": folder.name}
        (folder / version / "manifest.json").write_text(json.dumps(manifest))
    at = run_page("library", copy)
    assert sum(len(table["SAE"]) for table in tables(at)) == 13
    checked(at.text_input[0].set_value("SAE-07").run())
    assert at.query_params["find"] == "SAE-07"
    assert [table["SAE"] for table in tables(at)] == [["sae-07"]]
    checked(at.text_input[0].set_value("nothing like it").run())
    assert "No SAE has this in its name" in texts(at)
