"""The browser side of the components: scripts and styles that lie beside the Python files of this package."""

from __future__ import annotations

from importlib.resources import files


def text_of(*names: str) -> str:
    """The files `names` (paths below this package), joined: scripts of `browser/` first, the component's own last."""
    root = files(__package__)
    return "\n".join(root.joinpath(name).read_text(encoding="utf-8") for name in names)
