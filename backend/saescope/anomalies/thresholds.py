"""Where a score becomes an alarm, by normal training items alone, or with a few labelled anomalies of the training
data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from saescope.store.errors import DataError, OptionError

if TYPE_CHECKING:
    from jaxtyping import Float64  # which the options' reader may not have installed

_EXPECTED = "expected percentile:P (e.g. percentile:99), false-alarm:R (e.g. false-alarm:0.01) or f1"


@dataclass(frozen=True)
class ThresholdRule:
    """How the threshold is chosen."""

    rule: Literal["percentile", "false-alarm", "f1"]
    value: float | None = None

    @staticmethod
    def parse(text: str) -> ThresholdRule:
        """`percentile:99`, `false-alarm:0.01` or `f1`."""
        if text == "f1":
            return ThresholdRule("f1")
        found = re.fullmatch(r"(percentile|false-alarm):([0-9.eE+-]+)", text)
        try:
            value = float(found[2]) if found else None
        except ValueError:
            value = None
        if found is None or value is None:
            raise OptionError(f"the threshold is {text!r}", _EXPECTED)
        rule: Literal["percentile", "false-alarm"] = "percentile" if found[1] == "percentile" else "false-alarm"
        most = 100.0 if rule == "percentile" else 1.0
        if not 0 < value < most:
            raise OptionError(f"the threshold is {text!r}; expected a number between 0 and {most:g}", _EXPECTED)
        return ThresholdRule(rule, value)

    def __str__(self) -> str:
        return self.rule if self.value is None else f"{self.rule}:{self.value:g}"

    def choose(
        self, normal: Float64[np.ndarray, " item"], anomalous: Float64[np.ndarray, " item"] | None = None
    ) -> float:
        """The threshold by scores of normal training items and, for f1, of labelled anomalies.

        percentile:P is their P-th percentile, as NumPy interpolates it. false-alarm:R is the least score of theirs that
        no more than a share R of them exceeds. f1 is the one with the greatest F1 of flagging both; between two scores,
        so that it is neither's.
        """
        if not len(normal):
            raise DataError("there are no normal items to choose the threshold by")
        if self.rule == "percentile":
            assert self.value is not None
            return float(np.percentile(normal, self.value))
        if self.rule == "false-alarm":
            assert self.value is not None
            allowed = int(np.floor(self.value * len(normal) + 1e-9))
            return float(np.sort(normal)[len(normal) - 1 - allowed])
        if anomalous is None or not len(anomalous):
            raise DataError(
                "a threshold by f1 needs labelled anomalies in the training data, and there are none",
                "name their labels with --anomaly, or use percentile:99 or false-alarm:0.01",
            )
        from sklearn.metrics import precision_recall_curve  # takes long to import, and options need none of it

        scores = np.concatenate([normal, anomalous])
        truth = np.arange(len(scores)) >= len(normal)
        precision, recall, steps = precision_recall_curve(truth, scores)
        total = precision[:-1] + recall[:-1]
        f1 = np.divide(2 * precision[:-1] * recall[:-1], total, out=np.zeros_like(total), where=total > 0)
        best = float(steps[int(np.argmax(f1))])
        below = scores[scores < best]
        return (best + float(below.max())) / 2 if len(below) else float(np.nextafter(best, -np.inf))
