"""A small random model of each family, and its activations worked out by hand from its own modules.

Attention is 'eager', so that the attention module tells its weights: all else is computed here, step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from saescope.models import HookedModel

D_MODEL, HEADS, LAYERS, VOCABULARY = 16, 2, 3, 41
_SIZES: dict[str, Any] = {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "hidden_size": D_MODEL}
_TEXT: dict[str, Any] = {**_SIZES, "vocab_size": VOCABULARY, "intermediate_size": 24}
_TOKENS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_VISION: dict[str, Any] = {**_SIZES, "image_size": 12, "patch_size": 4, "intermediate_size": 24}

Steps = dict[str, Tensor]
"""TransformerLens' name in a block -> values."""


@dataclass(frozen=True)
class Small:
    """A family's model, and how its block is worked out by hand."""

    make: Callable[[], Any]
    blocks: Callable[[Any], Sequence[nn.Module]]
    attention: str
    """The attention module in a block: it returns its output and its weights."""
    by_hand: Callable[[Any, Tensor, Tensor], Steps]
    """(block, its input, attention weights [item head query key]) -> all steps."""


def make(name: str) -> Any:
    """The family's model with random weights of a size that makes every step matter; the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SMALL[name].make().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(len(name))
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(noise * 0.3 if parameter.ndim > 1 else parameter + 0.3 * noise)
    return model


def inputs_of(model: Any, n_items: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    if model.main_input_name == "pixel_values":
        return torch.randn(n_items, 3, 12, 12, generator=generator)
    return torch.randint(3, VOCABULARY, (n_items, 7), generator=generator)


def logits_with(
    hooked: HookedModel, ids: Tensor, edits: Mapping[str, Callable[[Tensor], Tensor]], mask: Tensor | None = None
) -> dict[str, Tensor]:
    """Logits [item position vocab] with each edit."""
    spliced = dict(hooked.variants(ids, mask, edits))
    return {
        name: hooked.logits(variant.states[variant.run].flatten(0, 1)).view(*ids.shape, -1)
        for name, variant in spliced.items()
    }


def steps_by_hand(name: str, model: Any, inputs: Tensor, layer: int) -> Steps:
    """Every named value of a block, and its output, from a plain forward pass."""
    small = SMALL[name]
    block: Any = small.blocks(model)[layer]
    seen: dict[str, Any] = {}
    handles = [
        block.register_forward_pre_hook(
            lambda _, args, kwargs: seen.update(x=args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        ),
        block.register_forward_hook(lambda _, args, out: seen.update(out=out)),
        block.get_submodule(small.attention).register_forward_hook(lambda _, args, out: seen.update(w=out[1])),
    ]
    model(**{model.main_input_name: inputs})
    for handle in handles:
        handle.remove()
    steps = small.by_hand(block, seen["x"], seen["w"])
    torch.testing.assert_close(steps["block"], seen["out"], atol=1e-5, rtol=1e-5)
    return steps


def _weighted(weights: Tensor, values: Tensor, heads: int = HEADS) -> Tensor:
    """Attention weights times values [item position kv_heads*d_head], heads side by side; values may be shared."""
    items, positions, width = values.shape
    split = values.view(items, positions, width // (D_MODEL // HEADS), D_MODEL // HEADS).transpose(1, 2)
    split = split.repeat_interleave(heads // split.shape[1], dim=1)
    return (weights @ split).transpose(1, 2).reshape(items, positions, -1)


def _before_gain(x: Tensor, eps: float, centres: bool) -> Tensor:
    x = x - x.mean(-1, keepdim=True) if centres else x
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def _norms(block: Any, norm1: str, x: Tensor, norm2: str, read: Tensor) -> Steps:
    """What stands in a block's two norms and after the second one; the first reads x, the second `read`."""
    first, second = block.get_submodule(norm1), block.get_submodule(norm2)
    centres = isinstance(first, nn.LayerNorm)
    eps = first.eps if hasattr(first, "eps") else first.variance_epsilon
    return {
        "ln1.hook_normalized": _before_gain(x, eps, centres),
        "ln2.hook_normalized": _before_gain(read, eps, centres),
        "hook_mlp_in": read,
        "mlp.hook_in": second(read),
    }


def _projected(normed: Tensor, q: Any, k: Any, v: Any) -> Steps:
    return {"attn.hook_q": q(normed), "attn.hook_k": k(normed), "attn.hook_v": v(normed)}


def _gpt2(block: Any, x: Tensor, weights: Tensor) -> Steps:
    qkv = block.attn.c_attn(block.ln_1(x)).split(D_MODEL, -1)
    z = _weighted(weights, qkv[2])
    attention = z @ block.attn.c_proj.weight + block.attn.c_proj.bias
    middle = x + attention
    before = block.ln_2(middle) @ block.mlp.c_fc.weight + block.mlp.c_fc.bias
    hidden = nn.functional.gelu(before, approximate="tanh")
    mlp = hidden @ block.mlp.c_proj.weight + block.mlp.c_proj.bias
    steps = _named(x, z, attention, middle, before, hidden, mlp, middle + mlp)
    heads = dict(zip(("attn.hook_q", "attn.hook_k", "attn.hook_v"), qkv, strict=True))
    return steps | heads | _norms(block, "ln_1", x, "ln_2", middle)


