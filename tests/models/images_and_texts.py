"""Small random models of images and texts, each with a language model inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

VOCABULARY, LAYERS, D_MODEL = 61, 3, 16

_TEXT: dict[str, Any] = {
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "hidden_size": D_MODEL,
    "intermediate_size": 24,
    "vocab_size": VOCABULARY,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_VISION: dict[str, Any] = {
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "hidden_size": D_MODEL,
    "intermediate_size": 24,
    "image_size": 12,
    "patch_size": 4,
}


def _gemma3() -> Any:
    config = transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**_TEXT, head_dim=8, sliding_window=4),
        vision_config=transformers.SiglipVisionConfig(**_VISION),
        mm_tokens_per_image=9,
        image_token_index=60,
        boi_token_index=58,
        eoi_token_index=59,
    )
    return transformers.Gemma3ForConditionalGeneration(config)


def _llava() -> Any:
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**_TEXT),
        vision_config=transformers.CLIPVisionConfig(**_VISION),
        image_token_index=60,
    )
    return transformers.LlavaForConditionalGeneration(config)


def _qwen2_vl() -> Any:
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    config = transformers.Qwen2VLConfig(
        text_config={**_TEXT, "rope_parameters": rope},
        vision_config={"depth": LAYERS, "embed_dim": 16, "num_heads": 2, "hidden_size": D_MODEL, "patch_size": 4},
        image_token_id=60,
        video_token_id=59,
        vision_start_token_id=57,
        vision_end_token_id=58,
    )
    return transformers.Qwen2VLForConditionalGeneration(config)


def _idefics3() -> Any:
    config = transformers.Idefics3Config(
        text_config={**_TEXT, "model_type": "llama"}, vision_config=_VISION, image_token_id=60
    )
    return transformers.Idefics3ForConditionalGeneration(config)


def _paligemma() -> Any:
    config = transformers.PaliGemmaConfig(
        text_config={**_TEXT, "model_type": "gemma", "head_dim": 8},
        vision_config={**_VISION, "model_type": "siglip_vision_model"},
        image_token_index=60,
        projection_dim=D_MODEL,
    )
    return transformers.PaliGemmaForConditionalGeneration(config)


def _blip2() -> Any:
    query = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
    text = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "ffn_dim": 24, "vocab_size": 61}
    config = transformers.Blip2Config(
        text_config={**text, "model_type": "opt", "word_embed_proj_dim": 16},
        vision_config=_VISION,
        qformer_config={**query, "encoder_hidden_size": 16},
        num_query_tokens=4,
        image_token_index=60,
    )
    return transformers.Blip2ForConditionalGeneration(config)


MAKERS: dict[str, Callable[[], Any]] = {
    "gemma3": _gemma3,
    "llava": _llava,
    "qwen2-vl": _qwen2_vl,
    "idefics3": _idefics3,
    "paligemma": _paligemma,
    "blip2": _blip2,
}
CAUSAL = ("gemma3", "llava", "qwen2-vl", "idefics3")
"""Those whose logits follow from the text before alone."""


def make(name: str) -> Any:
    """The model, with weights of a size that makes every step matter; the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MAKERS[name]().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(len(name))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model
