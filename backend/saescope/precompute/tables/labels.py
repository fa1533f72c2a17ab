"""Labels that write themselves, from the tokens on which a feature fires and from what is known of their items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from saescope.precompute import kernels
from saescope.precompute.kernels.records import Postings
from saescope.precompute.tables.tokens import TokenCounts
from saescope.sources.categories import categories
from saescope.store.format.thresholds import LABEL_MIN_FIRINGS, LABEL_MIN_ITEMS, LABEL_MIN_LIFT

MAX_CATEGORIES = 1000
"""A column with more distinct values is not a set of labels."""
COUNTS_AT_ONCE = 2**22
"""Most counts of features and categories held at a time."""


@dataclass(frozen=True)
class Labels:
    """One per feature: its name, and how well it fits. Where `name` is None the numbers are NaN."""

    name: list[str | None]
    precision: Float64[np.ndarray, " feature"]
    recall: Float64[np.ndarray, " feature"]
    base_rate: Float64[np.ndarray, " feature"]


def label_features(
    metadata: Mapping[str, Any],
    words: Mapping[str, str],
    row_items: Int64[np.ndarray, " row"],
    postings: Postings,
    n_firing: Int64[np.ndarray, " feature"],
    tokens: TokenCounts | None = None,
    vocabulary: Sequence[str] = (),
) -> Labels:
    """The best label of each feature, "WORD VALUE", with precision, recall and base rate counted over positions.

    `metadata` maps a column to one value per item, `words` a column to the word that stands before its value (default:
    the column's name); `tokens` adds the token at the position itself. Candidates need `LABEL_MIN_ITEMS` and
    `LABEL_MIN_LIFT`; the one whose precision has the largest Wilson lower bound wins, ties going to the token, then to
    the first column and value.
    """
    best = _Best(n_firing, len(row_items))
    if tokens is not None:
        found = np.flatnonzero((tokens.top.label_token >= 0) & (n_firing >= LABEL_MIN_FIRINGS))
        chosen = tokens.top.label_token[found]
        best.offer(
            found,
            tokens.top.label_firing[found],
            tokens.n_token[chosen],
            [f"fires on {quoted(vocabulary[token])}" for token in chosen],
        )
    for column, values in metadata.items():
        names, codes = categories(values)
        if 2 <= len(names) <= MAX_CATEGORIES:
            _offer_categories(best, f"{words.get(column, column)} ", names, codes, row_items, postings)
    return Labels(best.name, best.precision, best.recall, best.base_rate)


class _Best:
    """The best label so far of each feature."""

    def __init__(self, n_firing: Int64[np.ndarray, " feature"], n_positions: int) -> None:
        n_features = len(n_firing)
        self.n_firing, self.n_positions = n_firing, n_positions
        self.score = np.full(n_features, -1.0)
        self.precision, self.recall, self.base_rate = (np.full(n_features, np.nan) for _ in range(3))
        self.name: list[str | None] = [None] * n_features

    def offer(
        self,
        features: Int64[np.ndarray, " offered"],
        n_match: Int64[np.ndarray, " offered"],
        n_described: Int64[np.ndarray, " offered"],
        names: Sequence[str],
    ) -> None:
        """A candidate for each of `features`: it describes `n_described` positions, `n_match` of them firings."""
        n_firing = self.n_firing[features]
        score = wilson_lower(n_match, n_firing)
        for at in np.flatnonzero(score > self.score[features]).tolist():
            f = int(features[at])
            self.score[f] = score[at]
            self.precision[f] = n_match[at] / n_firing[at]
            self.recall[f] = n_match[at] / n_described[at]
            self.base_rate[f] = n_described[at] / self.n_positions
            self.name[f] = names[at]


def _offer_categories(
    best: _Best,
    prefix: str,
    names: list[str],
    codes: Int64[np.ndarray, " n_items"],
    row_items: Int64[np.ndarray, " row"],
    postings: Postings,
) -> None:
    """Offer each feature the category of items that fits it best."""
    n_category = np.zeros(len(names), np.int64)
    kernels.rows_of_categories(row_items, codes, n_category)
    at_once = max(1, COUNTS_AT_ONCE // len(names))
    for first in range(0, len(best.n_firing), at_once):
        n_firing = best.n_firing[first : first + at_once, None]
        part = Postings(postings.pointers[first : first + at_once + 1], postings.rows)
        n_match = np.zeros((len(n_firing), len(names)), np.int64)
        n_items = np.zeros_like(n_match)
        kernels.count_categories(part, row_items, codes, len(names), n_match, n_items)
        with np.errstate(divide="ignore", invalid="ignore"):
            precise = n_match / n_firing >= LABEL_MIN_LIFT * n_category / best.n_positions
            fits = (n_firing >= LABEL_MIN_FIRINGS) & (n_items >= LABEL_MIN_ITEMS) & precise
        # with equal numbers of trials, the larger count has the larger bound
        choice = np.where(fits, n_match, -1).argmax(axis=1)
        found = np.flatnonzero(fits[np.arange(len(choice)), choice])
        chosen = choice[found]
        best.offer(
            first + found,
            n_match[found, chosen],
            n_category[chosen],
            [prefix + names[category] for category in chosen],
        )


def quoted(token: str) -> str:
    """A token between backticks, its control characters written out: spaces count in a token."""
    return "`" + "".join(c if c.isprintable() or c == " " else _written(c) for c in token) + "`"


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def wilson_lower(successes: Any, trials: Any, z: float = 1.959964) -> Any:
    """Lower bound of the 95 % score interval of a proportion (Wilson 1927, equation 2). Arrays broadcast."""
    p = successes / trials
    centre = p + z * z / (2 * trials)
    spread = z * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return (centre - spread) / (1 + z * z / trials)
