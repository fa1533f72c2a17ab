"""Every page of an SAE whose decoder is not linear: it has no atoms, and pages show its effects, named so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saescope.dashboard.components.pictures import PictureShape, atom_sprite
from saescope.store import FeatureStore
from tests.dashboard.pages import components, run_page, tables, texts


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("library", "deep"),
        ("sparsity", "effects at the mean code"),
        ("features", "48 of 48 features"),
        ("feature", "Effect: decode(z + e_i) - decode(z)"),
        ("atoms", "no atoms but effects: decode(z + e_i) - decode(z); z is the mean code"),
        ("probe", ""),
        ("health", "no neighbours"),
        ("reconstructions", ""),
    ],
)
def test_pages_do_without_atoms(other_store: Path, page: str, said: str) -> None:
    alive = next(f for f in range(48) if not FeatureStore(other_store)["deep"].feature(f).is_dead)
    parameters = {"sae": "deep"}
    if page == "sparsity":
        parameters["picked"] = "deep"
    if page == "feature":
        parameters["feature"] = str(alive)
    at = run_page(page, other_store, **parameters)
    shown = texts(at) + str(tables(at))
    assert said in shown, shown[:2000]


def test_the_table_of_features_has_no_column_of_atoms(other_store: Path, digits_store: Path) -> None:
    assert "atom" not in tables(run_page("features", other_store, sae="deep"))[0]
    assert "atom" in tables(run_page("features", digits_store, sae="digits-relu"))[0]
    assert "effect" in tables(run_page("features", other_store, sae="deep"))[0]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("mean", "decode(z + e_i) - decode(z); z is the mean code"),
        ("item", "decode(z + e_i) - decode(z); z is the code at the unit's strongest example"),
        ("jacobian", "d decode(z) / d z_i; the decoder's slope"),
    ],
)
def test_the_page_of_effects_draws_the_chosen_kind(other_store: Path, kind: str, said: str) -> None:
    at = run_page("atoms", other_store, sae="deep", effect=kind, sort="feature_id")
    assert said in texts(at)
    assert at.title[0].value == "Effects"
    (grid,) = components(at, "saescope_picture_tiles")
    with FeatureStore(other_store) as store:
        entry = store["deep"]
        rows = np.zeros((48, 64), np.float32)
        for effect in entry.effects(range(48), kind):
            rows[effect.feature_id] = effect.values
    expected = atom_sprite(rows, PictureShape(8, 8, 1)).payload()
    assert grid["sprite"] == expected
    assert grid["label"] == "Effects"


def test_a_feature_shows_its_three_effects(other_store: Path) -> None:
    strip = next(
        data
        for data in components(run_page("feature", other_store, sae="deep", feature="0"), "saescope_picture_tiles")
        if data["label"] == "Effects"
    )
    assert [tile["caption"] for tile in strip["tiles"]] == ["mean code", "top example", "Jacobian"]
    assert strip["tiles"][0]["tip"] == "effect at the mean code\nstep 1.00"
