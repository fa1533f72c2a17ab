"""What a user can say about fitting a detector, and about a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from saescope.anomalies.thresholds import ThresholdRule
from saescope.options import flag
from saescope.options.validation import check_fields
from saescope.store.errors import OptionError

Score = Literal["mse", "standardised", "whitened"]
"""See `distances`."""
Whole = Annotated[int, Meta(ge=0)]
Some = Annotated[int, Meta(ge=1)]


def labels_of(given: str | None, name: str) -> list[str] | None:
    """Labels separated by commas."""
    if given is None:
        return None
    words = given.split(",")
    if not all(words):
        raise OptionError(f"{name} is {given!r}, expected labels separated by commas, e.g. 3,7")
    return words


def check_named(normal: str | None, anomaly: str | None) -> None:
    """`OptionError` where a label is named on both sides."""
    both = sorted(set(labels_of(normal, "normal") or ()) & set(labels_of(anomaly, "anomaly") or ()))
    if both:
        raise OptionError(
            f"{', '.join(both)} is named both normal and an anomaly",
            "a normal class must hold no labelled anomalies",
        )


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a detector is fitted."""

    normal: str | None = field(default=None, metadata=flag(metavar="A,B,...", default="all that are no anomalies"))
    """Labels of normal items."""
    anomaly: str | None = field(default=None, metadata=flag(metavar="A,B,...", default="all that are not normal"))
    """Labels of anomalies: they are left out of all that is fitted on normal items."""
    score: Score = "mse"
    """How a residual r of d dimensions becomes a score. `mse`: its mean square. `standardised`: each dimension divided
    by its variance over normal items. `whitened`: its Mahalanobis distance by their covariance."""
    positions: Literal["mean", "max"] = "mean"
    """How the positions of an item (patches, tokens) become one score."""
    threshold: str = field(default="percentile:99", metadata=flag(metavar="RULE"))
    """When an item is flagged: above `percentile:P` of normal training items, at a rate of `false-alarm:R` among them,
    or where `f1` is greatest with the labelled anomalies of the training data."""
    code_components: Whole = field(default=0, metadata=flag(metavar="N", default="0: the error alone"))
    """Score the code too, by a mixture of N Gaussians of normal codes."""
    labelled: Whole = field(default=0, metadata=flag(metavar="N", default="0: none"))
    """Fit classifiers of codes and of inputs on N labelled items of each side."""
    references: bool = True
    """Fit PCA and an isolation forest on the same items."""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    """Of the forest and the mixture."""

    def __post_init__(self) -> None:
        check_fields(self)
        ThresholdRule.parse(self.threshold)
        check_named(self.normal, self.anomaly)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """How a report is made."""

    normal: str | None = field(default=None, metadata=flag(metavar="A,B,...", default="as in the fit"))
    """Labels of normal items."""
    anomaly: str | None = field(default=None, metadata=flag(metavar="A,B,...", default="as in the fit"))
    """Labels of anomalies."""
    leave_out_seen: bool = False
    """Judge the items alone that the detector was not fitted on."""
    bootstrap: Annotated[int, Meta(ge=100, le=100_000)] = field(default=1000, metadata=flag(metavar="N"))
    """Resamples behind the intervals."""
    window: Some = 200
    """Items of a window that is watched for drift."""
    time_column: str | None = field(default=None, metadata=flag(default="the order of the items"))
    """Column of the data that says when an item was."""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    """Of the resamples."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_named(self.normal, self.anomaly)
