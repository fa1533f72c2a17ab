"""The frame: the store, the sidebar, and what is shown where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from saescope.dashboard.server import APP, STORE_VARIABLE
from saescope.dashboard.state import reads
from saescope.store import FeatureStore
from tests.dashboard.pages import checked, run_page, tables, texts
from tests.store.tiny import publish


def _app(monkeypatch: pytest.MonkeyPatch, store: Path | None, **parameters: str) -> AppTest:
    if store is None:
        monkeypatch.delenv(STORE_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(STORE_VARIABLE, str(store))
    at = AppTest.from_file(str(APP), default_timeout=120)
    for key, value in parameters.items():
        at.query_params[key] = value
    return checked(at.run())


def test_the_address_without_a_page_shows_the_library(monkeypatch: pytest.MonkeyPatch, digits_store: Path) -> None:
    at = _app(monkeypatch, digits_store)
    assert [title.value for title in at.title] == ["Library"]
    with FeatureStore(digits_store) as store:
        assert at.sidebar.selectbox[0].options == store.ids()


def test_picking_an_sae_changes_the_address(monkeypatch: pytest.MonkeyPatch, digits_store: Path) -> None:
    at = _app(monkeypatch, digits_store, sae="digits-relu", feature="3")
    assert at.sidebar.selectbox[0].value == "digits-relu"
    checked(at.sidebar.selectbox[0].set_value("digits-topk-k4").run())
    assert at.query_params["sae"] == "digits-topk-k4"
    assert "feature" not in at.query_params  # feature 3 was a feature of the other SAE


@pytest.mark.parametrize("page", ["features", "health"])
def test_an_unknown_sae_is_told_on_every_page(digits_store: Path, page: str) -> None:
    at = run_page(page, digits_store, sae="no-such-sae")
    assert "no-such-sae" in texts(at)
    assert "Back to the library" in texts(at)


def _which_feature(path: str) -> None:
    import streamlit as st

    from saescope.dashboard import panels
    from saescope.dashboard.state import links, reads
    from saescope.store.errors import UserError

    try:
        st.text(links.current_feature_id(links.current_entry(reads.open_store(path))))
    except UserError as error:
        panels.show(error)


@pytest.mark.parametrize("feature", ["64", "-1", "abc", "1e3", "9" * 40, "../x", "٣"])
def test_an_unknown_feature_is_told(digits_store: Path, feature: str) -> None:
    at = AppTest.from_function(_which_feature, args=(str(digits_store),), default_timeout=120)
    at.query_params["sae"] = "digits-relu"
    at.query_params["feature"] = feature
    checked(at.run())
    assert "No such feature" in texts(at)
    assert "0 to 63" in texts(at)
    assert "All features of this SAE" in texts(at)


@pytest.mark.parametrize(("feature", "shown"), [("63", "63"), ("007", "7")])
def test_a_known_feature_is_found(digits_store: Path, feature: str, shown: str) -> None:
    at = AppTest.from_function(_which_feature, args=(str(digits_store),), default_timeout=120)
    at.query_params["sae"] = "digits-relu"
    at.query_params["feature"] = feature
    assert [text.value for text in checked(at.run()).text] == [shown]


def test_text_of_an_address_is_shown_as_text(digits_store: Path) -> None:
    at = run_page("features", digits_store, sae="<img src=x onerror=alert(1)>**b**")
    panel = next(element.value for element in at.markdown if "onerror" in element.value)
    assert "\\<img" in panel
    assert "\\*\\*b" in panel


def _no_store(root: Path) -> Path:
    return root / "missing"


def _a_file(root: Path) -> Path:
    path = root / "file"
    path.write_text("not a store")
    return path


def _newer(root: Path) -> Path:
    path = root / "newer"
    path.mkdir()
    (path / "store.json").write_text(json.dumps({"format": "saescope-store", "format_version": 99}))
    return path


@pytest.mark.parametrize("make", [_no_store, _a_file, _newer])
def test_a_store_that_cannot_be_opened_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make) -> None:
    path = make(tmp_path)
    at = _app(monkeypatch, path)
    assert "This store cannot be read" in texts(at)
    assert path.name in texts(at)


def test_a_server_without_a_store_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert STORE_VARIABLE in texts(_app(monkeypatch, None))


def test_one_unreadable_entry_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, digits_store: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "store"
    (copy / "saes").mkdir(parents=True)
    (copy / "store.json").write_bytes((digits_store / "store.json").read_bytes())
    for entry in sorted((digits_store / "saes").iterdir())[:3]:
        (copy / "saes" / entry.name).symlink_to(entry)
    broken = copy / "saes" / "broken"
    broken.mkdir()
    (broken / "CURRENT").write_text("v-gone\n")
    at = _app(monkeypatch, copy)
    assert "This store cannot be read" in texts(at)
    assert sum(len(table["SAE"]) for table in tables(at)) == 3


def test_a_cached_read_belongs_to_one_version_of_one_store(
    digits_store: Path, parts: list[Path], tmp_path: Path
) -> None:
    publish(tmp_path / "other", parts[0], "key", "digits-topk-k2")
    with FeatureStore(digits_store) as one, FeatureStore(tmp_path / "other") as other:
        assert len(reads.densities(one["digits-topk-k2"])) == 64
        assert len(reads.densities(other["digits-topk-k2"])) == 8
        assert (
            reads.leading_features(one["digits-relu"], "density", 5)
            == [
                f.feature_id
                for f in sorted(one["digits-relu"].search("", limit=64), key=lambda f: (-f.density, f.feature_id))
            ][:5]
        )
