"""Commands that need an extra which is not installed say so before they start."""

from __future__ import annotations

from importlib.util import find_spec

from saescope.store.errors import UserError

EXTRAS: dict[str, tuple[str, ...]] = {
    "backend": ("torch", "numba", "jaxtyping", "safetensors", "scipy", "sklearn", "PIL", "transformers", "gguf"),
    "dashboard": ("streamlit", "plotly", "PIL"),
}
"""Extra -> the modules that it brings."""


def need(extra: str) -> None:
    """`UserError` with the install line where a module of `extra` is missing. Imports none of them."""
    missing = [module for module in EXTRAS[extra] if not _installed(module)]
    if missing:
        raise UserError(
            f"this needs the {extra} extra: {', '.join(missing)} cannot be found", f"pip install 'saescope[{extra}]'"
        )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
