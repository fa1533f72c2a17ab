"""Automatic labels in words: the table holds a name and, in columns of their own, how well it fits."""

from __future__ import annotations

from saescope.store.numbers import percent


def label_sentence(
    name: str, precision: float | None, recall: float | None = None, base_rate: float | None = None
) -> str:
    """A label with the numbers that are given: "digit 7: 93 % of firings, recall 81 %, base rate 10 %"."""
    numbers = [
        text.format(percent(value))
        for text, value in (("{} of firings", precision), ("recall {}", recall), ("base rate {}", base_rate))
        if value is not None
    ]
    return f"{name}: {', '.join(numbers)}" if numbers else name
