"""Which features are a letter's main ones, where it is known how it was split among them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from saescope.metrics.absorption.main_features import main_features

N = 2000
IS_LETTER = np.arange(N) % 4 == 0
JUDGING = np.arange(N) % 8 >= 4
"""Half of the words, and half of the letter's."""


def split_codes(shares: list[float], unit: float = 1.0) -> np.ndarray:
    """Codes [word, feature]: of each half's words with the letter, `shares` fire the features, one each; five features
    more fire by chance."""
    codes = np.zeros((N, len(shares) + 5), np.float32)
    for half in (JUDGING, ~JUDGING):
        words = np.flatnonzero(IS_LETTER & half)
        ends = np.round(np.cumsum([0, *shares]) * len(words)).astype(int)
        for feature in range(len(shares)):
            codes[words[ends[feature] : ends[feature + 1]], feature] = unit
    rng = np.random.default_rng(0)
    codes[:, len(shares) :] = (rng.random((N, 5)) < 0.1) * unit
    return codes


def found(codes: np.ndarray) -> list[int]:
    return main_features(csr_array(codes), IS_LETTER, JUDGING)


@pytest.mark.parametrize("unit", [0.01, 1.0, 500.0])
def test_the_parts_of_a_letter_the_largest_first_whatever_the_unit(unit: float) -> None:
    assert found(split_codes([1.0], unit)) == [0]
    assert sorted(found(split_codes([0.3, 0.7], unit))) == [0, 1]
    assert sorted(found(split_codes([0.3, 0.4, 0.3], unit))) == [0, 1, 2]


def test_one_more_has_to_raise_f1_by_more_than_three_hundredths() -> None:
    """Alone, a feature with a share s of the words has an F1 of 2 s / (1 + s); with the other it is 1."""
    assert found(split_codes([0.96, 0.04])) == [0]  # 0.980
    assert found(split_codes([0.92, 0.08])) == [0, 1]  # 0.958


def test_no_more_than_ten() -> None:
    assert len(found(split_codes([1 / 14] * 14))) == 10


def test_what_helps_on_seen_words_only_is_none() -> None:
    codes = split_codes([0.7, 0.3])
    codes[JUDGING, 1] = 0
    assert found(codes) == [0]


def test_features_that_speak_against_a_letter_are_none() -> None:
    codes = np.zeros((N, 3), np.float32)
    codes[~IS_LETTER, 1] = 1
    assert found(codes) == []
