"""Words whose activations say their first letter, and SAEs in which one letter's feature is absorbed, or none.

An activation is 3 times the letter's direction, 2 times one of `N_KINDS` directions that the token has besides, and
noise. Words of letter a of kind 0 are all of the half that judges: no probe is fitted on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig
from saescope.metrics.absorption.words import judging_half
from saescope.sources.protocol import ActivationBatch
from tests.precompute.small_texts import MemoryTexts

LETTERS = "abcdef"
PER_LETTER, N_KINDS = 40, 6
WIDTH = len(LETTERS) + N_KINDS
NO_WORDS = ("<s>", " a", "ab", " a1", " étude", " zz", " two words", "\n", " b_c", " ", "a b")
"""Tokens that begin no word, and two letters of which there are too few: " zz" begins one."""


def spelled(letter: str, number: int) -> str:
    """Words of two to four letters, in either case."""
    text = f" {letter}{'xyz'[number % 3]}{'rstuvwmnopqklij'[number % 13]}{'z' * (number // 39)}"
    return text.title() if number % 7 == 0 else text


VOCABULARY = (*NO_WORDS, *(spelled(letter, i) for letter in LETTERS for i in range(PER_LETTER)))
ITEMS_PER_BATCH = 16


class PlantedWords(MemoryTexts):
    """`n_items` contexts of 8 tokens drawn from `VOCABULARY`; the first position of each does not count."""

    def __init__(self, n_items: int = 240, absorbed: int = 6, noise: float = 0.05) -> None:
        rng = np.random.default_rng(0)
        self.n_items, self.positions_per_item, self.noise = n_items, 8, noise
        self.kinds = np.full(n_items, "prose")
        drawn = rng.permuted(np.tile(np.arange(len(VOCABULARY)), -(-n_items * 8 // len(VOCABULARY))))
        self.rows = list(drawn[: n_items * 8].reshape(n_items, 8))
        tokens = np.arange(len(VOCABULARY))
        self.letter_of = np.array([LETTERS.find(text[1:2].lower()) for text in VOCABULARY])
        self.letter_of[: len(NO_WORDS)] = -1
        of_a = tokens[(self.letter_of == 0) & judging_half(tokens)]
        self.absorbed = of_a[:absorbed]
        """Tokens of letter a and kind 0."""
        self.kind_of = tokens % N_KINDS
        self.kind_of[self.letter_of == 0] = 1 + tokens[self.letter_of == 0] % (N_KINDS - 1)
        self.kind_of[self.absorbed] = 0

    @property
    def vocabulary(self) -> Sequence[str]:
        return VOCABULARY

    @property
    def d_in(self) -> int:
        return WIDTH

    @cached_property
    def activations(self) -> Tensor:
        """[item, position, d_in]"""
        tokens = np.stack(self.rows)
        x = np.random.default_rng(1).normal(0, self.noise, (*tokens.shape, WIDTH)).astype(np.float32)
        letters, kinds = np.eye(len(LETTERS) + 1)[self.letter_of, :-1], np.eye(N_KINDS)[self.kind_of]
        return torch.from_numpy(x + np.concatenate([3 * letters, 2 * kinds], 1)[tokens].astype(np.float32))

    def contexts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids = np.stack([self.rows[i] for i in items]).astype(np.int64)
        counted = np.ones(ids.shape, bool)
        counted[:, 0] = False
        return ids, np.ones(ids.shape, bool), counted

    def usual(self, activations: Tensor) -> Tensor:
        return torch.ones(activations.shape[:-1], dtype=torch.bool)

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        step = items_per_batch or ITEMS_PER_BATCH
        for first in range(start_item, self.n_items, step):
            items = np.arange(first, min(first + step, self.n_items))
            yield ActivationBatch(items, self.activations[items], torch.from_numpy(self.contexts(items)[2]))


def clean_sae() -> ReluAutoencoder:
    """A feature for each letter and for each kind."""
    sae = ReluAutoencoder(ReluConfig(d_in=WIDTH, n_features=WIDTH + 1))
    with torch.no_grad():
        sae.encoder[:WIDTH] = torch.eye(WIDTH)
        sae.b_enc[:] = -0.5
        sae.W_dec[:WIDTH] = torch.eye(WIDTH)
    return sae


ABSORBER = WIDTH


def absorbing_sae() -> ReluAutoencoder:
    """The same, but on letter a and kind 0 together the letter's feature is silent, and `ABSORBER` says it."""
    sae = clean_sae()
    with torch.no_grad():
        sae.encoder[0, len(LETTERS)] = -2
        sae.encoder[ABSORBER, [0, len(LETTERS)]] = 3
        sae.b_enc[ABSORBER] = -12
        sae.W_dec[ABSORBER, [0, len(LETTERS)]] = 0.5**0.5
    return sae
