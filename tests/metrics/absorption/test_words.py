"""Which places of texts count as beginnings of words, and which of them are used."""

from __future__ import annotations

import numpy as np
import pytest

from saescope.metrics.absorption import words as words_module
from saescope.metrics.absorption.words import Words, choose_words, first_letters, judging_half
from tests.metrics.absorption.planted_words import NO_WORDS, VOCABULARY, PlantedWords


def test_a_word_begins_at_a_space_and_two_letters() -> None:
    letters = first_letters(PlantedWords())
    assert {VOCABULARY[t] for t in range(len(NO_WORDS)) if letters[t] >= 0} == {" zz"}
    assert letters[VOCABULARY.index(" zz")] == 25
    assert {VOCABULARY[t][1:2] for t in np.flatnonzero(letters == 1)} == {"b", "B"}


def test_all_places_that_count_up_to_four_of_a_token() -> None:
    source = PlantedWords()
    chosen = choose_words(source)
    order = np.lexsort((chosen.positions, chosen.items))
    assert (order == np.arange(len(chosen))).all()
    assert (chosen.positions > 0).all()  # the first position does not count
    assert (source.token_ids(chosen.items, chosen.positions) == chosen.tokens).all()
    ids, _, counted = source.contexts(np.arange(source.n_items))
    found = np.bincount(ids[counted], minlength=len(VOCABULARY))
    expected = np.where(first_letters(source) >= 0, np.minimum(found, 4), 0)
    assert (np.bincount(chosen.tokens, minlength=len(VOCABULARY)) == expected).all()
    assert found.max() > 4


def test_neither_the_size_of_steps_nor_of_what_is_held_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    def places(chosen: Words) -> list[tuple[int, int]]:
        return list(zip(chosen.items.tolist(), chosen.positions.tolist(), strict=True))

    whole = places(choose_words(PlantedWords()))
    monkeypatch.setattr(words_module, "ITEMS_AT_ONCE", 7)
    monkeypatch.setattr(words_module, "MOST_HELD", 20)
    assert places(choose_words(PlantedWords())) == whole
    monkeypatch.setattr(words_module, "MOST_WORDS", 100)
    few = places(choose_words(PlantedWords()))
    assert len(few) == 100
    assert set(few) < set(whole)
    assert few == sorted(few)


def test_halves_are_of_tokens_and_letters_need_enough_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = choose_words(PlantedWords())
    halves = [set(chosen.tokens[half].tolist()) for half in (chosen.judging, ~chosen.judging)]
    assert not halves[0] & halves[1]
    assert min(len(half) for half in halves) > 80
    assert chosen.measurable() == [0, 1, 2, 3, 4, 5]  # not z, of which there is one token
    fewest = min(
        len(set(chosen.tokens[half & (chosen.letters == letter)].tolist()))
        for letter in range(6)
        for half in (chosen.judging, ~chosen.judging)
    )
    monkeypatch.setattr(words_module, "FEWEST_TOKENS", fewest)
    assert len(chosen.measurable()) == 6
    monkeypatch.setattr(words_module, "FEWEST_TOKENS", fewest + 1)
    assert len(chosen.measurable()) < 6
    monkeypatch.setattr(words_module, "FEWEST_TOKENS", 1)
    only = chosen[chosen.letters == 0]
    assert only.measurable() == []  # there is nothing to tell it from


def test_half_of_all_tokens_judge() -> None:
    assert abs(judging_half(np.arange(50_000)).mean() - 0.5) < 0.01
