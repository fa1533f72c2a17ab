"""Names of places in a model: TransformerLens' and paths of modules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from saescope.models.families import HEAD_SITES, NAMES, NORM_SITES, RESIDUAL_SITES, Blocks, Side, Site, find_blocks
from saescope.models.norms import measured_norm
from saescope.models.taps import run_until
from saescope.models.views import Normalised, View, Whole, of_heads
from saescope.store.errors import OptionError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EMBED = "hook_embed"
_IN_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_SIDES: tuple[Side, Side] = ("input", "output")
_WRAPPERS = ("model", "language_model", "text_model", "transformer", "base_model")
"""Names of what holds the blocks of language models, alone or inside one of images and texts."""


@dataclass(frozen=True)
class HookPoint:
    """A place in a model where activations are read: one side of a module."""

    name: str
    """As given."""
    module: str
    """Path of the module in the model."""
    side: Side
    """Where activations are read from."""
    layer: int | None
    """Index of the block that it lies in; None outside the blocks."""
    view: View
    """How they stand in the tensor there."""
    site: Site | None = None
    """What is found there, where that is known, whichever kind of name was given."""
    head: int | None = None
    """The attention head that is read alone; None: all of them, or there are none."""

    @property
    def width(self) -> int:
        """Width of an activation."""
        return self.view.width

    @property
    def edit_side(self) -> Side:
        """Where others are put in their place."""
        return "output" if self.site in NORM_SITES else self.side

    @property
    def is_residual(self) -> bool:
        """Whether it holds the residual stream, or what is added to it: a direction there can reach the logits."""
        return self.site in RESIDUAL_SITES

    @property
    def is_carried(self) -> bool:
        """Whether the residual stream also goes round the module (in blocks with norms before attention and MLP)."""
        return self.site == "resid_mid"


def hook_names(model: PreTrainedModel) -> list[str]:
    """Every TransformerLens name that this model has, block by block."""
    blocks = find_blocks(model)
    names = [EMBED] if _embedding(model) is not None else []
    for layer in range(len(blocks.modules)):
        names += [f"blocks.{layer}.{NAMES[site]}" for site in blocks.sites(layer)]
    return names


def find_hook(model: PreTrainedModel, name: str, head: int | None = None) -> HookPoint:
    """The place that `name` means: `blocks.15.hook_resid_post`, or a module's path, whose output is meant unless
    `.input` follows it (`model.layers.15`, `model.layers.15.mlp.down_proj.input`).

    Paths may leave out or add the prefixes of the model's body (`layers.15`, `vit.layers.3`). `head` picks one
    attention head of queries, keys, values or z. A short forward pass measures the width. Raises `OptionError` with the
    nearest names.
    """
    blocks = find_blocks(model)
    path, side, layer, site = _place(model, blocks, name)
    if head is not None and site not in HEAD_SITES:
        where = layer if layer is not None else len(blocks.modules) // 2
        raise OptionError(
            f"head {head} is asked for, but {name} has no attention heads side by side",
            f"heads are at {', '.join(f'blocks.{where}.{NAMES[each]}' for each in HEAD_SITES)}",
        )
    module = model.get_submodule(path)
    with torch.no_grad():
        seen = run_until(model, smallest_input(model), module, side)
    if seen is None:
        raise OptionError(
            f"hook {name}: the module {path} passes no activations on in a forward pass",
            _suggestion(model, blocks, name),
        )
    if seen.ndim != 3 or seen.shape[0] != 1:
        raise OptionError(
            f"hook {name}: the {side} of {path} has the shape {list(seen.shape)}; expected one activation per item and "
            "position",
            _suggestion(model, blocks, name),
        )
    return HookPoint(
        name, path, side, layer, _view(model, blocks, name, module, int(seen.shape[2]), site, head), site, head
    )


def _view(
    model: PreTrainedModel,
    blocks: Blocks,
    name: str,
    module: nn.Module,
    width: int,
    site: Site | None,
    head: int | None,
) -> View:
    if site in NORM_SITES:
        return Normalised(measured_norm(module, width, f"hook {name}: the norm there"), width)
    if site not in HEAD_SITES:
        return Whole(width)
    config = block_config(model)
    n_heads = int(config.num_attention_heads)
    if site in ("k", "v"):
        n_heads = int(getattr(config, "num_key_value_heads", None) or n_heads)
    return of_heads(width, n_heads, site, blocks.fused(site), head, name)


def _place(model: PreTrainedModel, blocks: Blocks, name: str) -> tuple[str, Side, int | None, Site | None]:
    """Module, side, layer and site of a name."""
    if name == EMBED:
        path = _embedding(model)
        if path is not None:
            return path, "output", None, None
    match = _IN_BLOCK.fullmatch(name)
    if match:
        return _named_place(model, blocks, name, int(match[1]), match[2])
    for stem, side in _readings(name):
        found = next((path for path in _paths(model, blocks, stem) if _has(model, path)), None)
        if found is None:
            continue
        layer = _layer_of(blocks, found)
        inner = found[len(f"{blocks.path}.{layer}") :].lstrip(".")
        return found, side, layer, None if layer is None else blocks.site_at(layer, inner, side)
    raise OptionError(f"hook {name!r}: a {type(model).__name__} has no such place", _suggestion(model, blocks, name))


def _named_place(
    model: PreTrainedModel, blocks: Blocks, name: str, layer: int, rest: str
) -> tuple[str, Side, int, Site]:
    sites = {tl_name: site for site, tl_name in NAMES.items()}
    site = sites.get(rest)
    if layer >= len(blocks.modules):
        raise OptionError(
            f"hook {name}: the model has {len(blocks.modules)} blocks, 0 to {len(blocks.modules) - 1}",
            _suggestion(model, blocks, f"blocks.{len(blocks.modules) - 1}.{rest}"),
        )
    places = blocks.places(site, layer) if site else ()
    if not site or not places:
        if site == "resid_mid" and blocks.family is not None:
            raise OptionError(
                f"hook {name}: in this model attention and MLP read the same input, so there is nothing between them",
                f"use blocks.{layer}.{NAMES['resid_pre']} or blocks.{layer}.{NAMES['resid_post']}",
            )
        raise OptionError(f"hook {name}: a {type(model).__name__} has no such place", _suggestion(model, blocks, name))
    inner, side = places[0]
    if site in NORM_SITES:
        side = "input"
    return ".".join(filter(None, (blocks.path, str(layer), inner))), side, layer, site


def _readings(name: str) -> list[tuple[str, Side]]:
    """What a path may mean: a module's output; or, with a side at its end, that side of a module."""
    readings: list[tuple[str, Side]] = [(name, "output")]
    stem, _, last = name.rpartition(".")
    for side in _SIDES:
        if last == side:
            readings.append((stem, side))
    return readings


