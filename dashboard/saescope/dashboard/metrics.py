"""What a metric is called on charts and in tables, and how its number is written. One that is not listed has its own
name. Formulas are those of the store's `metrics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saescope.dashboard.state import reads
from saescope.store.numbers import count, percent, significant

if TYPE_CHECKING:
    from saescope.store import Entry


@dataclass(frozen=True)
class Metric:
    """`title` is the axis or column title with its unit; `write` its number."""

    name: str
    title: str
    short: str
    write: Callable[[float | None], str] = significant


def _count(value: float | None) -> str:
    return count(None if value is None else round(value))


_ALL = (
    Metric("l0", "L0 (firing features per position)", "L0"),
    Metric("fraction_active", "fraction active", "active", percent),
    Metric("l1", "L1 per position", "L1"),
    Metric("mse", "MSE (raw units²)", "MSE"),
    Metric("fvu", "FVU", "FVU"),
    Metric("fvu_transformed", "FVU after the input transform", "FVU (white)"),
    Metric("explained_variance", "explained variance", "explained", percent),
    Metric("cosine", "cosine of x and x_hat", "cosine"),
    Metric("ce_recovered", "CE recovered", "CE recovered", percent),
    Metric("ce_lost", "CE lost (1 - CE recovered)", "CE lost", percent),
    Metric("ce_recovered_mean", "CE recovered (mean ablation)", "CE recovered (mean)", percent),
    Metric("ce_clean", "CE clean (nats per token)", "CE clean"),
    Metric("ce_sae", "CE with the SAE (nats per token)", "CE with SAE"),
    Metric("ce_zero", "CE with zeros (nats per token)", "CE zeros"),
    Metric("ce_mean", "CE with the mean (nats per token)", "CE mean"),
    Metric("kl", "KL (nats per token)", "KL"),
    Metric("n_dead", "dead features", "dead", _count),
    Metric("n_dense", "dense features", "dense", _count),
)
METRICS: dict[str, Metric] = {m.name: m for m in _ALL}


def metric(name: str) -> Metric:
    """The metric called `name`; one of its own name where it is not a known one."""
    return METRICS.get(name) or Metric(name, name, name)


def value(metrics: Mapping[str, float | None], name: str) -> float | None:
    """A metric's value, None where it is missing or undefined. `ce_lost` is made from `ce_recovered`."""
    if name == "ce_lost":
        recovered = value(metrics, "ce_recovered")
        return None if recovered is None else 1 - recovered
    number = metrics.get(name)
    return None if number is None else float(number)


def formula(entries: Sequence[Entry], name: str) -> str:
    """A metric's formula, of the first of the SAEs that has it; empty where none does."""
    if name == "ce_lost":
        recovered = formula(entries, "ce_recovered")
        return f"1 - {recovered}" if recovered else ""
    having = next((entry for entry in entries if name in entry.metrics), None)
    return "" if having is None else reads.formulas(having).get(name, "")
