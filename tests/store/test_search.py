"""The search language against a plain Python evaluation of the same conditions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saescope.store import FeatureStore, QueryError, UserError
from saescope.store.read.entry import Entry
from saescope.store.search import query as q


def ids(entry: Entry, query: str) -> set[int]:
    return {f.feature_id for f in entry.search(query, limit=1000)}


Row = dict[str, Any]


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("", lambda r: True),
        ("density > 0.03", lambda r: r["density"] > 0.03),
        ("density>3%", lambda r: r["density"] > 0.03),
        ("0.03 < density", lambda r: r["density"] > 0.03),
        ("0.02 <= density < 3 %", lambda r: 0.02 <= r["density"] < 0.03),
        ("density ≤ 0.03 and n_firing ≥ 20", lambda r: r["density"] <= 0.03 and r["n_firing"] >= 20),
        ("density < 0.02 or density > 0.06", lambda r: r["density"] < 0.02 or r["density"] > 0.06),
        ("not density > 0.03", lambda r: not r["density"] > 0.03),
        (
            "(density > .06 or id < 4) and not id = 2",
            lambda r: (r["density"] > 0.06 or r["feature_id"] < 4) and r["feature_id"] != 2,
        ),
        (
            "density > .06 or id < 4 and not id = 2",
            lambda r: r["density"] > 0.06 or (r["feature_id"] < 4 and r["feature_id"] != 2),
        ),
        ("n_firing != 3e1", lambda r: r["n_firing"] != 30),
        ("id <> 7 id < 9", lambda r: r["feature_id"] < 9 and r["feature_id"] != 7),
        ("#12", lambda r: r["feature_id"] == 12),
        ("#12..15", lambda r: 12 <= r["feature_id"] <= 15),
        ("#12 OR #40", lambda r: r["feature_id"] in (12, 40)),
        ("digit 7", lambda r: r["auto_label"] == "digit 7"),
        ("DIG 7", lambda r: r["auto_label"] == "digit 7"),
        ('"digit 7"', lambda r: r["auto_label"] == "digit 7"),
        ("“digit 7”", lambda r: r["auto_label"] == "digit 7"),
        ('"igit 7"', lambda r: False),
        ("igit", lambda r: False),
        ("not digit", lambda r: r["auto_label"] is None),
        ("digit (7 or 3) not id < 20", lambda r: r["auto_label"] in ("digit 7", "digit 3") and r["feature_id"] >= 20),
        ("7", lambda r: r["feature_id"] == 7 or r["auto_label"] == "digit 7"),
        ("precision > 0.5", lambda r: (r["label_precision"] or 0) > 0.5),
        ("not precision > 0.5", lambda r: not (r["label_precision"] or 0) > 0.5),
        ("max > mean", lambda r: (r["max_activation"] or 0) > (r["mean_activation"] or 0)),
        ("is:live", lambda r: not r["is_dead"]),
        ("is:dead or is:dense", lambda r: r["is_dead"] or r["is_dense"]),
        ("id < 99999999999999999999999", lambda r: True),
        ("#99999999999999999999", lambda r: False),
        ("99999999999999999999", lambda r: False),
        ("max < 1e300", lambda r: r["max_activation"] is not None),
    ],
)
def test_a_query_finds_what_it_says(store: FeatureStore, query: str, holds: Callable[[Row], bool]) -> None:
    entry = store["digits-topk-k4"]
    rows = entry.table("features").to_pylist()
    assert ids(entry, query) == {r["feature_id"] for r in rows if holds(r)}


def test_a_number_equals_the_stored_float32(store: FeatureStore) -> None:
    entry = store["digits-topk-k4"]
    strongest = entry.feature(5).max_activation
    assert strongest is not None
    shortest = str(entry.table("features")["max_activation"].to_numpy()[5])
    assert 5 in ids(entry, f"max_activation = {shortest}")
    assert 5 in ids(entry, f"max_activation = {strongest}")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("density >", ["expected a column or a number", "the end"]),
        ("> 3", ["a column before the comparison"]),
        ("max_actvation > 3", ["no numeric column 'max_actvation'", "did you mean max_activation"]),
        ("auto_label > 3", ["no numeric column 'auto_label'"]),
        ("is:ded", ["no flag is:ded", "is:dead"]),
        ("tokn:cat", ["no field 'tokn'", "is:", "token:"]),
        ("in:nowhere", ["no list 'nowhere'", "there are no lists yet"]),
        ("(digit", ["expected ')'"]),
        ("digit)", ["expected the end of the query", "character 6"]),
        ('"digit', ["not closed"]),
        ('""', ["empty pair"]),
        ("1 < 2", ["names no column"]),
        ("digit and", ["found the end"]),
        ("or", ["found 'or'"]),
        ("a ! b", ["unexpected '!'"]),
        ("(" * 50 + "a" + ")" * 50, ["nests deeper than 40"]),
        ("not " * 50 + "a", ["nests deeper than 40"]),
        ("a " * 1500, ["3,000 characters"]),
    ],
)
def test_a_mistake_is_explained(store: FeatureStore, query: str, words: list[str]) -> None:
    with pytest.raises(QueryError) as caught:
        store["digits-topk-k4"].search(query)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE features; --",
        "$note_ids",
        "{0} %s ?",
        "\\",
        "a\\d",
        "[a-z]",
        "(?i)",
        "x' OR 'a'='a",
        "\x00",
        "名前",
        "é",
    ],
)
def test_text_is_data(store: FeatureStore, text: str) -> None:
    entry = store["digits-topk-k4"]
    assert entry.search('"' + text.replace("\\", "\\\\") + '"') == []
    assert entry.features_page().total == 64


def test_user_labels_stars_and_lists_are_found(digits_store: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_store, tmp_path / "store")
    with FeatureStore(tmp_path / "store") as store:
        entry = store["digits-topk-k4"]
        entry.label(9, "Upper-left (hook) of a “seven”", author="ada")
        entry.label(11, "Über 100 %")
        entry.star(3)
        entry.star(9)
        notes, key = store.annotations, entry.weights_sha256
        notes.comment(key, 4, "see 5")
        notes.add_to_list(key, 6, "My list")
        notes.add_to_list(key, 7, "My list")
        notes.remove_from_list(key, 7, "My list")
        assert ids(entry, "hook") == ids(entry, "seven upper") == ids(entry, '"upper-left (hook)"') == {9}
        assert ids(entry, "über") == ids(entry, "Über 100") == {11}
        assert ids(entry, "is:starred") == ids(entry, "starred") == {3, 9}
        assert ids(entry, "is:starred not hook") == {3}
        assert ids(entry, "is:labelled") == {9, 11}
        assert ids(entry, "is:commented") == {4}
        assert ids(entry, 'in:"my list"') == {6}
        with pytest.raises(QueryError, match="did you mean in:my list"):
            entry.search("in:mylist")
        assert [f.feature_id for f in entry.search("id < 12")[:2]] == sorted(
            [3, 9], key=lambda i: -entry.feature(i).n_firing
        )
        assert store["digits-topk-k8"].search("hook") == []  # other weights


def test_a_bare_number_comes_first(store: FeatureStore) -> None:
    found = store["digits-topk-k4"].search("7")
    assert found[0].feature_id == 7
    assert len(found) > 1


def test_limit_is_bounded(store: FeatureStore) -> None:
    entry = store["digits-topk-k4"]
    assert len(entry.search("", limit=5)) == 5
    with pytest.raises(UserError, match="limit 1001"):
        entry.search("", limit=1001)


def test_precedence_and_shape_of_the_tree() -> None:
    assert q.parse("a or b c and not d") == q.Or((q.Word("a"), q.And((q.Word("b"), q.Word("c"), q.Not(q.Word("d"))))))
    assert q.parse("1e-3 < density <= 5%") == q.And(
        (q.Comparison("density", ">", 1e-3), q.Comparison("density", "<=", 0.05))
    )
    assert q.parse(r'in:"a \" b" "x \\ y"') == q.And((q.Field("in", 'a " b', exact=True), q.Phrase("x \\ y")))
    assert q.parse("7th 7 -3") == q.And((q.Word("7th"), q.Word("7"), q.Word("-3")))
    assert q.parse("   ") is None