def _paths(model: PreTrainedModel, blocks: Blocks, path: str) -> Iterator[str]:
    """The full paths that `path` may mean, the likeliest first: itself, then with other wrappers around the body of the
    model whose blocks are hooked. A path through another part (a language model's vision tower) means only itself."""
    body = blocks.path.split(".")[:-1]
    ours = {model.base_model_prefix, *body}
    ours |= {"vision_model"} if model.main_input_name == "pixel_values" else set(_WRAPPERS)
    before = ["", model.base_model_prefix, *(".".join(body[: n + 1]) for n in range(len(body)))]
    rest = path
    while rest:
        yield from (".".join(filter(None, (each, rest))) for each in before)
        first, _, inner = rest.partition(".")
        if first not in ours:
            return
        rest = inner


def _has(model: nn.Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True


def _layer_of(blocks: Blocks, path: str) -> int | None:
    if not path.startswith(f"{blocks.path}."):
        return None
    return int(path[len(blocks.path) + 1 :].partition(".")[0])


def _embedding(model: PreTrainedModel) -> str | None:
    """Path of a language model's token embedding."""
    if model.main_input_name != "input_ids":
        return None
    embedding = model.get_input_embeddings()
    return next((path for path, module in model.named_modules() if module is embedding), None)


def block_config(model: PreTrainedModel) -> Any:
    """The part of a model's config that speaks of its blocks."""
    return model.config if model.main_input_name == "pixel_values" else model.config.get_text_config()


def smallest_input(model: PreTrainedModel) -> dict[str, Any]:
    """Two tokens, or one empty picture."""
    if model.main_input_name == "pixel_values":
        size = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return {
            "pixel_values": torch.zeros(
                1, model.config.num_channels, height, width, dtype=model.dtype, device=model.device
            )
        }
    return {"input_ids": torch.tensor([[0, 1]], device=model.device)}


def _suggestion(model: PreTrainedModel, blocks: Blocks, name: str) -> str:
    names = hook_names(model)
    names += [path for path, _ in model.named_modules() if path and not path.endswith(blocks.path)]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    near = near or [f"blocks.{len(blocks.modules) // 2}.hook_resid_post", f"{blocks.path}.{len(blocks.modules) // 2}"]
    return f"nearest: {', '.join(near)}"
