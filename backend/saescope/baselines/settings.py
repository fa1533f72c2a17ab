"""What the methods take. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Self

from msgspec import Meta

from saescope.options import check_fields, flag
from saescope.store.errors import OptionError

Count = Annotated[int, Meta(ge=1)]
MOST_VALUES = 2**26
"""Values of the training rows that a method holds at once at most (512 MB in float64): wide rows are fewer."""


def doubling(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [1 << i for i in range(most.bit_length()) if 1 << i <= most]


@dataclass(frozen=True)
class MethodSettings:
    """Of every method."""

    n_components: Count | None = field(default=None, metadata=flag(metavar="N"))
    """Atoms of the dictionary; of neurons as many as dimensions."""
    k: Count | None = field(default=None, metadata=flag(metavar="K"))
    """Atoms of one position at most. Left out, pca, ica and random take all of theirs and kmeans takes 1; nmf has no
    such bound."""

    needs_width: ClassVar[bool] = False
    """Whether there are no more atoms than dimensions."""
    needs_rows: ClassVar[bool] = True
    """Whether there are no more atoms than training rows."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.k is not None and self.n_components is not None and self.k > self.n_components:
            raise OptionError(
                f"k is {self.k}, but there are only {self.n_components} atoms", "give a smaller --k or more components"
            )

    def fitted_rows(self, d_in: int, n_rows: int) -> int:
        """Training rows of `n_rows` that the method is fitted on."""
        return n_rows

    def check(self, name: str, d_in: int, n_rows: int) -> None:
        """`OptionError` where `n_rows` rows of width `d_in` cannot have so many components."""
        n, rows = self.n_components, self.fitted_rows(d_in, n_rows)
        if n is None:
            raise OptionError(f"{name} needs --n-components", "give the number of atoms")
        if self.needs_width and n > d_in:
            raise OptionError(
                f"{name} with {n} components; there are at most {d_in}, the data's width", "give fewer components"
            )
        if self.needs_rows and n > rows:
            raise OptionError(
                f"{name} with {n} components on {rows} training rows; expected at least a row for each",
                "give fewer components, or more rows",
            )

    def kept(self, name: str, d_in: int) -> dict[str, int]:
        """Fields of the architecture's config beside its widths. `OptionError` where one is not given."""
        if self.k is None:
            raise OptionError(f"{name} needs --k", "give the number of atoms of one position")
        return {"k": self.k}

    def curve(self, n_features: int, d_in: int, n_rows: int) -> Sequence[Self]:
        """What is drawn beside SAEs of `n_features`, from these settings with components and k left open."""
        raise NotImplementedError


