"""What the store returns row by row: frozen records with attributes that also answer to record["column"]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from saescope.store.labels import label_sentence


class Record:
    """A row. `record.column`, `record["column"]`, `dict(record.as_dict())`; the repr shows the short columns."""

    def __getitem__(self, column: str) -> Any:
        if column not in self.keys():
            raise KeyError(f"{type(self).__name__} has no column {column!r}; it has {', '.join(self.keys())}")
        return getattr(self, column)

    def keys(self) -> list[str]:
        """Names of the columns."""
        return [f.name for f in fields(self)]  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def as_dict(self) -> dict[str, Any]:
        """The columns as a plain dictionary."""
        return {name: getattr(self, name) for name in self.keys()}

    def __repr__(self) -> str:
        shown = []
        for name in self.keys():
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, float):
                shown.append(f"{name}={value:.4g}")
            elif isinstance(value, bytes):
                shown.append(f"{name}=<{len(value):,} bytes>")
            elif isinstance(value, (list, dict, np.ndarray)):
                shown.append(f"{name}=<{len(value)} values>" if value else f"{name}=<none>")
            else:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Feature(Record):
    """One feature: the columns of table `features`, its place among all, and what people said about it."""

    feature_id: int
    n_firing: int
    density: float
    mean_activation: float | None
    std_activation: float | None
    max_activation: float | None
    is_dead: bool
    is_dense: bool
    decoder_norm: float | None
    encoder_bias: float | None
    hist_counts: list[int]
    interval_lower: list[float]
    interval_counts: list[int]
    auto_label: str | None
    label_precision: float | None
    label_recall: float | None
    label_base_rate: float | None
    density_rank: int
    """1 = fires most often; features with the same count share a rank."""
    max_rank: int | None
    """1 = largest |max_activation|; null if dead."""
    n_features: int
    user_label: str | None
    """The label that people gave, if any."""
    is_starred: bool

    @property
    def label(self) -> str | None:
        """The label to show: the people's own, else the automatic one."""
        return self.user_label if self.user_label is not None else self.auto_label

    @property
    def label_sentence(self) -> str | None:
        """The same, an automatic one with its numbers: "digit 7: 93 % of firings, recall 81 %, base rate 10 %"."""
        if self.user_label is not None or self.auto_label is None:
            return self.user_label
        return label_sentence(self.auto_label, self.label_precision, self.label_recall, self.label_base_rate)


@dataclass(frozen=True, repr=False)
class Example(Record):
    """One row of table `examples`."""

    feature_id: int
    kind: str
    interval: int | None
    rank: int
    item_id: int
    position: int
    activation: float
    window_start: int | None
    window_activations: list[float] | None


@dataclass(frozen=True, repr=False)
class Item(Record):
    """One row of table `items`; `metadata` holds the source's own columns."""

    item_id: int
    token_ids: list[int] | None
    tokens: list[str] | None
    image: bytes | None
    label: str | None
    metadata: dict[str, Any]

    def _repr_png_(self) -> bytes | None:
        """Notebooks show the picture."""
        return self.image


@dataclass(frozen=True, repr=False)
class Neighbour(Record):
    """A feature with a similar atom, and what to call it."""

    feature_id: int
    rank: int
    neighbour_id: int
    cosine: float
    auto_label: str | None
    is_dead: bool


@dataclass(frozen=True, repr=False, eq=False)
class Effect(Record):
    """One row of table `effects`: what a feature does to the output at one code."""

    feature_id: int
    kind: str
    item_id: int | None
    position: int | None
    step: float | None
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, repr=False)
class Coactivation(Record):
    """A feature that fires at the same positions, and what to call it."""

    feature_id: int
    rank: int
    other_id: int
    n_both: int
    jaccard: float
    auto_label: str | None


@dataclass(frozen=True, repr=False)
class TopToken(Record):
    """One row of table `top_tokens`: a token that fires the feature."""

    feature_id: int
    rank: int
    token_id: int
    token: str
    n_firing: int
    mean_activation: float
    n_token: int
    lift: float


@dataclass(frozen=True, repr=False)
class TopLogit(Record):
    """One row of table `top_logits`: a token that the feature's atom raises (`sign` +1) or lowers (-1)."""

    feature_id: int
    sign: int
    rank: int
    token_id: int
    token: str
    logit: float


@dataclass(frozen=True, repr=False)
class ItemCode(Record):
    """The code of one position of a sampled item: firing features, strongest first."""

    item_id: int
    position: int
    feature_ids: list[int]
    activations: list[float]


@dataclass(frozen=True, repr=False)
class NearDuplicate(Record):
    """Two features whose atoms point the same way; `feature_id` < `other_id`."""

    feature_id: int
    other_id: int
    cosine: float
