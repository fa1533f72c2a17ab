"""Whether a source is what a checkpoint says that it was trained on: the same model, place and beginning of texts.

Places are compared by what they are in the model, so that names of TransformerLens (`blocks.3.hook_resid_post`), paths
of modules (`model.layers.3`, `layers.3.output`) and what libraries call their files (`resid_post_layer_3`) agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from saescope.models.families import NORM_SITES, find_blocks
from saescope.models.hooked import HookedModel
from saescope.models.hooks import HookPoint, find_hook
from saescope.sources.hooked.source import HookedSource
from saescope.sources.protocol import Source
from saescope.store.errors import UserError
from saescope.store.format.source import TextDescription

_CALLED = re.compile(r"(resid_pre|resid_mid|resid_post|attn_out|mlp_out)(?:_layer_|[._-])?(\d+)")
"""What dictionary_learning calls its submodules."""
_LAYER = re.compile(r"(?<![A-Za-z])(?:blocks|layers?|h|block)[._/-](\d+)")
_ALIASES = {"gpt2-small": "gpt2", "embedded:smollm2": "smollm2-135m-instruct"}
"""Names of TransformerLens, and of models that come with a package."""


def differences(recorded: Mapping[str, Any], source: Source) -> tuple[str, ...]:
    """What the source does otherwise than the checkpoint records (`Loaded.metadata`), a sentence each; what either does
    not tell is not compared."""
    if not isinstance(source, HookedSource):
        return ()
    model = source.hooked.loaded
    found = list[str]()
    name = recorded.get("model")
    if isinstance(name, str) and not same_model(name, model.options.name):
        found.append(f"the checkpoint was trained on the model {name}, the source reads {model.options.name}")
    found += _of_place("hook", recorded.get("hook"), recorded.get("layer"), recorded.get("head"), source.hooked)
    if source.target_hooked is not None:
        found += _of_place("hook-out", recorded.get("hook_out"), None, None, source.target_hooked)
    about, prepends = source.describe(), recorded.get("prepend_bos")
    if isinstance(about, TextDescription) and isinstance(prepends, bool) and prepends != bool(about.bos):
        trained, read = ("with", "without") if prepends else ("without", "with")
        advice = "yes" if prepends else "no"
        found.append(
            f"the checkpoint was trained {trained} a token for the beginning before each text (BOS), the source reads "
            f"texts {read} one: --bos {advice}"
        )
    return tuple(found)


def remarks(source: Source) -> tuple[str, ...]:
    """What a source cannot give though its kind could, a sentence each."""
    if not isinstance(source, HookedSource) or source.hooked.loaded.without_logits is None:
        return ()
    loaded = source.hooked.loaded
    return (
        f"the model {loaded.options.name} gives no logits for texts ({loaded.without_logits}): cross-entropy and "
        "effects on logits are left out",
    )


def same_model(one: str, other: str) -> bool:
    """Whether two names may mean the same model: by their last parts, or one inside a path of the hub's cache."""
    parts = [_parts(one), _parts(other)]
    return any(ours[-1] in theirs for ours, theirs in (parts, parts[::-1]))


def _parts(name: str) -> list[str]:
    plain = _ALIASES.get(name.lower(), name).lower().rstrip("/").removesuffix(".gguf").replace("_", "-")
    parts = [part for each in re.split(r"[/\\]", plain) for part in each.split("--") if part]
    return [_ALIASES.get(part, part) for part in parts] or [plain]


def _of_place(option: str, hook: Any, layer: Any, head: Any, hooked: HookedModel) -> list[str]:
    ours = hooked.hook
    said = f"--{option} {ours.name}" + ("" if ours.head is None else f" --head {ours.head}")
    if not isinstance(hook, str):
        if isinstance(layer, int) and ours.layer is not None and layer != ours.layer:
            return [f"the checkpoint was trained on layer {layer}, the source reads layer {ours.layer} ({said})"]
        return []
    head = head if isinstance(head, int) else None
    theirs = _found(hooked, hook, head)
    trained = f"the checkpoint was trained on {hook}" + ("" if head is None else f", head {head}")
    if theirs is not None:
        return [] if _are_same(hooked, theirs, ours) else [f"{trained}, the source reads {said}"]
    named = {int(number) for number in _LAYER.findall(hook)}
    if hook != ours.name and len(named) == 1 and ours.layer is not None and named != {ours.layer}:
        return [f"{trained}, the source reads {said}"]
    return []


def _found(hooked: HookedModel, hook: str, head: int | None) -> HookPoint | None:
    """The place of a recorded name in this model; None where it has none of this name."""
    called = _CALLED.fullmatch(hook)
    name = hook if called is None else f"blocks.{called[2]}.hook_{called[1]}"
    try:
        return find_hook(hooked.loaded.model, name, head)
    except UserError:
        return None


def _are_same(hooked: HookedModel, one: HookPoint, other: HookPoint) -> bool:
    """Whether the same values are read."""
    if one.site is not None and (one.layer, one.site, one.head) == (other.layer, other.site, other.head):
        return True
    return _place(hooked, one) == _place(hooked, other)


def _place(hooked: HookedModel, hook: HookPoint) -> tuple[Any, ...]:
    """What is read where: a block's input is the output of the one before."""
    path, module, side = find_blocks(hooked.loaded.model).path, hook.module, hook.side
    if hook.layer and (module, side) == (f"{path}.{hook.layer}", "input"):
        module, side = f"{path}.{hook.layer - 1}", "output"
    return module, side, hook.site in NORM_SITES, getattr(hook.view, "columns", None)
