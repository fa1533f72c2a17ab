"""Metadata of checkpoints: what people need to know where an SAE belongs, under the same names for all formats."""

from __future__ import annotations

import json
import re
from typing import Any

from saescope.store.format.manifest import json_ready

NAMES = (
    "model",
    "hook",
    "hook_out",
    "layer",
    "head",
    "context_size",
    "prepend_bos",
    "dataset",
    "seqpos_slice",
    "exclude_special_tokens",
    "model_kwargs",
    "neuronpedia_id",
    "original_config",
)
"""What metadata may hold. `hook` and `hook_out` are names as the checkpoint's own library writes them."""


def metadata(**found: Any) -> dict[str, Any]:
    """Metadata without what is not known, JSON-ready."""
    assert set(found) <= set(NAMES), set(found) - set(NAMES)
    known = {name: value for name, value in found.items() if value not in (None, "", {}, [])}
    plain: dict[str, Any] = json.loads(json.dumps(json_ready(known), default=str))
    return plain


def layer_of(text: str | None) -> int | None:
    """The layer that a hook's name or a path speaks of, where it is a single one."""
    if not text:
        return None
    found = re.findall(r"(?<![A-Za-z])(?:blocks|layers?|h|block)[._/-](\d+)", text)
    return int(found[0]) if len(set(found)) == 1 else None
