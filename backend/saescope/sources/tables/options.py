"""What a user can say about a table, and about how its columns become dimensions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from saescope.options import flag
from saescope.sources.options import LabelChoice
from saescope.store.errors import OptionError

ColumnScale = Literal["standard", "robust", "none"]
NAMED = ("label_column", "split_column")
LISTED = ("metadata_columns", "category_columns")


@dataclass(frozen=True, kw_only=True)
class TableOptions(LabelChoice):
    """Rows of a table: a row is one position."""

    table: str = field(metadata=flag(metavar="PATH"))
    """A table in Parquet, Arrow or CSV (.csv, .tsv, compressed or not), a folder of such files, or
    `embedded:breast_cancer`, `embedded:wine` or `embedded:digits` (scikit-learn's). A column `split` that says train
    and test, or files named so, divide it."""
    label_column: str | None = field(
        default=None, metadata=flag(default="one called label, target, class or y, if any")
    )
    """Column that holds each row's label; it is no input."""
    split_column: str | None = field(default=None, metadata=flag(default="one called split, if it says train and test"))
    """Column that says which split a row belongs to."""
    metadata_columns: str | None = field(default=None, metadata=flag(metavar="A,B,...", default="none"))
    """Columns that are kept with the items and are no inputs."""
    category_columns: str | None = field(default=None, metadata=flag(metavar="A,B,...", default="those of texts"))
    """Columns of whole numbers that are categories."""
    scale_columns: ColumnScale = "standard"
    """How numbers of different units are made comparable, by the rows trained on: (x - mean) / standard deviation,
    (x - median) / (interquartile range / 1.349), or not at all."""
    missing_values: Literal["median", "refuse"] = "median"
    """What becomes of a missing number: the median of the rows trained on, or an error."""
    missing_indicator: bool = False
    """Add a dimension to each column with missing values that is 1 where one is missing."""
    columns_from: str | None = field(
        default=None, metadata=flag(metavar="PATH", default="the checkpoint, where one trained on a table is given")
    )
    """Encode the columns as another training did: a checkpoint's folder, or a JSON file with `columns`."""

    kind: ClassVar[str] = "table"
    data: ClassVar[str] = "table"
    called: ClassVar[str] = "the source is a table"
    concern: ClassVar[str] = "tables"

    def _check(self) -> None:
        super()._check()
        for name in LISTED:
            given = getattr(self, name)
            if given is not None and not all(given.split(",")):
                raise OptionError(f"{name} is {given!r}, expected names separated by commas, e.g. id,city")

    def listed(self, name: str) -> tuple[str, ...]:
        """The columns that one of `LISTED` names."""
        given = getattr(self, name)
        return () if given is None else tuple(given.split(","))
