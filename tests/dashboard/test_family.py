"""The page Family: members with their constraints, their units, and the same items through each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saescope.dashboard.presentation.rebuilding import rebuild
from saescope.dashboard.views import family
from saescope.store import FeatureStore
from tests.dashboard.pages import components, run_page, tables, texts


def matrix(at: Any) -> dict[str, Any]:
    (found,) = components(at, "saescope_picture_matrix")
    return found


def test_members_are_shown_with_their_constraints_and_metrics(digits_store: Path) -> None:
    shown = tables(run_page("family", digits_store, members="digits-relu,digits-topk-k4"))[0]
    assert shown["member"] == ["digits-relu", "digits-topk-k4"]
    assert shown["what it forbids its code"] == [
        "firing costs: + l1 sum_j |f_j|",
        "at most k features fire: ||f||_0 <= k",
    ]
    assert shown["units"] == ["64", "64"]
    with FeatureStore(digits_store) as store:
        assert shown["L0"][1] == "4.00"
        assert float(shown["FVU"][0]) == pytest.approx(store["digits-relu"].metrics["fvu"], rel=0.005)


def test_every_member_rebuilds_the_same_items(digits_store: Path) -> None:
    names = ["digits-relu", "digits-topk-k2", "digits-topk-k16"]
    data = matrix(run_page("family", digits_store, members=",".join(names), page="2"))
    assert [column["title"] for column in data["columns"]] == ["", "input", *names]
    units, *items = data["rows"]
    assert [len(cell["pictures"]) for cell in units["cells"]] == [0, 10, 10, 10]
    assert [cell["lines"] for cell in units["cells"][1:]] == [["atoms"]] * 3
    with FeatureStore(digits_store) as store:
        ids = store[names[0]].sample_item_ids()[family.ROWS : 2 * family.ROWS]
        errors = np.array([[r.mse for r in rebuild(store[name], ids)] for name in names]).T
    assert [row["heading"]["title"] for row in items] == [f"item {i:,}".replace(",", "\u2009") for i in ids]
    for row, expected in zip(items, errors, strict=True):
        _, *cells = row["cells"]
        assert [float(cell["lines"][0]) for cell in cells] == pytest.approx(list(expected), rel=0.006)
        assert [cell["strong"] for cell in cells] == [e == expected.min() for e in expected]


def test_effects_stand_where_there_are_no_atoms_and_are_called_so(other_store: Path) -> None:
    data = matrix(run_page("family", other_store, members="deep,dead-and-dense"))
    assert [cell["lines"] for cell in data["rows"][0]["cells"][1:]] == [["effects at the mean code"], ["atoms"]]
    assert "decode(z + e_i) - decode(z)" in data["rows"][0]["heading"]["help"]


def test_without_members_there_is_one_of_each_architecture(digits_store: Path) -> None:
    assert tables(run_page("family", digits_store))[0]["member"] == ["digits-relu", "digits-topk-k8"]


def test_members_of_another_source_are_told(digits_store: Path) -> None:
    at = run_page("family", digits_store, members="digits-relu,digits-patches,nobody")
    assert "Not on this source, or not in this store: digits-patches, nobody" in texts(at)
    assert tables(at)[0]["member"] == ["digits-relu"]


def test_items_that_are_no_pictures_are_told(other_store: Path) -> None:
    at = run_page("family", other_store, members="cached")
    assert "no pictures that are kept rebuilt" in texts(at)
    assert len(matrix(at)["rows"]) == 1


def test_the_draw_of_units_is_of_live_ones_and_the_same_every_time(other_store: Path) -> None:
    pages = [run_page("family", other_store, members="dead-and-dense", units="random") for _ in range(2)]
    drawn = [[p["tip"] for p in matrix(at)["rows"][0]["cells"][1]["pictures"]] for at in pages]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == family.N_UNITS
    with FeatureStore(other_store) as store:
        entry = store["dead-and-dense"]
        assert not any(entry.feature(int(tip.split()[0].strip("#"))).is_dead for tip in drawn[0])
