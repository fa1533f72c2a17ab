"""Absorption end to end: where it was planted it is found, elsewhere it is not, and all agrees with plain NumPy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig
from saescope.evaluation import judge
from saescope.metrics import metric
from saescope.metrics.absorption import measurement as absorption_module
from saescope.metrics.absorption import unmeasured_letters
from saescope.metrics.absorption import words as words_module
from saescope.metrics.absorption.main_features import main_features
from saescope.metrics.absorption.words import choose_words
from saescope.sources import SourceOptions, open_source
from saescope.store.errors import UserError
from tests.metrics.absorption.planted_words import ABSORBER, LETTERS, WIDTH, PlantedWords, absorbing_sae, clean_sae
from tests.metrics.absorption.test_projections import at, fraction_by_definition, full_by_definition
from tests.precompute.small_builds import codes_seen, make_sae

METRICS = ("absorption_full", "absorption_fraction", "absorption_split", "absorption_probe_f1")


def absorbed(sae: Any, source: Any, **options: Any) -> dict[str, float | None]:
    found = judge(sae, source, absorption=True, n_ce_positions=0, **options).metrics
    assert all(metric(name).formula for name in found)
    return {name: value for name, value in found.items() if name.startswith("absorption_")}


def test_a_clean_sae_absorbs_nothing() -> None:
    found = absorbed(clean_sae(), PlantedWords())
    assert found["absorption_letters"] == 6
    assert found["absorption_full"] == found["absorption_fraction"] == 0
    assert found["absorption_split"] == found["absorption_probe_f1"] == 1
    assert set(found) == {
        "absorption_letters",
        *METRICS,
        *(f"{metric}.{letter}" for metric in METRICS for letter in LETTERS),
        *(f"absorption_probe_f1.{letter}" for letter in "ghijklmnopqrstuvwxyz"),
    }
    assert [letter for letter in "abcdefghz" if found[f"absorption_probe_f1.{letter}"] is None] == ["g", "h", "z"]


def test_what_was_planted_is_found_at_its_rate() -> None:
    source = PlantedWords()
    found = absorbed(absorbing_sae(), source)
    judging = choose_words(source)
    judging = judging[judging.judging & (judging.letters == 0)]
    share = np.isin(judging.tokens, source.absorbed).mean()
    assert 0.2 < share < 0.5
    assert found["absorption_full.a"] == pytest.approx(share)
    assert found["absorption_fraction.a"] == pytest.approx(share)
    assert found["absorption_full"] == pytest.approx(share / 6)
    assert all(found[f"{metric}.{letter}"] == 0 for metric in METRICS[:2] for letter in LETTERS[1:])
    assert found["absorption_split.a"] == 1


def test_a_letter_whose_unseen_words_are_all_absorbed() -> None:
    found = absorbed(absorbing_sae(), PlantedWords(absorbed=100))
    assert found["absorption_full.a"] == found["absorption_fraction.a"] == 1


def test_a_feature_that_helps_is_a_main_one_and_absorbs_nothing() -> None:
    """The letter's feature is split by kind: all parts are main features."""
    sae = clean_sae()
    with torch.no_grad():
        sae.encoder[0, len(LETTERS) + 1 : len(LETTERS) + 3] = -2
        sae.encoder[ABSORBER, 0] = 3
        sae.encoder[ABSORBER, len(LETTERS) + 1 : len(LETTERS) + 3] = 3
        sae.b_enc[ABSORBER] = -12
        sae.W_dec[ABSORBER, 0] = 1
    found = absorbed(sae, PlantedWords(absorbed=0))
    assert found["absorption_split.a"] == 2
    assert found["absorption_full.a"] == found["absorption_fraction.a"] == 0


def test_the_norms_of_atoms_do_not_matter() -> None:
    whole = absorbed(absorbing_sae(), PlantedWords())
    sae = absorbing_sae()
    with torch.no_grad():
        sae.encoder.mul_(256)
        sae.b_enc.mul_(256)
        sae.W_dec.div_(256)
    assert absorbed(sae, PlantedWords()) == pytest.approx(whole, nan_ok=True)


