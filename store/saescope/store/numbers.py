"""Numbers as people read them, on pages and in terminals: significant digits, units, separators. Pure functions.

significant(0.0031234)     0.00312
count(10000)               10,000
density(0.013)             1.3 % (1 in 77)
density(2.4e-7)            1 in 4.2 M
dead(10000)                0 of 10,000 (density < 0.03 %)
"""

from __future__ import annotations

import math

from saescope.store.format.thresholds import dead_bound

NONE = "–"
"""What stands where there is no number."""
_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def significant(value: float | None, digits: int = 3) -> str:
    """`value` with `digits` significant digits: 8.21, 0.00312, 1.2e-7, 48,200."""
    if value is None or math.isnan(value):
        return NONE
    if value == 0:
        return "0"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    magnitude = abs(value)
    if magnitude < 1e-4 or magnitude >= 1e9:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    rounded = float(f"{value:.{digits}g}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}"


def _short(value: float, digits: int) -> str:
    """Like `significant`, without trailing zeros."""
    text = significant(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def count(number: int | None) -> str:
    """10,000 (exact)."""
    return NONE if number is None else f"{number:,}"


def short_count(number: float | None) -> str:
    """210, 1,020, 33 k, 4.2 M: exact below 10,000, two to three digits above."""
    if number is None:
        return NONE
    if number < 10_000:
        return f"{round(number):,}"
    scale, unit = next(each for each in _SCALES if number >= each[0])
    return f"{_short(number / scale, 3 if number / scale >= 100 else 2)} {unit}"


def percent(fraction: float | None, digits: int = 2) -> str:
    """93 %, 1.3 %, 0.03 %; what is not all is never 100 %, but > 99.9 %."""
    if fraction is None or math.isnan(fraction):
        return NONE
    if 0.9995 <= fraction < 1:
        return "> 99.9 %"
    if fraction >= 0.995:
        return f"{_short(fraction * 100, 3)} %"
    return f"{_short(fraction * 100, digits)} %"


def one_in(fraction: float) -> str:
    """1 in 77, 1 in 4.2 M."""
    return f"1 in {short_count(1 / fraction)}"


def density(fraction: float | None) -> str:
    """Firing positions / evaluated positions: '1.3 % (1 in 77)', or '1 in 4.2 M' where a percentage says nothing."""
    if fraction is None or math.isnan(fraction):
        return NONE
    if fraction <= 0:
        return "0"
    if fraction < 1e-4:
        return one_in(fraction)
    if fraction > 0.4:
        return percent(fraction)
    return f"{percent(fraction)} ({one_in(fraction)})"


def dead(n_positions: int) -> str:
    """'0 of 10,000 (density < 0.03 %)', the bound rounded up, since it is an upper bound."""
    bound = dead_bound(n_positions)
    if bound < 1e-6:
        return f"0 of {count(n_positions)} (density < {one_in(bound)})"
    step = 10.0 ** (math.floor(math.log10(bound)) - 1)
    return f"0 of {count(n_positions)} (density < {percent(math.ceil(bound / step - 1e-9) * step)})"


def signed(value: float | None, digits: int = 3) -> str:
    """+0.312, -1.20 (a real minus sign)."""
    text = significant(value, digits)
    return text.replace("-", "−", 1) if text.startswith("-") else (text if text in (NONE, "0") else f"+{text}")
