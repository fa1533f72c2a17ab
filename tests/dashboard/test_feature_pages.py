"""The pages Feature, Atoms and Reconstructions over the small real store, run in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from saescope.dashboard.presentation.pixels import Pixels
from saescope.dashboard.state import reads
from saescope.store import FeatureStore
from saescope.store.annotations import Annotations
from saescope.store.errors import StorageError
from saescope.store.numbers import density, significant
from tests.dashboard.conftest import OpenPage, texts

SAE = "digits-topk-k8"
PATCHES = "digits-patches"


def component(app: AppTest, name: str) -> dict[str, Any]:
    """What the component with this key was given for the browser."""
    for element in app.main.get("bidi_component"):
        if name in element.proto.id:
            return json.loads(element.proto.json)  # type: ignore[no-any-return]
    raise KeyError(name)


def numbers(app: AppTest) -> str:
    return "".join(element.proto.body for element in app.main.get("html"))


def test_a_feature_shows_its_numbers_histogram_examples_and_relatives(digits_store: Path, open_page: OpenPage) -> None:
    app = open_page(digits_store, "feature", sae=SAE, feature=5)
    with FeatureStore(digits_store) as store:
        entry = store[SAE]
        feature, top = entry.feature(5), entry.examples(5, "top")
        near, both = entry.neighbours(5), entry.coactivations(5)
    assert f"0005 &nbsp;{feature.label}" in texts(app)
    assert density(feature.density) in numbers(app)
    assert significant(feature.max_activation) in numbers(app)
    assert f"{feature.density_rank} / 64" in numbers(app)
    histogram = component(app, "_feature_histogram")
    assert sum(histogram["counts"]) == feature.n_firing
    assert histogram["borders"] == feature.interval_lower
    strip = component(app, "_feature_examples")
    assert [tile["value"] for tile in strip["tiles"]] == [e.item_id for e in top]
    assert [tile["caption"] for tile in strip["tiles"]] == [significant(e.activation) for e in top]
    assert "frame" not in strip["tiles"][0]
    chips = component(app, "_feature_neighbours")["tiles"]
    assert [tile["value"] for tile in chips] == [n.neighbour_id for n in near][: len(chips)]
    partners = component(app, "_feature_co-firing features")["tiles"]
    assert [tile["value"] for tile in partners] == [c.other_id for c in both][: len(partners)]


def test_the_address_picks_the_interval(digits_store: Path, open_page: OpenPage) -> None:
    app = open_page(digits_store, "feature", sae=SAE, feature=5, tab=1)
    with FeatureStore(digits_store) as store:
        expected = store[SAE].examples(5, "interval", 0)
    strip = component(app, "_feature_examples")
    assert [tile["value"] for tile in strip["tiles"]] == [e.item_id for e in expected]
    assert component(app, "_feature_histogram")["chosen"] == 0
    assert (
        component(open_page(digits_store, "feature", sae=SAE, feature=5, tab=77), "_feature_histogram")["chosen"]
        is None
    )


def test_patches_are_framed_where_they_are_and_heated(digits_store: Path, open_page: OpenPage) -> None:
    app = open_page(digits_store, "feature", sae=PATCHES, feature=3)
    strip = component(app, "_feature_examples")
    with FeatureStore(digits_store) as store:
        top = store[PATCHES].examples(3, "top")
    # 4 x 4 patches, 2 apart, 3 x 3 of them
    assert [tile["frame"] for tile in strip["tiles"]] == [[e.position // 3 * 2, e.position % 3 * 2, 4, 4] for e in top]
    assert strip["overlay"]["height"] == strip["sprite"]["height"] == 8


def test_moving_to_the_next_feature_changes_the_address_and_the_page(digits_store: Path, open_page: OpenPage) -> None:
    app = open_page(digits_store, "feature", sae=SAE, feature=5)
    app.button(key="_feature_next").click().run()
    assert app.query_params["feature"] == "6"
    assert "0006" in texts(app)
    app.number_input(key="_feature_number").set_value(63).run()
    assert "0063" in texts(app)
    assert app.button(key="_feature_next").disabled
    assert not app.button(key="_feature_prev").disabled


def test_labels_and_stars_are_kept(own_store: Path, open_page: OpenPage) -> None:
    app = open_page(own_store, "feature", sae=SAE, feature=5)
    app.text_input(key=f"_label_{SAE}_5").set_value("a *round* zero")
    next(b for b in app.main.get("button") if b.label == "Save").click().run()
    app.button(key="_feature_star").click().run()
    assert r"a \*round\* zero" in texts(app)
    assert "labelled by hand; automatic" in texts(app)
    with FeatureStore(own_store) as store:
        note = store[SAE].annotation(5)
    assert (note.label, note.starred) == ("a *round* zero", True)
    app.button(key="_feature_star").click().run()
    with FeatureStore(own_store) as store:
        assert not store[SAE].annotation(5).starred


def test_annotations_that_cannot_be_read_are_told(own_store: Path, open_page: OpenPage) -> None:
    (own_store / "annotations.sqlite").write_bytes(b"this is no database" * 100)
    assert "This store cannot be read" in texts(open_page(own_store, "feature", sae=SAE, feature=5))


def test_a_label_that_cannot_be_kept_is_told(
    own_store: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full", "make room")

    app = open_page(own_store, "feature", sae=SAE, feature=5)
    monkeypatch.setattr(Annotations, "star", full)
    app.button(key="_feature_star").click().run()
    assert "The disk is full" in texts(app)
    assert "0005" in texts(app)


@pytest.mark.parametrize("given", ["-1", "abc", "64", "1.5", "9" * 5000, "٣"])
def test_an_unknown_feature_gets_a_panel_with_a_way_back(digits_store: Path, open_page: OpenPage, given: str) -> None:
    app = open_page(digits_store, "feature", sae=SAE, feature=given)
    assert "No such feature" in texts(app)
    assert "0 to 63" in texts(app).replace("\\", "")


@pytest.mark.parametrize("page", ["feature", "atoms", "reconstructions"])
def test_an_unknown_sae_gets_a_panel(digits_store: Path, open_page: OpenPage, page: str) -> None:
    assert "No such SAE here" in texts(open_page(digits_store, page, sae="../etc"))


@pytest.mark.parametrize(
    ("sort", "column", "descending"),
    [("density", "density", True), ("feature_id", "feature_id", False), ("label", "label", False)],
)
def test_atoms_come_in_the_order_asked_for(
    digits_store: Path, open_page: OpenPage, sort: str, column: str, descending: bool
) -> None:
    grid = component(open_page(digits_store, "atoms", sae=SAE, sort=sort), "_atoms_grid")
    with FeatureStore(digits_store) as store:
        page = store[SAE].features_page("", column, descending, 0, 512)
    assert [tile["value"] for tile in grid["tiles"]] == page.rows["feature_id"].to_pylist()
    assert grid["sprite"]["n"] == 64


def test_similar_atoms_are_all_there_and_filters_hold(digits_store: Path, open_page: OpenPage) -> None:
    everything = component(open_page(digits_store, "atoms", sae=SAE, sort="similar"), "_atoms_grid")
    order = [tile["value"] for tile in everything["tiles"]]
    assert sorted(order) == list(range(64))
    assert order != sorted(order)
    query = "density > 0.05"
    with FeatureStore(digits_store) as store:
        ids = set(store[SAE].features_page(query, page_size=1000).rows["feature_id"].to_pylist())
    assert 0 < len(ids) < 64
    some = component(open_page(digits_store, "atoms", sae=SAE, sort="similar", q=query), "_atoms_grid")
    assert [tile["value"] for tile in some["tiles"]] == [i for i in order if i in ids]
    tones = component(open_page(digits_store, "atoms", sae=SAE, show="dense"), "_atoms_grid")["tiles"]
    assert tones
    assert {tile["tone"] for tile in tones} == {"dense"}


def test_pages_of_atoms_end_where_the_features_end(digits_store: Path, open_page: OpenPage) -> None:
    app = open_page(digits_store, "atoms", sae=SAE, size="large", page=999)
    assert len(component(app, "_atoms_grid")["tiles"]) == 64
    assert "64 features" in texts(app)
    assert "No feature matches" in texts(open_page(digits_store, "atoms", sae=SAE, q="density > 2")).replace("\\", "")
    assert "not understood" in texts(open_page(digits_store, "atoms", sae=SAE, q="density >"))


@pytest.mark.parametrize("sae", [SAE, PATCHES])
def test_reconstructions_show_the_sample_with_its_errors(digits_store: Path, open_page: OpenPage, sae: str) -> None:
    shown = component(open_page(digits_store, "reconstructions", sae=sae), "_reconstruction_rows")
    with FeatureStore(digits_store) as store:
        entry = store[sae]
        sample = entry.sample_item_ids()[: len(shown["rows"])]
        errors = entry.reconstruction(sample)["mse"].to_pylist()
        first = {i for p in entry.item_codes(sample[0]) for i in p.feature_ids}
    assert [row["title"] for row in shown["rows"]] == [f"item {i:,}" for i in sample]
    assert [row["errors"][0] for row in shown["rows"]] == [f"MSE {significant(e)}" for e in errors]
    assert {b["feature"] for b in shown["rows"][0]["builders"]} <= first
    shares = [abs(b["share"]) for b in shown["rows"][0]["builders"]]
    assert shares == sorted(shares, reverse=True)
    for name in ("input", "reconstruction", "residual"):
        assert shown[name]["n"] == len(sample)


def test_the_items_stay_along_the_sweep(digits_store: Path, open_page: OpenPage) -> None:
    app = open_page(digits_store, "reconstructions", sae=SAE, page=2)
    titles = [row["title"] for row in component(app, "_reconstruction_rows")["rows"]]
    app.segmented_control(key="_reconstructions_sae").set_value("digits-topk-k2").run()
    assert app.query_params["sae"] == "digits-topk-k2"
    assert [row["title"] for row in component(app, "_reconstruction_rows")["rows"]] == titles


def test_an_item_outside_the_sample_is_told_honestly(digits_store: Path, open_page: OpenPage) -> None:
    with FeatureStore(digits_store) as store:
        entry = store[SAE]
        sample = set(entry.sample_item_ids())
        outside = next(e.item_id for i in range(64) for e in entry.examples(i) if e.item_id not in sample)
        kept = set(entry.table("items", ["item_id"])["item_id"].to_pylist())
    app = open_page(digits_store, "reconstructions", sae=SAE, item=outside)
    assert "not one of the" in texts(app)
    assert component(app, "_reconstruction_rows")["input"]["n"] == 1
    missing = next(i for i in range(2000) if i not in kept)
    for item, said in ((missing, f"does not keep item {missing}"), ("x1", "Not an item"), ("-3", "Not an item")):
        assert said in texts(open_page(digits_store, "reconstructions", sae=SAE, item=item))


def test_a_source_without_pictures_gets_lists_and_strips(
    digits_store: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = reads.open_store(str(digits_store))[SAE]
    with_pictures = entry.items
    monkeypatch.setattr(entry, "items", lambda ids: with_pictures(ids).drop_columns(["image"]))
    monkeypatch.setattr(Pixels, "atom_shape", None)
    monkeypatch.setattr(Pixels, "picture_shape", None)
    st.cache_data.clear()  # sprites of the same atoms, drawn as pictures
    try:
        app = open_page(digits_store, "feature", sae=SAE, feature=5)
        with FeatureStore(digits_store) as store:
            top = store[SAE].examples(5, "top")
        rows = component(app, "_feature_examples")["rows"]
        assert [row["cells"][0]["text"] for row in rows] == [significant(e.activation) for e in top]
        assert component(app, "_feature_atom")["sprite"]["width"] == 64
        atoms = open_page(digits_store, "atoms", sae=SAE)
        assert "drawn as a strip" in texts(atoms)
        assert component(atoms, "_atoms_grid")["sprite"]["width"] == 64
        rebuilt = open_page(digits_store, "reconstructions", sae=SAE)
        assert "no pictures" in texts(rebuilt)
        shown = component(rebuilt, "_reconstruction_rows")
        assert shown["input"] is None
        assert shown["rows"][0]["builders"]
    finally:
        st.cache_data.clear()
