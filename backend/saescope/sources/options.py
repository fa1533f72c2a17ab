"""What every kind of source takes; what one kind takes stands beside its source, in its own folder."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, Self

from saescope.options import check_fields, flag
from saescope.store.errors import OptionError

Split = Literal["train", "test", "validation", "all"]
Purpose = Literal["train", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which data, and how it becomes activations at positions: a subclass for each kind of source.

    Bad combinations raise `OptionError` on construction, before any file is touched.
    """

    split: Split | None = field(default=None, metadata=flag(default="train to train, test to evaluate and build"))
    """Which part of data with splits; `test` is the validation split where there is no other."""

    kind: ClassVar[str]
    """Name of the kind."""
    data: ClassVar[str]
    """Field that names the data."""
    chosen_by: ClassVar[str | None] = None
    """Field that tells the kind from another one of the same data."""
    called: ClassVar[str]
    """'the source is ...': what it is, before people."""
    concern: ClassVar[str] = ""
    """What the fields that this very class adds concern."""
    missing: ClassVar[dict[str, tuple[str, str]]] = {}
    """Field without a default -> what to say where it is not given, and what to try."""
    foreign: ClassVar[dict[str, tuple[str, str]]] = {}
    """Field of another kind -> what to say where it is given, and what to try, in words of its own."""

    def __post_init__(self) -> None:
        for f in fields(self):
            if isinstance(getattr(self, f.name), os.PathLike):
                object.__setattr__(self, f.name, os.fspath(getattr(self, f.name)))
        check_fields(self)
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
                raise OptionError(f"{f.name} is {value!a}, which is not valid UTF-8", "rename the file or folder")
        if not self.path:
            raise OptionError("the path of the source is empty", "name a file or folder, or embedded:digits")
        self._check()

    def _check(self) -> None:
        """What a kind checks beside its fields one by one."""

    @property
    def path(self) -> str:
        """The data's path (a toy source's settings), as given."""
        path: str = getattr(self, self.data)
        return path

    def on_device(self, device: str) -> Self:
        """The same with its model, if it has one, on `device`."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)


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
                f"only_labels and without_labels both name {', '.join(sorted(both))}", "leave one of them out"
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
