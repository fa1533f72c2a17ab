"""The step of an effect, and effects of many units in several pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.one_pass.histogram import RECTIFIED
from saescope.precompute.one_pass.state import FeatureState
from saescope.precompute.tables import effects
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from saescope.store.errors import OptionError, UnknownFeature
from tests.precompute.small_builds import digits, make_sae, save_sae


def state_of(codes: np.ndarray) -> FeatureState:
    """The state after a pass over `codes` [position, n_features]."""
    rows, features = np.nonzero(codes)
    row_ptr = np.searchsorted(rows, np.arange(len(codes) + 1))
    state = FeatureState.empty(codes.shape[1], RECTIFIED, 3, 2, 0)
    sparse = CodeRows(row_ptr, features.astype(np.int32), codes[rows, features].astype(np.float32))
    places = np.arange(len(codes))
    state.add(sparse, places, np.zeros_like(places))
    return state


def test_the_step_of_a_sparse_code_is_one() -> None:
    codes = np.random.default_rng(0).normal(3, 1, (50, 8)) * (np.arange(8) == 2)
    assert effects.steps_of(state_of(codes), 50).tolist() == [1.0] * 8


def test_the_step_of_a_dense_code_is_each_units_standard_deviation() -> None:
    random = np.random.default_rng(0)
    codes = random.normal(3, 1, (50, 8)) * np.array([1, 20, 0.01, 1, 1, 1, 1, 0])  # the last one never fires
    expected = np.append(codes[:, :-1].std(axis=0), 1.0)
    np.testing.assert_allclose(effects.steps_of(state_of(codes), 50), expected, rtol=1e-4)


def test_pieces_give_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = digits()
    checkpoint = save_sae(make_sae("deep", source), tmp_path / "sae")
    tables = []
    for name, most in (("whole", effects.MOST_UNITS), ("pieces", 5)):
        monkeypatch.setattr(effects, "MOST_UNITS", most)
        build_entry(checkpoint, source, tmp_path / name, sae_id="it", options=BuildOptions(n_sample_items=2))
        tables.append(FeatureStore(tmp_path / name)["it"].table("effects").to_pylist())
        assert verify(tmp_path / name) == []
    for whole, piece in zip(*tables, strict=True):
        np.testing.assert_allclose(piece.pop("values"), whole.pop("values"), rtol=1e-4, atol=1e-5)
        assert piece == whole
    entry = FeatureStore(tmp_path / "pieces")["it"]
    assert [e.feature_id for e in entry.effects([5, 3, 5])] == [5, 3, 5]
    assert entry.effects([]) == []
    with pytest.raises(OptionError, match="no kind of effects 'atom'"):
        entry.effects([0], "atom")
    with pytest.raises(UnknownFeature):
        entry.effects([48])