def _neox(block: Any, x: Tensor, weights: Tensor) -> Steps:
    qkv = block.attention.query_key_value(block.input_layernorm(x))
    q, k, v = (qkv.view(*qkv.shape[:2], HEADS, 3, D_MODEL // HEADS)[..., i, :].flatten(2) for i in range(3))
    z = _weighted(weights, v)
    attention = z @ block.attention.dense.weight.T + block.attention.dense.bias
    middle = x + attention
    read = x if block.use_parallel_residual else middle
    before = block.mlp.dense_h_to_4h(block.post_attention_layernorm(read))
    hidden = nn.functional.gelu(before)
    mlp = block.mlp.dense_4h_to_h(hidden)
    steps = _named(x, z, attention, middle, before, hidden, mlp, middle + mlp)
    steps |= {"attn.hook_q": q, "attn.hook_k": k, "attn.hook_v": v}
    steps |= _norms(block, "input_layernorm", x, "post_attention_layernorm", read)
    if block.use_parallel_residual:
        del steps["hook_resid_mid"]
    return steps


def _llama(block: Any, x: Tensor, weights: Tensor) -> Steps:
    z = _weighted(weights, block.self_attn.v_proj(block.input_layernorm(x)))
    attention = z @ block.self_attn.o_proj.weight.T
    middle = x + attention
    read = block.post_attention_layernorm(middle)
    before = read @ block.mlp.gate_proj.weight.T
    hidden = nn.functional.silu(before) * (read @ block.mlp.up_proj.weight.T)
    mlp = hidden @ block.mlp.down_proj.weight.T
    steps = _named(x, z, attention, middle, before, hidden, mlp, middle + mlp)
    return steps | _of_self_attn(block, x) | _norms(block, "input_layernorm", x, "post_attention_layernorm", middle)


def _of_self_attn(block: Any, x: Tensor, norm: str = "input_layernorm") -> Steps:
    attend = block.self_attn
    return _projected(block.get_submodule(norm)(x), attend.q_proj, attend.k_proj, attend.v_proj)


def _gemma(block: Any, x: Tensor, weights: Tensor) -> Steps:
    z = _weighted(weights, block.self_attn.v_proj(block.input_layernorm(x)))
    attention = block.post_attention_layernorm(z @ block.self_attn.o_proj.weight.T)
    middle = x + attention
    read = block.pre_feedforward_layernorm(middle)
    before = read @ block.mlp.gate_proj.weight.T
    hidden = nn.functional.gelu(before, approximate="tanh") * (read @ block.mlp.up_proj.weight.T)
    mlp = block.post_feedforward_layernorm(hidden @ block.mlp.down_proj.weight.T)
    steps = _named(x, z, attention, middle, before, hidden, mlp, middle + mlp)
    return steps | _of_self_attn(block, x) | _norms(block, "input_layernorm", x, "pre_feedforward_layernorm", middle)


def _bert(block: Any, x: Tensor, weights: Tensor) -> Steps:
    z = _weighted(weights, block.attention.self.value(x))
    attention = block.attention.output.dense(z)
    middle = x + attention
    normed = block.attention.output.LayerNorm(middle)
    before = block.intermediate.dense(normed)
    hidden = nn.functional.gelu(before)
    mlp = block.output.dense(hidden)
    after = normed + mlp
    steps = _named(x, z, attention, middle, before, hidden, mlp, block.output.LayerNorm(after))
    attend = block.attention.self
    steps |= _projected(x, attend.query, attend.key, attend.value)
    return {**steps, "mlp.hook_in": normed, "hook_resid_post": after, "hook_normalized_resid_post": steps["block"]}


def _vision(
    norm1: str, attention: str, values: str, out: str, norm2: str, scales: tuple[str, str] | None, quick: bool
) -> Callable[[Any, Tensor, Tensor], Steps]:
    def by_hand(block: Any, x: Tensor, weights: Tensor) -> Steps:
        attend = block.get_submodule(attention)
        z = _weighted(weights, attend.get_submodule(values)(block.get_submodule(norm1)(x)))
        added = attend.get_submodule(out)(z)
        if scales:
            added = added * block.get_submodule(scales[0]).lambda1
        middle = x + added
        before = block.mlp.fc1(block.get_submodule(norm2)(middle))
        hidden = before * torch.sigmoid(1.702 * before) if quick else nn.functional.gelu(before)
        mlp = block.mlp.fc2(hidden)
        if scales:
            mlp = mlp * block.get_submodule(scales[1]).lambda1
        steps = _named(x, z, added, middle, before, hidden, mlp, middle + mlp)
        steps |= _projected(block.get_submodule(norm1)(x), attend.q_proj, attend.k_proj, attend.v_proj)
        return steps | _norms(block, norm1, x, norm2, middle)

    return by_hand


def _named(
    x: Tensor, z: Tensor, attention: Tensor, middle: Tensor, before: Tensor, hidden: Tensor, mlp: Tensor, after: Tensor
) -> Steps:
    return {
        "hook_resid_pre": x,
        "attn.hook_z": z,
        "hook_attn_out": attention,
        "hook_resid_mid": middle,
        "mlp.hook_pre": before,
        "mlp.hook_post": hidden,
        "hook_mlp_out": mlp,
        "hook_resid_post": after,
        "block": after,
    }


def _model(model: str, config: str, **settings: Any) -> Callable[[], Any]:
    def build() -> Any:
        made = getattr(transformers, config)(**settings)
        made._attn_implementation = "eager"
        return getattr(transformers, model)(made)

    return build


_GROUPED = {**_TEXT, **_TOKENS, "num_key_value_heads": 1}
_GEMMA = {**_GROUPED, "head_dim": D_MODEL // HEADS, "sliding_window": 4}
_DINO = _vision("norm1", "attention", "v_proj", "o_proj", "norm2", ("layer_scale1", "layer_scale2"), quick=False)
_VIT = _vision("layernorm_before", "attention", "v_proj", "o_proj", "layernorm_after", None, quick=False)
_CLIP = _vision("layer_norm1", "self_attn", "v_proj", "out_proj", "layer_norm2", None, quick=True)

SMALL: dict[str, Small] = {
    "gpt2": Small(
        _model(
            "GPT2LMHeadModel",
            "GPT2Config",
            n_layer=LAYERS,
            n_head=HEADS,
            n_embd=D_MODEL,
            vocab_size=VOCABULARY,
            n_positions=32,
            bos_token_id=1,
            eos_token_id=2,
        ),
        lambda m: m.transformer.h,
        "attn",
        _gpt2,
    ),
    "pythia": Small(
        _model("GPTNeoXForCausalLM", "GPTNeoXConfig", **_TEXT, bos_token_id=1, eos_token_id=2),
        lambda m: m.gpt_neox.layers,
        "attention",
        _neox,
    ),
    "neox-sequential": Small(
        _model(
            "GPTNeoXForCausalLM",
            "GPTNeoXConfig",
            **_TEXT,
            bos_token_id=1,
            eos_token_id=2,
            use_parallel_residual=False,
        ),
        lambda m: m.gpt_neox.layers,
        "attention",
        _neox,
    ),
    "llama": Small(
        _model("LlamaForCausalLM", "LlamaConfig", **_GROUPED, tie_word_embeddings=True),
        lambda m: m.model.layers,
        "self_attn",
        _llama,
    ),
    "mistral": Small(
        _model("MistralForCausalLM", "MistralConfig", **_GROUPED, sliding_window=4),
        lambda m: m.model.layers,
        "self_attn",
        _llama,
    ),
    "qwen2": Small(
        _model("Qwen2ForCausalLM", "Qwen2Config", **_GROUPED), lambda m: m.model.layers, "self_attn", _llama
    ),
    "qwen3": Small(
        _model("Qwen3ForCausalLM", "Qwen3Config", **_GROUPED, head_dim=D_MODEL // HEADS),
        lambda m: m.model.layers,
        "self_attn",
        _llama,
    ),
    "gemma2": Small(
        _model("Gemma2ForCausalLM", "Gemma2Config", **_GEMMA), lambda m: m.model.layers, "self_attn", _gemma
    ),
    "gemma3": Small(
        _model(
            "Gemma3ForCausalLM",
            "Gemma3TextConfig",
            **_GEMMA,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        lambda m: m.model.layers,
        "self_attn",
        _gemma,
    ),
    "bert": Small(_model("BertModel", "BertConfig", **_TEXT), lambda m: m.encoder.layer, "attention.self", _bert),
    "vit": Small(_model("ViTModel", "ViTConfig", **_VISION), lambda m: m.layers, "attention", _VIT),
    "clip-vision": Small(
        _model("CLIPVisionModel", "CLIPVisionConfig", **_VISION), lambda m: m.encoder.layers, "self_attn", _CLIP
    ),
    "dinov2": Small(
        _model("Dinov2Model", "Dinov2Config", **_SIZES, image_size=12, patch_size=4),
        lambda m: m.encoder.layer,
        "attention",
        _DINO,
    ),
    "dinov2-registers": Small(
        _model(
            "Dinov2WithRegistersModel",
            "Dinov2WithRegistersConfig",
            **_SIZES,
            image_size=12,
            patch_size=4,
            num_register_tokens=2,
        ),
        lambda m: m.encoder.layer,
        "attention",
        _DINO,
    ),
}
CAUSAL = ("gpt2", "pythia", "neox-sequential", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3")
VISION = ("vit", "clip-vision", "dinov2", "dinov2-registers")
