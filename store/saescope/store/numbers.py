"""Numbers as people read them."""

from __future__ import annotations


def share(fraction: float) -> str:
    """A fraction for people: "93 %", "0.4 %", "< 0.1 %", "> 99 %"; neither rounded down to 0 % nor up to 100 %."""
    value = 100 * fraction
    if 0 < value < 0.1:
        return "< 0.1 %"
    if value < 10 and round(value, 1) != round(value):
        return f"{value:.1f} %"
    if 99.5 <= value < 100:
        return "> 99 %"
    return f"{value:.0f} %"
