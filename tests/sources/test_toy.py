"""The toy source: its rule, and that a row is a function of the settings and its index alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from saescope.sources import SourceOptions, has_splits, held_out, open_source
from saescope.sources.toy.settings import ToySettings
from saescope.sources.toy.source import ToySource
from saescope.store.errors import UserError


def toy(text: str) -> ToySource:
    source = open_source(SourceOptions(toy=text))
    assert isinstance(source, ToySource)
    return source


def all_codes(source: ToySource) -> np.ndarray:
    return source.true_codes(np.arange(source.n_items))


def test_rows_are_sparse_sums_of_the_true_features() -> None:
    source = toy("40x16:p=0.1,items=500")
    atoms = source.true_features.numpy()
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-6)
    assert np.abs(atoms @ atoms.T - np.eye(40)).max() < 0.95
    codes = all_codes(source)
    x = torch.cat([b.activations for b in source.batches()]).numpy()
    assert x.shape == (500, 1, 16)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[:, 0], codes.astype(np.float64) @ atoms.astype(np.float64), atol=1e-6)


def test_a_row_depends_on_the_settings_and_its_index_alone() -> None:
    source = toy("30x8:p=0.2,items=300,groups=5,awake=0.5")
    whole = torch.cat([b.activations for b in source.batches()])[:, 0]
    for size in (1, 7, 300):
        parts = torch.cat([b.activations for b in toy("30x8:p=0.2,items=300,groups=5,awake=0.5").batches(11, size)])
        assert torch.equal(parts[:, 0], whole[11:])
    held = held_out(300)
    table = source.table(~held)
    some = np.array([5, 200, 5, 0])
    assert table.n_rows == int((~held).sum())
    assert torch.equal(table.rows(some), whole[np.flatnonzero(~held)[some]])
    with pytest.raises(IndexError):
        table.rows(np.array([table.n_rows]))
    longer = toy("30x8:p=0.2,items=400,groups=5,awake=0.5")
    assert torch.equal(longer.rows(np.arange(300)), whole)


def test_seeds_change_features_and_rows_and_nothing_else_does_by_chance() -> None:
    first, second = toy("30x8:p=0.2,items=99"), toy("30x8:p=0.2,items=99,seed=1")
    assert not torch.allclose(first.true_features, second.true_features)
    assert (all_codes(first) != all_codes(second)).any()
    assert first.data_sha256 != second.data_sha256
    assert first.data_sha256 == toy("30x8:seed=0,items=99,p=0.2").data_sha256


def test_probabilities_and_coefficients_are_those_asked_for() -> None:
    n = 40_000
    codes = all_codes(toy(f"20x8:p=0.01..0.4,c=2..3,items={n}"))
    expected = 0.01 * 40 ** (np.arange(20) / 19)
    on = codes > 0
    error = np.sqrt(expected * (1 - expected) / n)
    assert np.abs(on.mean(0) - expected).max() < (4 * error).max()
    assert (np.abs(on.mean(0) - expected) < 5 * error).all()
    values = codes[on]
    assert 2 <= values.min() < 2.001
    assert 2.999 < values.max() <= 3
    assert values.mean() == pytest.approx(2.5, abs=5 * 0.2887 / np.sqrt(len(values)))
    pairs = np.corrcoef(on.T) - np.eye(20)
    assert np.abs(pairs).max() < 6 / np.sqrt(n)


def test_features_of_a_group_fire_together_as_the_rule_says() -> None:
    n, p, q = 40_000, 0.1, 0.25
    on = all_codes(toy(f"12x8:p={p},groups=3,awake={q},items={n}")) > 0
    np.testing.assert_allclose(on.mean(0), p, atol=5 * np.sqrt(p / n) * 1.5)
    pairs = np.corrcoef(on.T)
    same = np.arange(12)[:, None] % 3 == np.arange(12) % 3
    np.testing.assert_allclose(pairs[same & ~np.eye(12, dtype=bool)], p * (1 / q - 1) / (1 - p), atol=0.03)
    assert np.abs(pairs[~same]).max() < 0.03
    both = (on[:, 0] & on[:, 3]).mean() / on[:, 3].mean()
    assert both == pytest.approx(p / q, abs=0.03)


def test_items_are_labelled_with_their_strongest_true_feature() -> None:
    source = toy("10x4:p=0.1,items=200")
    codes = all_codes(source)
    expected = [str(c.argmax()) if c.any() else None for c in codes]
    assert None in expected
    assert source.metadata()["label"].to_pylist() == expected
    assert source.item_table(np.array([3, 50])).to_pydict() == {
        "item_id": [3, 50],
        "label": [expected[3], expected[50]],
    }


def test_settings_are_recorded() -> None:
    options = SourceOptions(toy="256x64:p=0.02")
    assert not has_splits(options)
    about = open_source(options).describe()
    assert json.loads(json.dumps(about)) == about
    assert about["toy"] == {
        "n_features": 256,
        "d_in": 64,
        "p": [0.02, 0.02],
        "c": [0.5, 1.5],
        "items": 1_000_000,
        "groups": 0,
        "awake": 1.0,
        "seed": 0,
    }
    assert ToySettings.parse("256x64").p == (0.02, 0.02)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "path of the source is empty"),
        ("256", "does not begin with a size"),
        ("256x", "does not begin with a size"),
        ("0x64", "n_features is 0"),
        ("8x0", "d_in is 0"),
        ("8x4:items=0", "items is 0"),
        ("8x4:p", "'p' is no setting"),
        ("8x4:q=1", "'q=1' is no setting; there are p, c, items, groups, awake, seed"),
        ("8x4:p=often", "holds no number"),
        ("8x4:items=1e3", "holds no number"),
        ("8x4:p=0.1,p=0.2", "p is given twice"),
        ("8x4:p=0", "p is 0;"),
        ("8x4:p=0.5..0.1", "p is 0.5..0.1"),
        ("8x4:p=nan", "p is nan"),
        ("8x4:c=2..1", "c is 2..1"),
        ("8x4:c=0", "c is 0;"),
        ("8x4:c=1..inf", "c is 1..inf"),
        ("8x4:groups=9", "9 groups of 8 features"),
        ("8x4:awake=0.5", "there are no groups"),
        ("8x4:p=0.5,groups=2,awake=0.4", "none of its features can be on"),
    ],
)
def test_bad_settings_are_refused(text: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        SourceOptions(toy=text)
    assert says in caught.value.message


def test_options_of_other_sources_are_refused() -> None:
    for given in ({"patch": 4}, {"context": 64}, {"model": "m", "hook": "h"}, {"data_key": "x"}):
        with pytest.raises(UserError, match="the source is a toy"):
            SourceOptions(toy="8x4", **given)
    with pytest.raises(UserError, match="both activations and toy"):
        SourceOptions(toy="8x4", activations="a.npy")
    with pytest.raises(UserError, match="a toy source has no splits"):
        open_source(SourceOptions(toy="8x4", split="test"))
    with pytest.raises(UserError, match="one bool per item"):
        toy("8x4:items=9").table(np.arange(9))