@pytest.mark.parametrize("name", ["absorbing", "noisy", "random", "rescaled", "normalised", "signed"])
def test_against_plain_numpy(name: str) -> None:
    """Probes by scikit-learn, rates by loops over all features, with dense codes."""
    source = PlantedWords(noise=1.25 if name == "noisy" else 0.05)
    kinds = {"random": "relu", "rescaled": "relu-rescaled", "normalised": "topk-normalised", "signed": "topk-signed"}
    sae: Any = make_sae(kinds[name], source) if name in kinds else absorbing_sae()
    found = absorbed(sae, source)
    codes, x, items, positions = codes_seen(sae, source)
    row_of = {place: row for row, place in enumerate(zip(items.tolist(), positions.tolist(), strict=True))}
    words = choose_words(source)
    rows = [row_of[place] for place in zip(words.items.tolist(), words.positions.tolist(), strict=True)]
    codes, x = codes[rows], x[rows]
    atoms = sae.atoms.numpy().astype(float)
    train, judging = ~words.judging, words.judging
    scaler = StandardScaler().fit(x[train])
    matrix = csr_array(codes)
    n_measured = n_missed = 0
    for letter, letter_name in enumerate(LETTERS):
        y = words.letters == letter
        model = LogisticRegression(max_iter=1000, class_weight="balanced").fit(scaler.transform(x[train]), y[train])
        scores = model.decision_function(scaler.transform(x))
        quality = f1_score(y[judging], scores[judging] > 0)
        assert found[f"absorption_probe_f1.{letter_name}"] == pytest.approx(quality)
        p = model.coef_[0] / scaler.scale_
        p /= np.linalg.norm(p)
        main = main_features(matrix, y, judging)
        if not main or quality <= 0.6:
            assert f"absorption_full.{letter_name}" not in found
            continue
        full, fraction = [], []
        for row in np.flatnonzero(y & judging & (scores > 0)):
            scale = np.linalg.norm(x[row]) / np.sqrt(WIDTH) if name == "normalised" else 1
            along = [codes[row, i] * scale * (atoms[i] @ p) for i in range(sae.n_features)]
            norms = np.linalg.norm(atoms, axis=1)
            cosines = [atoms[i] @ p / norms[i] if norms[i] else 0.0 for i in range(sae.n_features)]
            fires = [i for i in main if codes[row, i] != 0]
            here = at(along, cosines, fires, float(x[row] @ p))
            full.append(full_by_definition(here))
            others = replace(here, is_main=np.isin(np.arange(sae.n_features), main))
            fraction.append(fraction_by_definition(others))
        assert found[f"absorption_full.{letter_name}"] == pytest.approx(np.mean(full), abs=1e-3)
        assert found[f"absorption_fraction.{letter_name}"] == pytest.approx(np.mean(fraction), abs=1e-3)
        assert found[f"absorption_split.{letter_name}"] == len(main)
        n_measured += 1
        n_missed += int((y & judging & (scores <= 0)).sum())
    assert found["absorption_letters"] == n_measured
    assert (n_missed > 10) == (name == "noisy")  # words that the probe does not find, which do not count
    for mean in METRICS[:3]:
        values = [v for key, v in found.items() if key.startswith(f"{mean}.")]
        assert len(values) == n_measured
        assert found[mean] == (pytest.approx(np.mean([v or 0.0 for v in values])) if values else None)


def test_the_same_numbers_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = absorbed(absorbing_sae(), PlantedWords())
    assert absorbed(absorbing_sae(), PlantedWords()) == whole
    monkeypatch.setattr("saescope.precompute.one_pass.run.block_rows", lambda *_: 5)
    assert absorbed(absorbing_sae(), PlantedWords()) == whole


def test_probes_that_find_no_letter_measure_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = PlantedWords()
    source.activations[:] = torch.randn(source.activations.shape, generator=torch.Generator().manual_seed(0))
    found = absorbed(clean_sae(), source)
    assert found["absorption_letters"] == 0
    assert found["absorption_full"] is found["absorption_fraction"] is found["absorption_split"] is None
    assert not any(name.startswith(("absorption_full.", "absorption_fraction.")) for name in found)
    said = unmeasured_letters(found)
    assert said is not None
    assert "begin with g, h, i" in said
    assert "probes find a, b, c, d, e, f with an F1 of 0.6 or less" in said


def test_the_threshold_of_f1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absorption_module, "LEAST_F1", 1.0)
    assert absorbed(clean_sae(), PlantedWords())["absorption_letters"] == 0


def test_a_letter_that_no_feature_speaks_for_is_left_out() -> None:
    sae = clean_sae()
    with torch.no_grad():
        sae.b_enc[:] = -1e3
        sae.encoder[1, 0] = -1  # the other letters' features tell a from b, but only by their silence
        sae.b_enc[1:6] = -0.5
    found = absorbed(sae, PlantedWords())
    assert "absorption_full.a" not in found
    assert found["absorption_letters"] == 5
    assert "no feature speaks for a" in str(unmeasured_letters(found))


def test_nothing_is_said_where_nothing_was_asked() -> None:
    found = judge(clean_sae(), PlantedWords(), n_ce_positions=0).metrics
    assert unmeasured_letters(found) is None
    assert not any(name.startswith("absorption") for name in found)


def test_words_of_norms_out_of_the_ordinary_do_not_count() -> None:
    class Unusual(PlantedWords):
        """The pass leaves out what the words were chosen among."""

        def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Any:
            for batch in super().batches(start_item, items_per_batch):
                yield replace(batch, mask=batch.mask & (batch.activations.norm(dim=-1) < 2.5))

    found = absorbed(clean_sae(), Unusual())
    assert found["absorption_letters"] == 0
    assert found["absorption_probe_f1"] is found["absorption_probe_f1.a"] is None


def test_what_it_cannot_be_measured_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = open_source(SourceOptions(images="embedded:digits"))
    with pytest.raises(UserError, match=r"words of texts, but the source holds pixels\n.*leave --absorption out"):
        judge(make_sae("relu", pixels), pixels, absorption=True)
    source = PlantedWords()
    with pytest.raises(UserError, match="no linear decoder, so it has no atoms, and absorption"):
        judge(make_sae("deep", source), source, absorption=True)
    transcoder = ReluAutoencoder(ReluConfig(d_in=WIDTH, n_features=4, transcoder=True))
    with pytest.raises(UserError, match="a transcoder's atoms are directions of its target"):
        absorption_module.Absorption(transcoder, source)
    monkeypatch.setattr(words_module, "FEWEST_TOKENS", 1000)
    monkeypatch.setattr(absorption_module, "FEWEST_TOKENS", 1000)
    with pytest.raises(UserError, match=r"too few words.* 1000 different tokens"):
        judge(clean_sae(), source, absorption=True)
