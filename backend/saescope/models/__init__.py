"""Transformer models, the places in them that can be hooked, and what flows there.

The names below are imported when they are first used, so that options alone cost no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saescope.store.lazy_names import lazy

if TYPE_CHECKING:
    from saescope.models.hooked import HookedModel
    from saescope.models.hooks import HookPoint, find_hook, hook_names
    from saescope.models.loading import LoadedModel, load_image_processor, load_model, load_tokenizer, read_config
    from saescope.models.options import ModelOptions
    from saescope.models.unembedding import Unembedding

__all__ = [
    "HookPoint",
    "HookedModel",
    "LoadedModel",
    "ModelOptions",
    "Unembedding",
    "find_hook",
    "hook_names",
    "load_image_processor",
    "load_model",
    "load_tokenizer",
    "read_config",
]

__getattr__ = lazy(
    __name__,
    {
        "HookPoint": "hooks",
        "HookedModel": "hooked",
        "LoadedModel": "loading",
        "ModelOptions": "options",
        "Unembedding": "unembedding",
        "find_hook": "hooks",
        "hook_names": "hooks",
        "load_image_processor": "loading",
        "load_model": "loading",
        "load_tokenizer": "loading",
        "read_config": "loading",
    },
)
