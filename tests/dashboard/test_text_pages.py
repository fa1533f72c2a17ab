"""The pages of a store of texts, run in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from saescope.dashboard import theme
from saescope.dashboard.components.position_codes import Code, Overall, overall
from saescope.dashboard.components.token_strips import Strip
from saescope.dashboard.presentation.texts import N_ROWS
from saescope.dashboard.state import reads
from saescope.dashboard.views.probe import MAX_LINK_BYTES, in_link
from saescope.probing import Probe
from saescope.store import FeatureStore
from saescope.store.numbers import significant
from saescope.store.read.entry import Entry
from saescope.store.search.query import quoted
from saescope.store.token_text import text_of, visible
from tests.dashboard.conftest import OpenPage, texts
from tests.dashboard.pages import tables
from tests.small_stores.reading import most_moved, with_line_end

SAE = "texts-topk-k4"


def component(app: AppTest, name: str) -> dict[str, Any]:
    """What the component with this key was given for the browser."""
    for element in app.main.get("bidi_component"):
        if name in element.proto.id:
            return json.loads(element.proto.json)  # type: ignore[no-any-return]
    raise KeyError(name)


@pytest.fixture
def entry(texts_store: Path) -> Iterator[Entry]:
    with FeatureStore(texts_store) as store:
        yield store[SAE]


@pytest.fixture
def backend() -> Iterator[None]:
    """Probes that no other test opened."""
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def feature_of_bytes(entry: Entry) -> int:
    """A feature whose strongest examples hold characters that are spelled by several tokens."""
    items = {row["item_id"]: row["tokens"] for row in entry.table("items").to_pylist()}
    spelled = {i for i, tokens in items.items() if any("<0x" in token for token in tokens)}
    return next(i for i in range(96) if spelled & {e.item_id for e in entry.examples(i, "top")})


def test_examples_are_lines_with_every_token_and_its_activation(
    texts_store: Path, open_page: OpenPage, entry: Entry
) -> None:
    feature = feature_of_bytes(entry)
    shown = component(open_page(texts_store, "feature", sae=SAE, feature=feature), "_feature_examples")
    top = entry.examples(feature, "top")
    assert [s["item"] for s in shown["strips"]] == [e.item_id for e in top]
    assert [s["number"] for s in shown["strips"]] == [significant(e.activation) for e in top]
    assert shown["strongest"] == pytest.approx(entry.feature(feature).max_activation)
    spelled = 0
    for strip, example in zip(shown["strips"], top, strict=True):
        item = entry.item(example.item_id)
        assert item.tokens is not None
        assert "".join(text for text, *_ in strip["pieces"]) == visible(text_of(item.tokens))
        assert [p for _, first, stop in strip["pieces"] for p in range(first, stop)] == list(range(len(item.tokens)))
        assert strip["ids"] == item.token_ids
        window = {i: v for i, v in enumerate(example.window_activations or []) if v}
        assert {int(p): v for p, v in strip["fired"].items()} == pytest.approx(window, rel=1e-3)
        assert strip["at"] == example.position
        assert str(item.metadata["name"]) in strip["meta"]
        spelled += any(stop - first > 1 for _, first, stop in strip["pieces"])
    assert spelled  # characters of several tokens are among them
    assert not shown["whole"]
    assert component(open_page(texts_store, "feature", sae=SAE, feature=7, context="whole"), "_feature_examples")[
        "whole"
    ]


def test_tokens_and_logits_are_listed_and_lead_to_their_features(
    texts_store: Path, open_page: OpenPage, entry: Entry
) -> None:
    lists = component(open_page(texts_store, "feature", sae=SAE, feature=40), "_feature_tokens")["lists"]
    fires, raises, lowers = lists
    tokens = entry.top_tokens(40)[:N_ROWS]
    assert [row["token"] for row in fires["rows"]] == [visible(t.token, edges=True) for t in tokens]
    assert [row["share"] for row in fires["rows"]] == pytest.approx(
        [t.n_firing / entry.feature(40).n_firing for t in tokens]
    )
    for shown, sign in ((raises, 1), (lowers, -1)):
        logits = entry.top_logits(40, sign)
        assert [row["token"] for row in shown["rows"]] == [visible(x.token, edges=True) for x in logits]
    for shown, field in ((fires, "token"), (raises, "raises"), (lowers, "lowers")):
        for row in shown["rows"]:
            assert row["value"].startswith(f"{field}:")
            assert 40 in {f.feature_id for f in entry.search(row["value"], limit=1000)}


def test_labels_with_line_ends_stay_on_one_line(texts_store: Path, open_page: OpenPage, entry: Entry) -> None:
    feature = with_line_end(entry)
    assert "↵" in texts(open_page(texts_store, "feature", sae=SAE, feature=feature)).splitlines()[0]


def test_relatives_are_rows_with_labels(texts_store: Path, open_page: OpenPage, entry: Entry) -> None:
    near, both = tables(open_page(texts_store, "feature", sae=SAE, feature=20))
    assert near["feature"] == [f"#{n.neighbour_id:04d}" for n in entry.neighbours(20)][: len(near["feature"])]
    assert both["feature"] == [f"#{c.other_id:04d}" for c in entry.coactivations(20)][: len(both["feature"])]
    assert near["cosine"][0] == f"{entry.neighbours(20)[0].cosine:.2f}"


@pytest.mark.parametrize("query", ['token:" the"', "raises:RAISED", "text:尊严", "lowers:LOWERED and density > 0.02"])
def test_features_are_searched_by_token_and_text_and_show_their_top_token(
    texts_store: Path, open_page: OpenPage, entry: Entry, query: str
) -> None:
    query = query.replace("RAISED", quoted(most_moved(entry, 1))).replace("LOWERED", quoted(most_moved(entry, -1)))
    shown = tables(open_page(texts_store, "features", sae=SAE, q=query))[0]
    found = entry.features_page(query, sort="relevance", page_size=100).rows["feature_id"].to_pylist()
    assert shown["feature"] == [f"#{i:04d}" for i in found]
    assert shown["top token"] == [visible(entry.top_tokens(i)[0].token, edges=True) for i in found]


def test_the_scatter_tells_the_top_token(texts_store: Path, open_page: OpenPage, entry: Entry) -> None:
    app = open_page(texts_store, "features", sae=SAE)
    tips = json.loads(app.main.get("plotly_chart")[0].proto.spec)["data"][0]["hovertext"]
    assert sum("top token ␣the" in tip for tip in tips) == sum(
        entry.top_tokens(i)[0].token == " the" for i in range(96)
    )


def test_cross_entropy_is_on_library_health_and_sparsity(
    texts_store: Path, digits_store: Path, open_page: OpenPage, entry: Entry
) -> None:
    shown = tables(open_page(texts_store, "library"))[0]
    assert shown["CE rec."][0].endswith("%")
    assert list(shown)[4:6] == ["FVU", "CE rec."]  # of a sweep: in the place of the MSE
    assert "CE rec." not in tables(open_page(digits_store, "library"))[0]
    health = open_page(texts_store, "health", sae=SAE)
    assert {"ce_recovered", "ce_sae", "kl"} <= set(tables(health)[-1]["metric"])
    beside_chart = tables(open_page(texts_store, "sparsity"))[0]
    assert list(beside_chart) == ["SAE", "L0", "FVU", "dead"]  # what fits; the chart draws cross-entropy
    assert "cross-entropy recovered" in [m.label for m in health.main.get("metric")]
    chart = json.loads(open_page(texts_store, "sparsity", y="ce_lost").main.get("plotly_chart")[0].proto.spec)
    assert chart["data"][-1]["y"] == pytest.approx([1 - store["ce_recovered"] for store in _metrics(texts_store)])


def _metrics(path: Path) -> list[dict[str, Any]]:
    with FeatureStore(path) as store:
        return [entry.metrics for entry in store.entries()]


def test_an_item_shows_what_fires_at_each_token(texts_store: Path, open_page: OpenPage, entry: Entry) -> None:
    item = max(entry.sample_item_ids(), key=lambda i: len(entry.item_codes(i)))
    shown = component(open_page(texts_store, "reconstructions", sae=SAE, item=item), "_item_codes")
    codes = {code.position: code for code in entry.item_codes(item)}
    assert shown["off"] == [0]  # the token that begins an item does not count
    assert [ids for ids, _, _ in shown["codes"]] == [[], *(code.feature_ids for code in codes.values())]
    assert [values for _, values, _ in shown["codes"][1:]] == [
        pytest.approx(code.activations, rel=1e-3) for code in codes.values()
    ]
    everywhere = {i for code in codes.values() for i in code.feature_ids}
    assert shown["n_overall"] == len(everywhere)
    first, value, position, n = shown["overall"][0]
    assert value == pytest.approx(max(max(code.activations) for code in codes.values()), rel=1e-3)
    assert first in codes[position].feature_ids
    assert n == sum(first in code.feature_ids for code in codes.values())


def test_positions_without_a_code_keep_their_place(
    texts_store: Path, open_page: OpenPage, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = max(entry.sample_item_ids(), key=lambda i: len(entry.item_codes(i)))
    codes = [code for code in entry.item_codes(item) if code.position not in (2, 5)]  # as where attention sinks are
    shown_entry = reads.open_store(str(texts_store))[SAE]
    monkeypatch.setattr(shown_entry, "item_codes", lambda item_id: codes)
    shown = component(open_page(texts_store, "reconstructions", sae=SAE, item=item), "_item_codes")
    assert shown["off"] == [0, 2, 5]
    of = {code.position: code.feature_ids for code in codes}
    assert [ids for ids, _, _ in shown["codes"]] == [of.get(i, []) for i in range(len(codes) + 3)]


def test_an_example_outside_the_sample_shows_the_feature_that_led_there(
    texts_store: Path, open_page: OpenPage, entry: Entry
) -> None:
    sample = set(entry.sample_item_ids())
    example = next(e for e in entry.examples(20, "top") if e.item_id not in sample)
    app = open_page(texts_store, "reconstructions", sae=SAE, item=example.item_id, feature=20)
    assert "only the feature that led here" in texts(app)
    shown = component(app, "_item_codes")
    assert (shown["at"], shown["feature"]) == (example.position, 20)
    window = example.window_activations or []
    assert [values for _, values, _ in shown["codes"]] == [pytest.approx([v] if v else [], rel=1e-3) for v in window]
    without = open_page(texts_store, "reconstructions", sae=SAE, item=example.item_id)
    assert "not one of the sampled items" in texts(without)


def test_the_probe_says_what_it_needs(texts_store: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    st.cache_resource.clear()
    monkeypatch.setitem(sys.modules, "saescope.probing", None)
    assert "address of this page will hold the text" in texts(open_page(texts_store, "probe", sae=SAE))
    shown = texts(open_page(texts_store, "probe", sae=SAE, prompt="the class")).replace("\\", "")
    assert "needs the backend" in shown
    assert "Pip install 'saescope[backend]'" in shown


@pytest.mark.usefixtures("backend")
def test_a_prompt_shows_what_fires_where_and_its_address_restores_it(
    texts_store: Path, open_page: OpenPage, entry: Entry
) -> None:
    prompt = "The class\nof 人 <script>alert(1)</script>"
    app = open_page(texts_store, "probe", sae=SAE, prompt=prompt)
    shown = component(app, "_probe_codes")
    result = Probe.open(entry.paths.root / "sae", entry.manifest.source).text(prompt)
    assert result.tokens is not None
    assert "".join(text for text, *_ in shown["stage"]["pieces"]) == visible(text_of(result.tokens))
    assert shown["stage"]["ids"] == result.token_ids
    assert [ids for ids, _, _ in shown["codes"]] == [ids.tolist() for ids in result.feature_ids]
    assert shown["off"] == [0]
    everywhere = {int(i) for ids in result.feature_ids[1:] for i in ids}  # without the first token, which is left out
    assert shown["n_overall"] == len(everywhere)
    assert shown["at"] == shown["overall"][0][2] > 0
    assert "1 left out" in texts(app)
    app.text_area(key="_probe_typed").set_value("another class")
    app.button(key="FormSubmitter:_probe_form-Probe").click().run()
    assert app.query_params["prompt"] == "another class"
    assert "another" in "".join(text for text, *_ in component(app, "_probe_codes")["stage"]["pieces"])


@pytest.mark.usefixtures("backend")
def test_a_long_prompt_is_probed_but_not_in_the_link(texts_store: Path, open_page: OpenPage) -> None:
    app = open_page(texts_store, "probe", sae=SAE)
    prompt = "the class " * 500
    assert not in_link(prompt)
    assert in_link("a" * MAX_LINK_BYTES)
    app.text_area(key="_probe_typed").set_value(prompt)
    app.button(key="FormSubmitter:_probe_form-Probe").click().run()
    assert "prompt" not in app.query_params
    assert "too long for a link" in texts(app)
    assert len(component(app, "_probe_codes")["codes"]) > 500


@pytest.mark.usefixtures("backend")
def test_a_picture_of_the_store_is_probed(digits_store: Path, open_page: OpenPage) -> None:
    with FeatureStore(digits_store) as store:
        whole, patches = store["digits-topk-k8"], store["digits-patches"]
        item = patches.sample_item_ids()[3]
        known = {name: e.item_codes(item) for name, e in (("whole", whole), ("patches", patches))}
    app = open_page(digits_store, "probe", sae="digits-patches", item=item)
    shown = component(app, "_probe_codes")
    assert [set(ids) for ids, _, _ in shown["codes"]] == [set(code.feature_ids) for code in known["patches"]]
    assert len(shown["stage"]["cells"]) == 9
    assert shown["atoms"]["n"] == len(shown["features"])
    tiles = component(open_page(digits_store, "probe", sae="digits-topk-k8", item=item), "_probe_features")["tiles"]
    assert [tile["value"] for tile in tiles] == known["whole"][0].feature_ids


def test_inside_a_vision_model_positions_before_the_patches_have_no_place(own_store: Path, open_page: OpenPage) -> None:
    with FeatureStore(own_store) as store:
        entry = store["digits-patches"]
        manifest, item = entry.paths.root / "manifest.json", entry.sample_item_ids()[0]
        examples = entry.examples(3, "top")
    content = json.loads(manifest.read_text())
    content["source"] |= {
        "kind": "vision", "model": "a/model", "hook": "blocks.1.hook_resid_post", "prefix_positions": 1,
        "patch": 2, "stride": 2, "grid": [2, 4],
    }  # fmt: skip
    manifest.chmod(0o644)
    manifest.write_text(json.dumps(content))
    strip = component(open_page(own_store, "feature", sae="digits-patches", feature=3), "_feature_examples")
    places = [tile.get("frame") for tile in strip["tiles"]]
    expected = [
        None if e.position == 0 else [(e.position - 1) // 4 * 2, (e.position - 1) % 4 * 2, 2, 2] for e in examples
    ]
    assert places == expected
    shown = component(open_page(own_store, "reconstructions", sae="digits-patches", item=item), "_item_codes")
    assert shown["stage"]["prefix"] == ["class token"]
    assert len(shown["stage"]["cells"]) == 8
    assert len(shown["codes"]) == 9
    assert shown["atoms"] is None  # the width of a patch by chance: atoms inside a model are no pictures


def _luminance(colour: tuple[float, float, float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _parts(colour: str) -> tuple[float, float, float]:
    red, green, blue = (byte / 255 for byte in bytes.fromhex(colour.removeprefix("#")))
    return red, green, blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_at_every_strength(scheme: theme.Scheme) -> None:
    ink, paper, orange = _parts(theme.INK[scheme]), _parts(theme.PAPER[scheme]), _parts(theme.ACTIVATION)
    for step in range(101):
        depth = theme.ACTIVATION_DEPTH[scheme] * step / 100
        behind = [depth * o + (1 - depth) * p for o, p in zip(orange, paper, strict=True)]
        lighter, darker = sorted((_luminance(ink), _luminance((behind[0], behind[1], behind[2]))), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_a_long_context_is_cut_around_its_token() -> None:
    tokens = [f" t{i}" for i in range(5000)]
    values = [0.0] * 5000
    values[3000] = 2.5
    for at, first, stop in ((3000, 2488, 3512), (3, 0, 1024), (4999, 3976, 5000)):
        values[at] = 1.0
        strip = Strip(1, at, "1.00", 1.0, tokens, list(range(5000)), values, 0, "", "").payload()
        assert (strip["pieces"][0][1], strip["pieces"][-1][2]) == (first, stop)
        assert strip["ids"] == list(range(first, stop))
        assert strip["offset"] == first
        assert strip["fired"][at] == values[at]


def test_features_over_all_positions_leave_out_what_statistics_leave_out() -> None:
    codes = [Code.of([3, 1], [90.0, 100.0]), Code.of([1, 2], [-4.0, 3.0]), Code.of([2], [3.0]), Code.of([], [])]
    assert overall(codes) == [Overall(1, 100.0, 0, 2), Overall(3, 90.0, 0, 1), Overall(2, 3.0, 1, 2)]
    assert overall(codes, [False, True, True, True]) == [Overall(1, -4.0, 1, 1), Overall(2, 3.0, 1, 2)]
    assert overall(codes, [False] * 4) == overall([]) == []
