"""The step of an effect, and effects of many units in several pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saescope.autoencoders import architecture
from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.one_pass.histogram import RECTIFIED
from saescope.precompute.one_pass.spill import Spill
from saescope.precompute.one_pass.state import FeatureState
from saescope.precompute.tables import effects
from saescope.precompute.tables.whole_codes import WholeCodes
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from saescope.store.errors import OptionError, UnknownFeature
from tests.precompute.small_builds import digits, make_sae, save_sae


def codes_of(codes: np.ndarray, sae: str = "topk-signed") -> WholeCodes:
    """What a pass over `codes` [position, n_features] leaves."""
    rows, features = np.nonzero(codes)
    row_ptr = np.searchsorted(rows, np.arange(len(codes) + 1))
    state = FeatureState.empty(codes.shape[1], RECTIFIED, 3, 2, 0)
    sparse = CodeRows(row_ptr, features.astype(np.int32), codes[rows, features].astype(np.float32))
    places = np.arange(len(codes))
    state.add(sparse, places, np.zeros_like(places))
    source = digits()
    spill = Spill(Path(), sparse, places, np.zeros(len(codes), np.int32))
    return WholeCodes(make_sae(sae, source), source, spill, state, len(codes))


def steps(codes: WholeCodes) -> np.ndarray:
    return effects.steps_of(codes, codes.moments().deviation)


def test_the_step_of_a_sparse_code_is_one() -> None:
    codes = np.random.default_rng(0).normal(3, 1, (50, 8)) * (np.arange(8) == 2)
    assert steps(codes_of(codes)).tolist() == [1.0] * 8


def test_the_step_of_a_dense_code_is_each_units_standard_deviation() -> None:
    random = np.random.default_rng(0)
    codes = random.normal(3, 1, (50, 8)) * np.array([1, 20, 0.01, 1, 1, 1, 1, 0])  # the last one never fires
    expected = np.append(codes[:, :-1].std(axis=0), 1.0)
    np.testing.assert_allclose(steps(codes_of(codes)), expected, rtol=1e-4)
    codes[:, 3:] = 0  # few fire, but nothing sees to that
    expected[3:] = 1
    np.testing.assert_allclose(steps(codes_of(codes, "undercomplete")), expected, rtol=1e-4)


def test_effects_of_sigmoid_codes_are_at_whole_codes(tmp_path: Path) -> None:
    """A unit fires above one half, but what it adds below that is no less there."""
    source = digits()
    kind = architecture("contractive")
    sae = kind.module(kind.config(d_in=64, n_features=6, decoder_widths=(20,))).requires_grad_(False)
    torch.manual_seed(0)
    for tensor in sae.tensors().values():
        tensor.copy_(torch.randn(tensor.shape))
    checkpoint = save_sae(sae, tmp_path / "sae")
    build_entry(checkpoint, source, tmp_path / "store", sae_id="it", options=BuildOptions(n_sample_items=2))
    entry = FeatureStore(tmp_path / "store")["it"]
    x = source.table().rows(np.arange(source.n_items))
    codes = sae.encode(x).double()
    assert float((codes <= 0.5).double().mean()) > 0.2
    mean, deviation = codes.mean(0).float(), codes.std(0, correction=0)
    for kind_of, at in (("mean", lambda _: mean), ("item", lambda e: sae.encode(x[e.item_id : e.item_id + 1])[0])):
        for effect in entry.effects(range(6), kind_of):
            assert effect.step == pytest.approx(float(deviation[effect.feature_id]), rel=1e-4)
            before = at(effect)
            after = before + effect.step * torch.eye(6)[effect.feature_id]
            expected = sae.decode(after[None])[0] - sae.decode(before[None])[0]
            np.testing.assert_allclose(effect.values, expected.numpy(), atol=1e-3)


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
