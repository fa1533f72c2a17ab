"""What the caller of a workflow should know beside its result, a sentence at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable

Note = Callable[[str], None]


class WorkflowNote(UserWarning):
    """A guess that was made, something that a checkpoint leaves out, a target that was missed."""


def warn(text: str) -> None:
    """Says it as Python says warnings: what a notebook shows once."""
    warnings.warn(text, WorkflowNote, stacklevel=3)