@dataclass(frozen=True)
class DrawnSettings(MethodSettings):
    """Of methods that hold their training rows at once."""

    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    """Of the draw of training rows and of the method."""
    fit_rows: Count = 20_000
    """Training rows to fit on at most, a seeded draw from all of them; wide ones are fewer."""

    most_components: ClassVar[int] = 512
    """Beside a sweep: what fits within a minute or two."""
    most_k: ClassVar[int] = 32
    """Beside a sweep: what is coded within a minute or two."""
    measured_rows: ClassVar[int] = 100_000
    """Beside a sweep: positions that are measured at most."""

    def fitted_rows(self, d_in: int, n_rows: int) -> int:
        return max(1, min(self.fit_rows, n_rows, MOST_VALUES // d_in))

    def curve(self, n_features: int, d_in: int, n_rows: int) -> Sequence[Self]:
        """The same dictionary at several k."""
        n = min(n_features, self.most_components, self.fitted_rows(d_in, n_rows))
        n = min(n, d_in) if self.needs_width else n
        return [replace(self, n_components=n, k=k) for k in doubling(min(n, d_in, self.most_k))]


@dataclass(frozen=True)
class PcaSettings(MethodSettings):
    """Orthonormal directions of largest variance, of all training rows."""

    needs_width: ClassVar[bool] = True

    def kept(self, name: str, d_in: int) -> dict[str, int]:
        assert self.n_components is not None
        return {"k": self.k or self.n_components}

    def curve(self, n_features: int, d_in: int, n_rows: int) -> Sequence[Self]:
        """All of so many components each."""
        return [replace(self, n_components=n) for n in doubling(min(d_in, n_rows))]


@dataclass(frozen=True)
class IcaSettings(DrawnSettings):
    """Directions whose codes are as independent as can be (FastICA)."""

    iterations: Count = 200
    """Steps of the method at most."""
    fewer: bool = field(default=False, metadata=flag(hidden=True))
    """Whether there are fewer components where the data varies in fewer directions."""

    most_components: ClassVar[int] = 128
    most_k: ClassVar[int] = 128
    needs_width: ClassVar[bool] = True

    def kept(self, name: str, d_in: int) -> dict[str, int]:
        assert self.n_components is not None
        return {"k": self.k or self.n_components}

    def curve(self, n_features: int, d_in: int, n_rows: int) -> Sequence[Self]:
        return [replace(each, fewer=True) for each in super().curve(n_features, d_in, n_rows)]


@dataclass(frozen=True)
class NeuronsSettings(DrawnSettings):
    """The coordinates of an activation: nothing is learned but their means."""

    def check(self, name: str, d_in: int, n_rows: int) -> None:
        if self.n_components not in (None, d_in):
            raise OptionError(
                f"{name} with {self.n_components} components; there are {d_in}, one per dimension",
                "leave --n-components out",
            )

    def curve(self, n_features: int, d_in: int, n_rows: int) -> Sequence[Self]:
        return [replace(self, n_components=d_in, k=k) for k in doubling(d_in)]


@dataclass(frozen=True)
class RandomSettings(DrawnSettings):
    """Random directions: orthonormal where there are no more of them than dimensions."""

    most_k: ClassVar[int] = 64
    measured_rows: ClassVar[int] = 20_000

    needs_rows: ClassVar[bool] = False

    def kept(self, name: str, d_in: int) -> dict[str, int]:
        assert self.n_components is not None
        whole = self.n_components <= d_in
        return {"k": self.n_components} if whole and self.k is None else super().kept(name, d_in)

    def curve(self, n_features: int, d_in: int, n_rows: int) -> Sequence[Self]:
        return [replace(self, n_components=n_features, k=k) for k in doubling(min(n_features, d_in, self.most_k))]


@dataclass(frozen=True)
class DictionarySettings(DrawnSettings):
    """A dictionary learned with an L1 penalty in small batches (Mairal et al. 2009)."""

    penalty: Annotated[float, Meta(gt=0)] = 1.2
    """Of the codes in learning, over sqrt(d_in), with rows of mean norm 1: 1.2 is Mairal et al.'s."""
    epochs: Count = 5
    """Passes over the training rows at most."""

    measured_rows: ClassVar[int] = 2_000


@dataclass(frozen=True)
class NmfSettings(DrawnSettings):
    """Non-negative atoms and codes, for data without negative values."""

    iterations: Count = 200
    """Steps of the method at most."""

    most_components: ClassVar[int] = 64
    measured_rows: ClassVar[int] = 5_000

    def kept(self, name: str, d_in: int) -> dict[str, int]:
        if self.k is not None:
            raise OptionError("--k is given, but nothing bounds the codes of nmf", "leave it out")
        return {}

    def curve(self, n_features: int, d_in: int, n_rows: int) -> Sequence[Self]:
        """A dictionary of so many atoms each."""
        most = min(n_features, self.most_components, self.fitted_rows(d_in, n_rows))
        return [replace(self, n_components=n) for n in doubling(most)]


@dataclass(frozen=True)
class KmeansSettings(DrawnSettings):
    """Centres of clusters as atoms."""

    most_k: ClassVar[int] = 16
    measured_rows: ClassVar[int] = 20_000

    def kept(self, name: str, d_in: int) -> dict[str, int]:
        return {"k": self.k or 1}
