"""Commands that need an extra which is not installed say so in one line."""

from __future__ import annotations

import importlib
from types import ModuleType

from saescope.store.errors import UserError

EXTRAS: dict[str, tuple[str, ...]] = {
    "backend": ("torch", "numba", "jaxtyping", "safetensors", "sklearn", "PIL"),
    "dashboard": ("streamlit", "plotly", "PIL"),
}
"""Extra -> the modules that it brings."""


def load(module: str, extra: str) -> ModuleType:
    """Import `module` of saescope, which needs `extra`; `UserError` with the install line if it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS[extra]:
            raise
        raise UserError(
            f"this command needs the {extra} extra, and {missing} is not installed",
            f"pip install 'saescope[{extra}]'",
        ) from error
