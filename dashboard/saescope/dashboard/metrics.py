"""What each metric is called on a page, how its number is written, and its formula for the tooltip.

The store's `metrics` table carries the ones that a build used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from saescope.store.numbers import count, percent, significant


@dataclass(frozen=True)
class Metric:
    """`title` is the axis or column title with its unit; `write` its number; `help` its definition."""

    name: str
    title: str
    help: str
    short: str
    write: Callable[[float | None], str] = significant


def _count(value: float | None) -> str:
    return count(None if value is None else round(value))


_ALL = (
    Metric("l0", "L0 (firing features per position)", "mean over positions of the number of firing features", "L0"),
    Metric("fraction_active", "fraction active", "L0 / number of features", "active", percent),
    Metric("l1", "L1 per position", "mean over positions of the sum of |f_j|", "L1"),
    Metric("mse", "MSE (raw units²)", "mean over positions and dimensions of (x - x_hat)²", "MSE"),
    Metric(
        "fvu",
        "FVU",
        "fraction of variance unexplained: sum of ‖x - x_hat‖² / sum of ‖x - mean(x)‖²",
        "FVU",
    ),
    Metric("fvu_transformed", "FVU after the input transform", "FVU in the space of the whitened input", "FVU (white)"),
    Metric("explained_variance", "explained variance", "1 - FVU", "explained", percent),
    Metric("cosine", "cosine of x and x_hat", "mean over positions of cos(x, x_hat)", "cosine"),
    Metric(
        "ce_recovered",
        "CE recovered",
        "cross-entropy of the next token: (CE with zeros - CE with x_hat) / (CE with zeros - CE with x), with zeros, "
        "x_hat or x at the hook",
        "CE recovered",
        percent,
    ),
    Metric("ce_lost", "CE lost (1 - CE recovered)", "1 - CE recovered", "CE lost", percent),
    Metric(
        "ce_recovered_mean",
        "CE recovered (mean ablation)",
        "(CE with the mean of x - CE with x_hat) / (CE with the mean of x - CE with x)",
        "CE recovered (mean)",
        percent,
    ),
    Metric("ce_clean", "CE clean (nats per token)", "cross-entropy of the next token with x", "CE clean"),
    Metric(
        "ce_sae", "CE with the SAE (nats per token)", "cross-entropy of the next token with x_hat for x", "CE with SAE"
    ),
    Metric("ce_zero", "CE with zeros (nats per token)", "cross-entropy of the next token with 0 for x", "CE zeros"),
    Metric("ce_mean", "CE with the mean (nats per token)", "cross-entropy with the mean of x for x", "CE mean"),
    Metric("kl", "KL (nats per token)", "mean of KL(p with x || p with x_hat) over the next token", "KL"),
    Metric("n_dead", "dead features", "features that fired at none of the evaluated positions", "dead", _count),
    Metric("n_dense", "dense features", "features that fired at more than 10 % of the positions", "dense", _count),
)
METRICS: dict[str, Metric] = {m.name: m for m in _ALL}


def metric(name: str) -> Metric:
    """The metric called `name`; one of its own name where it is not a known one."""
    return METRICS.get(name) or Metric(name, name, name, name)


def value(metrics: Mapping[str, float | None], name: str) -> float | None:
    """A metric's value, None where it is missing or undefined. `ce_lost` is made from `ce_recovered`."""
    if name == "ce_lost":
        recovered = value(metrics, "ce_recovered")
        return None if recovered is None else 1 - recovered
    number = metrics.get(name)
    return None if number is None else float(number)
