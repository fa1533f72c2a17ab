"""Images with what is known about them, whatever file they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from saescope.progress import SILENT, Progress
from saescope.sources.images.image_stack import ChosenStack, ImageStack
from saescope.sources.options import Split
from saescope.store.errors import DataError

LABEL = "label"


@dataclass(frozen=True)
class ImageSet:
    """One split (or all) of a data set of images."""

    stack: ImageStack
    labels: pa.Array | None = None
    """A string per item, null where unknown."""
    metadata: Mapping[str, pa.Array] = field(default_factory=dict)
    """Further columns to label features by, one value per item."""
    details: Mapping[str, pa.Array] = field(default_factory=dict)
    """Columns that are shown with an item, but tell nothing about others (a file's name)."""
    label_words: Mapping[str, str] = field(default_factory=dict)
    """What a column's values are called before people, where that is known: {'label': 'digit'}."""
    n_files: int | None = None
    """Files of pictures, where several pages of them are items."""
    is_fitted: bool = False
    """Whether pictures of unequal size were brought to one on being read."""

    def taken(self, items: Int64[np.ndarray, " chosen"]) -> ImageSet:
        """The set of some of its items."""
        place = pa.array(items)
        return replace(
            self,
            stack=ChosenStack(self.stack, items),
            labels=None if self.labels is None else self.labels.take(place),
            metadata={name: values.take(place) for name, values in self.metadata.items()},
            details={name: values.take(place) for name, values in self.details.items()},
        )

    def by_page(
        self, files: Int64[np.ndarray, " n_items"] | None, pages: Int64[np.ndarray, " n_items"] | None
    ) -> ImageSet:
        """The set whose columns have a value per file, for items that are `pages` of `files`; None: the set itself."""
        if files is None or pages is None:
            return self
        place = pa.array(files)
        return replace(
            self,
            labels=None if self.labels is None else self.labels.take(place),
            metadata={name: values.take(place) for name, values in self.metadata.items()},
            details={**{n: v.take(place) for n, v in self.details.items()}, "page": pa.array(pages)},
            n_files=len(np.unique(files)),
        )


class ImageData(Protocol):
    """A data set of images on disk or embedded."""

    @property
    def format(self) -> str:
        """'idx', 'npy', 'pictures', ..."""
        ...

    @property
    def splits(self) -> Sequence[Split]:
        """('train', 'test') where the data has both, else ()."""
        ...

    @property
    def uses(self) -> frozenset[str]:
        """Those of the options layout, value_range, data_key and label_key that mean something here."""
        ...

    def load(self, split: Split | None, progress: Progress = SILENT) -> ImageSet:
        """The images of `split`; None only where there are no splits."""
        ...


def check_labels(labels: pa.Array | None, n_items: int, subject: str, item: str = "image") -> None:
    """Refuse labels of another length than the items."""
    if labels is not None and len(labels) != n_items:
        raise DataError(
            f"{subject}: {len(labels):,} labels for {n_items:,} {item}s; expected one label per {item}",
            f"check that {item}s and labels belong together",
        )


def label_strings(values: np.ndarray, subject: str) -> pa.Array:
    """Labels as strings: integers without a point, bytes as UTF-8; `values` has one axis."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(f"{subject}: labels of shape {list(values.shape)}; expected one label per image, [n]")
    if values.dtype.kind in "iub":
        return pa.array([str(v) for v in values.tolist()], pa.string())
    if values.dtype.kind == "f":
        rounded = np.rint(values)
        if not np.array_equal(rounded, values):
            raise DataError(f"{subject}: labels are fractions or NaN; expected whole numbers or strings")
        return pa.array([str(int(v)) for v in values.tolist()], pa.string())
    if values.dtype.kind == "U":
        return pa.array(values.tolist(), pa.string())
    if values.dtype.kind == "S":
        return pa.array([v.decode("utf-8", "replace") for v in values.tolist()], pa.string())
    raise DataError(f"{subject}: labels of dtype {values.dtype}; expected whole numbers or strings")
