"""Items of which only numbers are known: cached activations, toys, and sources of a kind without a module here."""

from __future__ import annotations

from typing import ClassVar

from saescope.dashboard.presentation.presenter import Presenter
from saescope.store.format.source import SourceDescription


class Vectors(Presenter):
    """Examples are rows of numbers and metadata, atoms strips of bars."""

    describes: ClassVar = (SourceDescription,)
