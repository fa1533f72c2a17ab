"""Numbers as pages and terminals write them."""

from __future__ import annotations

import math

import pytest

from saescope.store import numbers
from saescope.store.format.thresholds import dead_bound


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (1 / 77, "1.3 % (1 in 77)"),
        (2.4e-7, "1 in 4.2 M"),
        (0.7, "70 %"),
        (1.0, "100 %"),
        (0.25, "25 % (1 in 4)"),
        (1e-4, "0.01 % (1 in 10 k)"),
        (0.0, "0"),
        (None, "–"),
    ],
)
def test_density(fraction: float | None, text: str) -> None:
    assert numbers.density(fraction) == text


def test_dead_states_the_positions_and_a_bound_that_is_rounded_up() -> None:
    assert numbers.dead(10_000) == "0 of 10,000 (density < 0.03 %)"
    for n in (1, 7, 100, 9_999, 123_456):
        shown = float(numbers.dead(n).split("<")[1].split("%")[0]) / 100
        bound = 1 - 0.05 ** (1 / n)
        assert bound * (1 - 1e-9) <= shown <= bound * 1.1


@pytest.mark.parametrize("n", [1, 2, 10, 1000, 10**6])
def test_the_bound_is_the_density_at_which_silence_has_a_chance_of_five_percent(n: int) -> None:
    assert (1 - dead_bound(n)) ** n == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8.2149, "8.21"),
        (0.003123, "0.00312"),
        (999.9, "1,000"),
        (0.9999, "1.00"),
        (48231.0, "48,200"),
        (1.2e-7, "1.20e-7"),
        (-2.5, "-2.50"),
        (0.0, "0"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (None, "–"),
    ],
)
def test_significant(value: float | None, text: str) -> None:
    assert numbers.significant(value) == text


@pytest.mark.parametrize(("number", "text"), [(210, "210"), (1020, "1,020"), (33_412, "33 k"), (4_200_000, "4.2 M")])
def test_short_count(number: int, text: str) -> None:
    assert numbers.short_count(number) == text


def test_signed_uses_a_real_minus() -> None:
    assert [numbers.signed(v) for v in (0.312, -0.312, 0.0, None)] == ["+0.312", "−0.312", "0", "–"]


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.0, "0 %"),
        (0.0003, "0.03 %"),
        (0.0128, "1.3 %"),
        (0.934, "93 %"),
        (0.9968, "99.7 %"),
        (0.9994, "99.9 %"),
        (0.99999, "> 99.9 %"),
        (1.0, "100 %"),
        (1.204, "120 %"),
        (None, "–"),
    ],
)
def test_percent_calls_all_only_what_is_all(fraction: float | None, text: str) -> None:
    assert numbers.percent(fraction) == text
