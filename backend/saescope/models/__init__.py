"""Transformer models, the places in them that can be hooked, and what flows there."""

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
