"""What units of a decoder that is not linear do to the output: their names, and the steps behind them.

Such a unit has no atom: what it adds depends on the rest of the code. So its effect is shown at one code and named so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from saescope.store.numbers import count, significant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from saescope.store import Entry
    from saescope.store.records import Effect


@dataclass(frozen=True)
class EffectKind:
    """`name` is the whole name, `place` that in a choice, `short` that under a picture; `formula` is of a step of 1."""

    name: str
    place: str
    short: str
    formula: str
    at: str


KINDS: dict[str, EffectKind] = {
    "mean": EffectKind(
        "effect at the mean code",
        "at the mean code",
        "mean code",
        "decode(z + e_i) - decode(z)",
        "z is the mean code over the evaluated positions",
    ),
    "item": EffectKind(
        "effect at its strongest example",
        "at its strongest example",
        "top example",
        "decode(z + e_i) - decode(z)",
        "z is the code at the unit's strongest example; units that never fired have none",
    ),
    "jacobian": EffectKind(
        "Jacobian at the mean code",
        "Jacobian",
        "Jacobian",
        "d decode(z) / d z_i",
        "the decoder's slope along the unit, z is the mean code over the evaluated positions",
    ),
}
"""By the store's `kind`, the one to begin with first."""


def has_unit_steps(entry: Entry) -> bool:
    """Whether the steps of an entry are 1; else each is its unit's own standard deviation."""
    first = entry.effects([0], "mean")
    return not first or first[0].step == 1


def formula(entry: Entry, kind: str) -> str:
    """'decode(z + e_i) - decode(z)', with the step where it is not 1."""
    plain = KINDS[kind].formula
    return plain if kind == "jacobian" or has_unit_steps(entry) else plain.replace("e_i", "s e_i")


def explanation(entry: Entry, kind: str) -> str:
    """The formula and what stands in it."""
    words = f"{formula(entry, kind)}; {KINDS[kind].at}"
    if kind == "jacobian" or has_unit_steps(entry):
        return words
    return f"{words}; the step s is the unit's own standard deviation over the evaluated positions"


def tip(effect: Effect) -> str:
    """One effect in lines: what it is, at which item, by which step."""
    lines = [KINDS[effect.kind].name]
    if effect.item_id is not None:
        lines.append(f"item {count(effect.item_id)}" + (f", position {effect.position}" if effect.position else ""))
    if effect.step is not None:
        lines.append(f"step {significant(effect.step)}")
    return "\n".join(lines)


def chosen_kind(given: str) -> str:
    """A kind that an address names, else the first."""
    return given if given in KINDS else next(iter(KINDS))


def by_feature(entry: Entry, feature_ids: Sequence[int], kind: str) -> dict[int, Effect]:
    """The effects that there are, by feature."""
    return {effect.feature_id: effect for effect in entry.effects(feature_ids, kind)}
