"""What is where inside a block of each family of transformers, as transformers 5 builds them.

A family is told by the names of a block's parts, so that every model built alike is known, whatever its class. Sites
are where TransformerLens has its hooks; a site lists the modules at which the same values are found, the first being
the one that is hooked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import nn

from saescope.store.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Side = Literal["input", "output"]
Site = Literal[
    "resid_pre",
    "resid_mid",
    "resid_post",
    "normalized_resid_post",
    "attn_out",
    "z",
    "mlp_out",
    "mlp_pre",
    "mlp_hidden",
    "q",
    "k",
    "v",
    "norm1",
    "norm2",
    "norm2_in",
    "mlp_in",
]
Place = tuple[str, Side]
"""A module's path inside the block ('' is the block), and the side of it."""

Fused = Literal["in_thirds", "by_head"]
"""'in_thirds': all queries, all keys, all values; 'by_head': query, key and value of a head, then those of the next."""

RESIDUAL_SITES: frozenset[Site] = frozenset({"resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"})
"""Sites that hold the residual stream, or what is added to it."""

NAMES: Mapping[Site, str] = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "normalized_resid_post": "hook_normalized_resid_post",
    "attn_out": "hook_attn_out",
    "z": "attn.hook_z",
    "mlp_out": "hook_mlp_out",
    "mlp_pre": "mlp.hook_pre",
    "mlp_hidden": "mlp.hook_post",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "norm1": "ln1.hook_normalized",
    "norm2": "ln2.hook_normalized",
    "norm2_in": "hook_mlp_in",
    "mlp_in": "mlp.hook_in",
}
"""TransformerLens' name of a site, after `blocks.{i}.`."""

NORM_SITES: frozenset[Site] = frozenset({"norm1", "norm2"})
"""Sites inside a norm, before its gain: what they hold stands at no side of a module."""
HEAD_SITES: tuple[Site, ...] = ("q", "k", "v", "z")
"""Sites where attention heads stand side by side."""

_BLOCK: Mapping[Site, tuple[Place, ...]] = {"resid_pre": (("", "input"),), "resid_post": (("", "output"),)}


@dataclass(frozen=True)
class Family:
    """Blocks built alike."""

    name: str
    parts: frozenset[str]
    """Names of the block's direct parts that hold weights."""
    within: str
    """A module that must be there too."""
    sites: Mapping[Site, tuple[Place, ...]]
    is_pre_norm: bool = True
    """Whether norms stand before attention and MLP, so that the residual stream itself is never normalised."""
    fused: Fused | None = None
    """Where one module makes queries, keys and values together: how they stand in its output."""


