"""Choosing items by their label, before anything is hashed, measured or held out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from saescope.options import flag
from saescope.sources.files import listed
from saescope.sources.options import DataOptions
from saescope.store.errors import DataError, OptionError


@dataclass(frozen=True, kw_only=True)
class LabelChoice(DataOptions):
    """Which items are read, by label."""

    only_labels: str | None = field(default=None, metadata=flag(metavar="A,B,...", default="all"))
    """Read the items with these labels alone: they are a data set of their own."""
    without_labels: str | None = field(default=None, metadata=flag(metavar="A,B,...", default="none"))
    """Leave the items with these labels out, e.g. the anomalies of a training on normal ones."""

    concern: ClassVar[str] = "images and tables"

    def _check(self) -> None:
        super()._check()
        for name in ("only_labels", "without_labels"):
            given = getattr(self, name)
            if given is not None and not all(given.split(",")):
                raise OptionError(f"{name} is {given!r}, expected labels separated by commas, e.g. 3,7")
        both = set((self.only_labels or "").split(",")) & set((self.without_labels or "").split(",")) - {""}
        if both:
            raise OptionError(
                f"only_labels and without_labels both name {listed(sorted(both))}", "leave one of them out"
            )

    @property
    def chooses(self) -> bool:
        """Whether labels decide what is read."""
        return bool(self.choice)

    @property
    def choice(self) -> dict[str, str]:
        """The labels that are named, for the record."""
        given = {"only_labels": self.only_labels, "without_labels": self.without_labels}
        return {name: labels for name, labels in given.items() if labels is not None}


def chosen_items(
    labels: pa.Array | None, subject: str, *, only_labels: str | None = None, without_labels: str | None = None
) -> Int64[np.ndarray, " chosen"]:
    """Indices of the items that are chosen by their labels, ascending. `DataError` where the data has no labels, lacks
    one that is named, or nothing is left."""
    if labels is None or labels.null_count == len(labels):
        raise DataError(f"{subject}: items are to be chosen by label, but they have none", "name data with labels")
    known = pc.unique(labels).drop_null().to_pylist()
    kept = np.ones(len(labels), bool)
    for given, inside in ((only_labels, True), (without_labels, False)):
        if given is None:
            continue
        wanted = given.split(",")
        missing = [word for word in wanted if word not in known]
        if missing:
            raise DataError(
                f"{subject}: no item has the label {listed([repr(word) for word in missing])}",
                f"labels: {listed(sorted(known))}",
            )
        named = pc.is_in(labels, value_set=pa.array(wanted, pa.string()))
        kept &= named.to_numpy(zero_copy_only=False) == inside
    if not kept.any():
        raise DataError(f"{subject}: no item is left by the labels chosen", f"labels: {listed(sorted(known))}")
    return np.flatnonzero(kept).astype(np.int64)
