"""Reads over all features and of single ones, against the Parquet tables in plain Python and NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from saescope.store import Entry, FeatureStore, QueryError, StoreError, UnknownEntry, UnknownFeature, UserError
from saescope.store.read.queries import SORTS

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def patches(store: FeatureStore) -> Entry:
    return store["digits-patches"]


@pytest.fixture(params=["digits-patches", "dead-and-dense"])
def entry(request: pytest.FixtureRequest, digits_store: Path, other_store: Path) -> Iterator[Entry]:
    with FeatureStore(digits_store if request.param == "digits-patches" else other_store) as store:
        yield store[request.param]


def test_the_store_lists_its_entries(store: FeatureStore) -> None:
    ids = ["digits-patches", "digits-relu", "digits-topk-k16", "digits-topk-k2", "digits-topk-k4", "digits-topk-k8"]
    assert store.ids() == ids == list(store) == [e.sae_id for e in store.entries()]
    assert len(store) == 6
    assert "digits-relu" in store
    assert "other" not in store
    assert "../x" not in store
    assert repr(store["digits-relu"]).startswith("<Entry 'digits-relu': relu, 64 features, 1,797 positions, l0=")
    for bad in ("../../etc", "", "Digits"):
        with pytest.raises(UnknownEntry, match="not a valid sae_id"):
            store[bad]
    with pytest.raises(UnknownEntry, match="no entry 'digits'"):
        store["digits"]


def test_opening_entries_opens_no_index(digits_store: Path) -> None:
    with FeatureStore(digits_store) as store:
        for entry in store.entries():
            assert entry.metrics["l0"] is not None
            entry.training_curve()
            entry.table("features")
            entry.atoms([0])
        store.sweeps()[0].baselines()
        assert not store.indexes._open
        entry.feature(0)
        assert len(store.indexes._open) == 1


def test_sweeps_hold_every_entry_once_from_sparse_to_dense(store: FeatureStore) -> None:
    sweeps = {s.name: s for s in store.sweeps()}
    assert list(sweeps) == ["digits", "digits-patches", "digits-relu"]
    topk = sweeps["digits"]
    assert (topk.parameter, topk.architecture) == ("k", "topk")
    assert [e.manifest.sweep["value"] for e in topk.entries if e.manifest.sweep] == [2, 4, 8, 16]
    assert sweeps["digits-relu"].parameter is None
    assert topk.source_key == sweeps["digits-relu"].source_key != sweeps["digits-patches"].source_key
    baselines = topk.baselines()
    assert baselines is not None
    n_components, fvu = baselines["n_components"].to_pylist(), baselines["fvu"].to_pylist()
    assert set(baselines["name"].to_pylist()) == {"pca"}
    assert n_components == sorted(set(n_components))
    assert {2, 4, 8, 16} <= set(n_components)
    assert fvu == sorted(fvu, reverse=True)


def test_a_feature_is_its_row_with_ranks(entry: Entry) -> None:
    rows = entry.table("features").to_pylist()
    n_features = len(rows)
    for i in (0, 17, n_features - 1, *(r["feature_id"] for r in rows if r["is_dead"])):
        feature = entry.feature(i)
        assert {name: feature[name] for name in rows[i]} == rows[i]
        assert feature.density_rank == 1 + sum(r["n_firing"] > rows[i]["n_firing"] for r in rows)
        strongest = rows[i]["max_activation"]
        stronger = sum((r["max_activation"] or 0) > (strongest or 0) for r in rows)
        assert feature.max_rank == (None if strongest is None else 1 + stronger)
        assert feature.label == rows[i]["auto_label"]
        assert feature.as_dict()["n_features"] == n_features
    assert entry.feature(np.int64(5)).feature_id == 5
    with pytest.raises(KeyError, match="no column 'nothing'"):
        feature["nothing"]


@pytest.mark.parametrize("bad", [-1, 256, 10**12, True, "3", 2.0, None])
def test_an_unknown_feature_is_refused(entry: Entry, bad: object) -> None:
    for read in (entry.feature, entry.examples, entry.neighbours, entry.coactivations, entry.annotation):
        with pytest.raises(UnknownFeature, match=rf"no feature .*\n?.*its features are 0 to {entry.n_features - 1}"):
            read(bad)  # type: ignore[operator]


def test_examples_neighbours_and_coactivations_are_their_rows(entry: Entry) -> None:
    def rows(table: str, i: int) -> list[dict[str, object]]:
        return [r for r in entry.table(table).to_pylist() if r["feature_id"] == i]

    i = 9
    examples = [e.as_dict() for e in entry.examples(i)]
    assert examples == [r for kind in ("top", "interval") for r in rows("examples", i) if r["kind"] == kind]
    assert [e.as_dict() for e in entry.examples(i, kind="top")] == [r for r in examples if r["kind"] == "top"]
    assert [e.as_dict() for e in entry.examples(i, interval=1)] == [r for r in examples if r["interval"] == 1]
    with pytest.raises(UserError, match="no kind of examples 'best'"):
        entry.examples(i, kind="best")
    labels = entry.table("features")["auto_label"].to_pylist()
    near = entry.neighbours(i)
    assert [(n.rank, n.neighbour_id, n.cosine) for n in near] == [
        (r["rank"], r["neighbour_id"], r["cosine"]) for r in rows("neighbours", i)
    ]
    assert [n.auto_label for n in near] == [labels[n.neighbour_id] for n in near]
    often = entry.coactivations(i)
    assert [(c.rank, c.other_id, c.n_both, c.jaccard) for c in often] == [
        (r["rank"], r["other_id"], r["n_both"], r["jaccard"]) for r in rows("coactivations", i)
    ]
    assert [c.auto_label for c in often] == [labels[c.other_id] for c in often]


def test_items_come_in_the_order_asked_for(patches: Entry) -> None:
    entry = patches
    kept = entry.table("items")["item_id"].to_pylist()
    wanted = [kept[7], kept[2], 10**9, kept[7], kept[0]]
    assert entry.items(wanted)["item_id"].to_pylist() == [kept[7], kept[2], kept[0]]
    assert entry.items([]).num_rows == 0
    item = entry.item(kept[3])
    assert item.image is not None
    assert item.image.startswith(PNG)
    assert item._repr_png_() == item.image
    assert item.label in "0123456789"
    assert item.metadata == {}
    with pytest.raises(UserError, match="does not keep item 1000000000"):
        entry.item(10**9)


def test_samples_have_codes_and_reconstructions(patches: Entry) -> None:
    entry = patches
    ids = entry.sample_item_ids()
    assert ids == sorted(entry.table("reconstructions")["item_id"].to_pylist())
    codes = entry.item_codes(ids[1])
    assert [c.position for c in codes] == list(range(9))
    assert all(len(c.feature_ids) <= 4 and c.activations == sorted(c.activations, reverse=True) for c in codes)
    assert entry.item_codes(10**9) == []
    rebuilt = entry.reconstruction([ids[4], ids[1]])
    assert rebuilt["item_id"].to_pylist() == [ids[4], ids[1]]
    assert len(rebuilt["reconstruction"][0]) == 64


def test_atoms_are_the_rows_of_the_weights_file(entry: Entry) -> None:
    weights = load_file(entry.paths.weights)
    np.testing.assert_array_equal(entry.atoms(), weights["W_dec"])
    np.testing.assert_array_equal(entry.atoms([5, 5, 0]), weights["W_dec"][[5, 5, 0]])
    np.testing.assert_array_equal(entry.decoder_bias(), weights["b_dec"])
    assert entry.atoms([]).shape == (0, entry.manifest.d_out)
    assert entry.atoms([1]).flags.writeable
    for bad in ([entry.n_features], [-1], [0, 999]):
        with pytest.raises(UnknownFeature):
            entry.atoms(bad)


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("descending", [True, False])
def test_pages_are_sorted_and_complete(entry: Entry, sort: str, descending: bool) -> None:
    total = entry.n_features - 4
    pages = [entry.features_page("id > 3", sort, descending, page=p, page_size=total // 2 - 5) for p in range(4)]
    assert [p.rows.num_rows for p in pages] == [total // 2 - 5, total // 2 - 5, 10, 0]
    assert {(p.total, p.n_pages) for p in pages} == {(total, 3)}
    rows = [row for p in pages for row in p.rows.to_pylist()]

    def key(row: dict[str, object]) -> tuple[bool, object, object]:
        value = row[sort]
        if value is None:
            return (True, 0, row["feature_id"])
        if isinstance(value, str):
            return (False, value.lower(), row["feature_id"])
        number = abs(float(value)) if sort == "max_activation" else float(value)  # type: ignore[arg-type]
        return (False, -number if descending else number, row["feature_id"])

    if isinstance(rows[0][sort], str) and descending:
        values = [r[sort] for r in rows if r[sort] is not None]
        assert values == sorted(values, reverse=True)
        assert all(r[sort] is None for r in rows[len(values) :])
    else:
        assert rows == sorted(rows, key=key)


def test_pages_are_bounded(entry: Entry) -> None:
    with pytest.raises(QueryError, match="cannot sort by 'hist_counts'"):
        entry.features_page(sort="hist_counts")
    for page, size in ((0, 1001), (0, 0), (-1, 10)):
        with pytest.raises(UserError, match=r"pages count from 0 and have 1 to 1,000 rows"):
            entry.features_page(page=page, page_size=size)


@pytest.mark.parametrize("log", [False, True])
def test_a_scatter_is_points_or_cells_that_hold_them(entry: Entry, log: bool) -> None:
    table = entry.table("features")
    x, y = table["density"].to_numpy(), table["max_activation"].to_numpy(zero_copy_only=False).astype(np.float64)
    drawn = ~np.isnan(y)
    scatter = entry.scatter("density", "max", "id < 50", log_x=log, log_y=log)
    assert scatter.points is not None
    assert scatter.cells is None
    n = int(drawn[:50].sum())
    assert (scatter.total, scatter.n_missing, scatter.points.num_rows) == (n, 50 - n, n)
    assert scatter.points["x"].to_pylist() == x[:50][drawn[:50]].tolist()
    assert scatter.points["y"].to_pylist() == y[:50][drawn[:50]].tolist()

    binned = entry.scatter("density", "max", limit=25, log_x=log, log_y=log)
    assert binned.points is None
    assert binned.cells is not None
    cells = binned.cells.to_pylist()
    assert len(cells) <= 25
    assert sum(c["n_features"] for c in cells) == binned.total == drawn.sum()
    assert binned.n_missing == (~drawn).sum()
    tight = 1 + 1e-9
    for c in cells:
        inside = (
            (x >= c["x_low"] / tight)
            & (x <= c["x_high"] * tight)
            & (y >= c["y_low"] / tight)
            & (y <= c["y_high"] * tight)
        )
        assert inside[c["feature_id"]]
        assert inside.sum() >= c["n_features"]
    widths = {round(float(np.log(c["x_high"] / c["x_low"]) if log else c["x_high"] - c["x_low"]), 12) for c in cells}
    assert len(widths) == 1


def test_a_log_axis_leaves_out_what_it_cannot_show(entry: Entry) -> None:
    table, n = entry.table("features"), entry.n_features
    bias, density = table["encoder_bias"].to_numpy(), table["density"].to_numpy()
    shown = int((bias > 0).sum())
    assert 0 < shown < n
    scatter = entry.scatter("encoder_bias", "density", log_x=True)
    assert (scatter.total, scatter.n_missing) == (shown, n - shown)
    histogram = entry.histogram("bias", bins=7)
    assert (int(histogram.counts.sum()), histogram.n_missing) == (shown, n - shown)
    nothing = entry.histogram("density", query="is:dead")
    assert (nothing.counts.tolist(), nothing.n_missing) == ([], int((density == 0).sum()))


@pytest.mark.parametrize("log", [False, True])
def test_a_histogram_counts_as_numpy_does(entry: Entry, log: bool) -> None:
    density = entry.table("features")["density"].to_numpy()
    histogram = entry.histogram("density", bins=9, log=log)
    counts, edges = np.histogram(np.log10(density[density > 0]) if log else density, bins=9)
    assert histogram.counts.tolist() == counts.tolist()
    np.testing.assert_allclose(histogram.edges, 10**edges if log else edges, rtol=1e-9)
    i = int(np.argmax(density))
    one = entry.histogram("density", query=f"id = {i}", log=log)
    assert one.counts.tolist() == [1]
    assert one.edges[0] < density[i] < one.edges[1]


def test_plots_are_bounded(entry: Entry) -> None:
    with pytest.raises(UserError, match="1 to 10,000"):
        entry.scatter("density", "max", limit=10_001)
    with pytest.raises(QueryError, match="no numeric column 'label'"):
        entry.scatter("density", "label")
    with pytest.raises(UserError, match="0 bins"):
        entry.histogram("density", bins=0)


def test_near_duplicates_are_the_pairs_above_the_cosine(entry: Entry) -> None:
    rows = entry.table("neighbours").to_pylist()
    least = 0.3
    pairs = {
        (min(r["feature_id"], r["neighbour_id"]), max(r["feature_id"], r["neighbour_id"])): r["cosine"]
        for r in rows
        if r["cosine"] >= least
    }
    found = entry.near_duplicates(least, limit=1000)
    assert {(p.feature_id, p.other_id): p.cosine for p in found} == pytest.approx(pairs)
    assert [p.cosine for p in found] == sorted((p.cosine for p in found), reverse=True)
    assert entry.n_near_duplicates(least) == len(pairs) > 5
    assert entry.near_duplicates(least, limit=3) == found[:3]
    assert entry.near_duplicates(1.1) == []


def test_tables_and_sql(entry: Entry) -> None:
    assert entry.tables[:3] == ["features", "examples", "items"]
    assert not entry.has_table("top_logits")
    with pytest.raises(StoreError, match="no table 'top_logits'"):
        entry.table("top_logits")
    assert entry.table("features", ["density"]).column_names == ["density"]
    curve = entry.training_curve()
    assert curve is not None
    assert {"step", "n_examples", "loss"} <= set(curve.column_names)
    assert entry.sql("SELECT count(*) AS n FROM features WHERE density > ?", [0.05])["n"][0].as_py() > 0


def test_sql_is_read_only_and_shut_in(entry: Entry, tmp_path: Path) -> None:
    import duckdb

    (tmp_path / "secret.csv").write_text("a\n1\n")
    for statement in (
        "DELETE FROM features",
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"COPY features TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/x.duckdb'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ):
        with pytest.raises(duckdb.Error):
            entry.sql(statement)
    assert [p.name for p in tmp_path.iterdir()] == ["secret.csv"]