FAMILIES = (
    Family(
        "GPT-2",
        frozenset({"ln_1", "attn", "ln_2", "mlp"}),
        "attn.c_proj",
        {
            **_BLOCK,
            "resid_mid": (("ln_2", "input"),),
            "attn_out": (("attn.c_proj", "output"), ("attn", "output")),
            "z": (("attn.c_proj", "input"),),
            "mlp_out": (("mlp", "output"), ("mlp.c_proj", "output")),
            "mlp_pre": (("mlp.c_fc", "output"),),
            "mlp_hidden": (("mlp.c_proj", "input"), ("mlp.act", "output")),
            "q": (("attn.c_attn", "output"),),
            "k": (("attn.c_attn", "output"),),
            "v": (("attn.c_attn", "output"),),
            "norm1": (("ln_1", "output"),),
            "norm2": (("ln_2", "output"),),
            "norm2_in": (("ln_2", "input"),),
            "mlp_in": (("mlp", "input"),),
        },
        fused="in_thirds",
    ),
    Family(
        "GPT-NeoX, Pythia",
        frozenset({"input_layernorm", "attention", "post_attention_layernorm", "mlp"}),
        "attention.dense",
        {
            **_BLOCK,
            "resid_mid": (("post_attention_layernorm", "input"),),
            "attn_out": (("attention.dense", "output"), ("attention", "output")),
            "z": (("attention.dense", "input"),),
            "mlp_out": (("mlp", "output"), ("mlp.dense_4h_to_h", "output")),
            "mlp_pre": (("mlp.dense_h_to_4h", "output"),),
            "mlp_hidden": (("mlp.dense_4h_to_h", "input"), ("mlp.act", "output")),
            "q": (("attention.query_key_value", "output"),),
            "k": (("attention.query_key_value", "output"),),
            "v": (("attention.query_key_value", "output"),),
            "norm1": (("input_layernorm", "output"),),
            "norm2": (("post_attention_layernorm", "output"),),
            "norm2_in": (("post_attention_layernorm", "input"),),
            "mlp_in": (("mlp", "input"),),
        },
        fused="by_head",
    ),
    Family(
        "Llama, Mistral, Qwen, Gemma 1",
        frozenset({"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}),
        "self_attn.o_proj",
        {
            **_BLOCK,
            "resid_mid": (("post_attention_layernorm", "input"),),
            "attn_out": (("self_attn.o_proj", "output"), ("self_attn", "output")),
            "z": (("self_attn.o_proj", "input"),),
            "mlp_out": (("mlp", "output"), ("mlp.down_proj", "output")),
            "mlp_pre": (("mlp.gate_proj", "output"),),
            "mlp_hidden": (("mlp.down_proj", "input"),),
            "q": (("self_attn.q_proj", "output"),),
            "k": (("self_attn.k_proj", "output"),),
            "v": (("self_attn.v_proj", "output"),),
            "norm1": (("input_layernorm", "output"),),
            "norm2": (("post_attention_layernorm", "output"),),
            "norm2_in": (("post_attention_layernorm", "input"),),
            "mlp_in": (("mlp", "input"),),
        },
    ),
    Family(
        "Gemma 2, Gemma 3",
        frozenset(
            {
                "input_layernorm",
                "self_attn",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "mlp",
                "post_feedforward_layernorm",
            }
        ),
        "self_attn.o_proj",
        {
            **_BLOCK,
            "resid_mid": (("pre_feedforward_layernorm", "input"),),
            "attn_out": (("post_attention_layernorm", "output"),),
            "z": (("self_attn.o_proj", "input"),),
            "mlp_out": (("post_feedforward_layernorm", "output"),),
            "mlp_pre": (("mlp.gate_proj", "output"),),
            "mlp_hidden": (("mlp.down_proj", "input"),),
            "q": (("self_attn.q_proj", "output"),),
            "k": (("self_attn.k_proj", "output"),),
            "v": (("self_attn.v_proj", "output"),),
            "norm1": (("input_layernorm", "output"),),
            "norm2": (("pre_feedforward_layernorm", "output"),),
            "norm2_in": (("pre_feedforward_layernorm", "input"),),
            "mlp_in": (("mlp", "input"),),
        },
    ),
    Family(
        "BERT",
        frozenset({"attention", "intermediate", "output"}),
        "attention.output.LayerNorm",
        {
            "resid_pre": (("", "input"),),
            "resid_mid": (("attention.output.LayerNorm", "input"),),
            "resid_post": (("output.LayerNorm", "input"),),
            "normalized_resid_post": (("", "output"), ("output", "output"), ("output.LayerNorm", "output")),
            "attn_out": (("attention.output.dense", "output"),),
            "z": (("attention.output.dense", "input"), ("attention.self", "output")),
            "mlp_out": (("output.dense", "output"),),
            "mlp_pre": (("intermediate.dense", "output"),),
            "mlp_hidden": (("intermediate", "output"), ("output.dense", "input")),
            "q": (("attention.self.query", "output"),),
            "k": (("attention.self.key", "output"),),
            "v": (("attention.self.value", "output"),),
            "mlp_in": (("intermediate", "input"),),
        },
        is_pre_norm=False,
    ),
    Family(
        "ViT",
        frozenset({"layernorm_before", "attention", "layernorm_after", "mlp"}),
        "attention.o_proj",
        {
            **_BLOCK,
            "resid_mid": (("layernorm_after", "input"),),
            "attn_out": (("attention.o_proj", "output"), ("attention", "output")),
            "z": (("attention.o_proj", "input"),),
            "mlp_out": (("mlp", "output"), ("mlp.fc2", "output")),
            "mlp_pre": (("mlp.fc1", "output"),),
            "mlp_hidden": (("mlp.fc2", "input"), ("mlp.activation_fn", "output")),
            "q": (("attention.q_proj", "output"),),
            "k": (("attention.k_proj", "output"),),
            "v": (("attention.v_proj", "output"),),
            "norm1": (("layernorm_before", "output"),),
            "norm2": (("layernorm_after", "output"),),
            "norm2_in": (("layernorm_after", "input"),),
            "mlp_in": (("mlp", "input"),),
        },
    ),
    Family(
        "CLIP vision, SigLIP vision",
        frozenset({"layer_norm1", "self_attn", "layer_norm2", "mlp"}),
        "self_attn.out_proj",
        {
            **_BLOCK,
            "resid_mid": (("layer_norm2", "input"),),
            "attn_out": (("self_attn.out_proj", "output"), ("self_attn", "output")),
            "z": (("self_attn.out_proj", "input"),),
            "mlp_out": (("mlp", "output"), ("mlp.fc2", "output")),
            "mlp_pre": (("mlp.fc1", "output"),),
            "mlp_hidden": (("mlp.fc2", "input"), ("mlp.activation_fn", "output")),
            "q": (("self_attn.q_proj", "output"),),
            "k": (("self_attn.k_proj", "output"),),
            "v": (("self_attn.v_proj", "output"),),
            "norm1": (("layer_norm1", "output"),),
            "norm2": (("layer_norm2", "output"),),
            "norm2_in": (("layer_norm2", "input"),),
            "mlp_in": (("mlp", "input"),),
        },
    ),
    Family(
        "DINOv2",
        frozenset({"norm1", "attention", "layer_scale1", "norm2", "mlp", "layer_scale2"}),
        "attention.o_proj",
        {
            **_BLOCK,
            "resid_mid": (("norm2", "input"),),
            "attn_out": (("layer_scale1", "output"),),
            "z": (("attention.o_proj", "input"),),
            "mlp_out": (("layer_scale2", "output"),),
            "mlp_pre": (("mlp.fc1", "output"),),
            "mlp_hidden": (("mlp.fc2", "input"), ("mlp.weights_out", "input"), ("mlp.activation_fn", "output")),
            "q": (("attention.q_proj", "output"),),
            "k": (("attention.k_proj", "output"),),
            "v": (("attention.v_proj", "output"),),
            "norm1": (("norm1", "output"),),
            "norm2": (("norm2", "output"),),
            "norm2_in": (("norm2", "input"),),
            "mlp_in": (("mlp", "input"),),
        },
    ),
)


@dataclass(frozen=True)
class Blocks:
    """The stack of blocks of a model."""

    path: str
    modules: nn.ModuleList
    family: Family | None
    """None where the blocks are built like none that is known: then only their inputs and outputs have names."""

    def places(self, site: Site, layer: int) -> tuple[Place, ...]:
        """Where the site's values are found in a block, the module to hook first; () where it has no such site."""
        block = self.modules[layer]
        sites = _BLOCK if self.family is None else self.family.sites
        if site == "resid_mid" and getattr(block, "use_parallel_residual", False):
            return ()  # attention and MLP read the same input: there is no stream between them
        return tuple(place for place in sites.get(site, ()) if _submodule(block, place[0]) is not None)

    def fused(self, site: Site) -> Fused | None:
        """How the site's values stand among others in its module's output; None where they stand alone."""
        return self.family.fused if self.family is not None and site in ("q", "k", "v") else None

    def site_at(self, layer: int, inner: str, side: Side) -> Site | None:
        """The site whose values are those at one side of a module of a block, and nothing else."""
        alone = (site for site in self.sites(layer) if site not in NORM_SITES and self.fused(site) is None)
        return next((site for site in alone if (inner, side) in self.places(site, layer)), None)

    def sites(self, layer: int) -> tuple[Site, ...]:
        """What a block has: the first ones of a mixture of experts may have a plain MLP, say, and the others none."""
        return tuple(site for site in NAMES if self.places(site, layer))


def find_blocks(model: PreTrainedModel) -> Blocks:
    """The model's stack of blocks: its list of `num_hidden_layers` modules of one class.

    Raises `CheckpointError` for a model without one.
    """
    config = model.config.get_text_config() if model.main_input_name != "pixel_values" else model.config
    n_layers = getattr(config, "num_hidden_layers", None)
    found = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_layers and len({type(m) for m in module}) == 1
    ]
    if model.main_input_name != "pixel_values":
        found = [f for f in found if not any(word in f[0] for word in ("vision", "visual", "audio"))]
    if not found:
        n_blocks = "" if n_layers is None else f"{n_layers} "
        raise CheckpointError(
            f"a {type(model).__name__} has no stack of {n_blocks}transformer blocks that could be hooked",
            "use a causal language model, an encoder of texts, or a vision transformer",
        )
    path, modules = min(found, key=lambda f: f[0].count("."))
    families = {id(family): family for family in map(_family, modules)}
    return Blocks(path, modules, next(iter(families.values())) if len(families) == 1 else None)


def _family(block: nn.Module) -> Family | None:
    parts = {name for name, part in block.named_children() if next(part.parameters(), None) is not None}
    for family in FAMILIES:
        if parts == family.parts and _submodule(block, family.within) is not None:
            # Some scale what they add to the residual stream, by a number (Granite) or by weights (BEiT).
            scale = next(block.parameters(recurse=False), getattr(block, "residual_multiplier", 1.0))
            return family if isinstance(scale, float) and scale == 1.0 else None
    return None


def _submodule(block: nn.Module, path: str) -> nn.Module | None:
    try:
        return block.get_submodule(path)
    except AttributeError:
        return None
