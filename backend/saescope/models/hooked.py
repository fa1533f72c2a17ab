"""A model with one place in it: activations there, and logits with other activations in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from saescope.models.families import find_blocks
from saescope.models.hooks import find_hook
from saescope.models.loading import LoadedModel
from saescope.models.packed_linear import head_in_place, packed_head
from saescope.models.parts import Parts
from saescope.models.splicing import Spliced, Splicing, runs_of
from saescope.models.taps import run_until, run_until_all
from saescope.models.unembedding import Unembedding, find_unembedding
from saescope.store.errors import CheckpointError, OptionError

Edit = Callable[[Tensor], Tensor]
"""Other activations [item position width] in the place of those given, both float32."""

POSITIONS_ON_CPU = 512
"""Positions of a batch of variants that run at a time on a CPU: more fall out of its caches."""


class HookedModel:
    """Reads and replaces the activations at one hook of a model.

    `hook` is a TransformerLens name or a module's path (`find_hook`), `head` one attention head there. Where CUDA runs
    out of memory, batches are halved from then on, with a warning.
    """

    def __init__(self, loaded: LoadedModel, hook: str, head: int | None = None) -> None:
        self.loaded = loaded
        self.hook = find_hook(loaded.model, hook, head)
        self._blocks = find_blocks(loaded.model)
        self._module = loaded.model.get_submodule(self.hook.module)
        self._splicing = Splicing(loaded.model, self._blocks, self.hook)
        self._items, self._rows = Parts(), Parts()
        if loaded.options.centred:
            self._check_centring()
        self._is_centred = loaded.options.centred and self.hook.is_residual

    @property
    def width(self) -> int:
        """Width of an activation."""
        return self.hook.width

    @property
    def device(self) -> torch.device:
        return self.loaded.device

    @torch.no_grad()
    def activations(
        self, inputs: Tensor, attention_mask: Bool[Tensor, "item position"] | None = None
    ) -> Float[Tensor, "item position width"]:
        """Float32 activations at the hook, on the model's device. The forward pass ends there.

        `inputs` are token ids [item position], or a vision model's pixel values [item channel height width]. The
        `attention_mask` is False at padding.
        """
        return self._items.run(
            lambda part, mask: self._seen(self._reach(part, mask)), [inputs, attention_mask], len(inputs)
        )

    @torch.no_grad()
    def activations_with(
        self, other: HookedModel, inputs: Tensor, attention_mask: Bool[Tensor, "item position"] | None = None
    ) -> Float[Tensor, "item position both_widths"]:
        """`activations` here, with those at `other` (the same model at another hook) behind them, of one forward pass.

        Raises `OptionError` where the two hooks have not the same positions.
        """
        assert other.loaded is self.loaded

        def run(part: Tensor, mask: Tensor | None) -> Tensor:
            places = [(self._module, self.hook.side), (other._module, other.hook.side)]
            here, there = run_until_all(self.loaded.model, self._inputs(part, mask), places)
            assert here is not None
            assert there is not None
            if here.shape[:2] != there.shape[:2]:
                raise OptionError(
                    f"{self.hook.name} has {here.shape[1]} positions per item and {other.hook.name} {there.shape[1]}",
                    "choose two hooks of the same positions",
                )
            return torch.cat([self._seen(here), other._seen(there)], dim=2)

        return self._items.run(run, [inputs, attention_mask], len(inputs))

    @torch.no_grad()
    def variants(
        self,
        input_ids: Int[Tensor, "item position"],
        attention_mask: Bool[Tensor, "item position"] | None,
        edits: Mapping[str, Edit],
    ) -> Iterator[tuple[str, Spliced]]:
        """What reaches the unembedding with each edit of the hook's activations, in turn: `logits` makes logits of it.

        Edits get what `activations` gives. The blocks below the hook run once for all, and what lies above it once for
        items that an edit makes equal. An edit at `hook_resid_mid` also changes the stream that goes round the MLP.
        Raises `CheckpointError` for a model without logits.
        """
        self._check_logits("there is no cross-entropy to measure")
        is_text_forgotten = self._is_text_forgotten and (attention_mask is None or _ends_in_padding(attention_mask))
        yield from self._variants(input_ids, attention_mask, edits, is_text_forgotten)

    def _variants(
        self, input_ids: Tensor, attention_mask: Tensor | None, edits: Mapping[str, Edit], is_text_forgotten: bool
    ) -> Iterator[tuple[str, Spliced]]:
        n_items, n_positions = input_ids.shape
        raw_width = self.hook.view.raw_width
        lengths = torch.full((n_items,), n_positions) if attention_mask is None else attention_mask.sum(1).cpu()
        at_once = max(POSITIONS_ON_CPU // n_positions, 1) if self.device.type == "cpu" else None

        def reach(ids: Tensor, mask: Tensor | None) -> Tensor:
            clean, block_input = self._splicing.reach(self._inputs(ids, mask))
            return clean if block_input is None else torch.cat([clean, block_input], -1)

        def go_on(ids: Tensor, mask: Tensor | None, seen: Tensor, edited: Tensor) -> Tensor:
            clean, block_input = seen[..., :raw_width], seen[..., raw_width:].contiguous()
            return self._splicing.states(self._inputs(ids, mask), clean, edited.contiguous(), block_input)

        seen = self._items.run(_trimmed(reach), [input_ids, attention_mask], n_items, at_once)
        for name, edit in edits.items():
            edited = self._edited(seen[..., :raw_width], edit)
            standing = of_item = torch.arange(n_items)
            if is_text_forgotten:
                standing, of_item = runs_of(edited, lengths)
            given = [None if t is None else t[standing.to(t.device)] for t in (input_ids, attention_mask, seen, edited)]
            yield name, Spliced(self._items.run(_trimmed(go_on), given, len(standing), at_once), of_item)

    @cached_property
    def _is_text_forgotten(self) -> bool:
        """Whether all that lies above the hook follows from the activations there, as nothing goes round it: tried on
        one text that is given another one's activations. Both run alone, so that not a bit should differ."""
        first, second = torch.arange(6).view(2, 1, 3) % self.loaded.model.config.get_text_config().vocab_size
        given = self.activations(first)
        (_, own), (_, others) = (
            next(self._variants(ids, None, {"given": lambda _: given}, False)) for ids in (first, second)
        )
        return torch.equal(own.states, others.states)

    @torch.no_grad()
    def logits(self, states: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """Float32 logits of what reaches the unembedding at any positions."""
        return self._rows.run(self._splicing.logits, [states], len(states))

    def unembedding_packed(self) -> AbstractContextManager[None]:
        """Within it, `logits` is faster where the weights can be packed, by a copy of the unembedding."""
        model = self.loaded.model
        is_hooked = model.get_output_embeddings() is self._module
        return head_in_place(model, None if is_hooked else packed_head(model))

    def unembedding(self) -> Unembedding:
        """The final norm and unembedding. Raises `CheckpointError` for a model without logits."""
        self._check_logits("features have no effect on them")
        return find_unembedding(self.loaded.model)

    def describe(self) -> dict[str, Any]:
        """What a manifest says about the model and the hook."""
        return {
            **self.loaded.describe(),
            "hook": self.hook.name,
            "hook_module": self.hook.module,
            "hook_side": self.hook.side,
            "layer": self.hook.layer,
            **({} if self.hook.head is None else {"head": self.hook.head}),
        }

    # -- one forward pass

    def _inputs(self, inputs: Tensor, attention_mask: Tensor | None) -> dict[str, Any]:
        model = self.loaded.model
        if self.loaded.kind == "vision":
            return {"pixel_values": inputs.to(model.device, model.dtype)}
        given: dict[str, Any] = {"input_ids": inputs.to(model.device, torch.int64)}
        if attention_mask is not None:
            real = attention_mask.to(model.device, torch.bool)
            if self.loaded.kind == "causal" and _ends_in_padding(real):
                # Padding at the end is never seen by what stands before it: without a mask the arithmetic at real
                # positions is the same however long the others of the batch are.
                given["input_ids"] = torch.where(real, given["input_ids"], given["input_ids"][:, :1])
            elif not bool(real.all()):
                given["attention_mask"] = real.to(torch.int64)
        if self.loaded.kind == "causal":
            given["use_cache"] = False
        return given

    def _reach(self, inputs: Tensor, attention_mask: Tensor | None) -> Float[Tensor, "item position width"]:
        seen = run_until(self.loaded.model, self._inputs(inputs, attention_mask), self._module, self.hook.side)
        assert seen is not None, f"{self.hook.module} was run before"
        return seen

    def _seen(self, raw: Tensor) -> Float[Tensor, "item position width"]:
        values = self.hook.view.read(raw.to(torch.float32))
        return values - values.mean(-1, keepdim=True) if self._is_centred else values

    def _edited(self, raw: Tensor, edit: Edit) -> Tensor:
        """The edit's result in the model's own terms: with the mean that centring takes away."""
        wide = raw.to(torch.float32)
        values = self.hook.view.read(wide)
        mean = values.mean(-1, keepdim=True) if self._is_centred else None
        new = edit(values if mean is None else values - mean)
        assert new.shape == values.shape, f"an edit made {list(new.shape)} of {list(values.shape)}"
        return self.hook.view.write(wide, new if mean is None else new + mean).to(raw.dtype)

    def _check_logits(self, so: str) -> None:
        if self.loaded.kind != "causal":
            why = self.loaded.without_logits
            raise CheckpointError(
                f"model {self.loaded.options.name} is no causal language model{'' if why is None else f' ({why})'}: it "
                f"has no logits, so {so}"
            )

    def _check_centring(self) -> None:
        family = self._blocks.family
        norms = [m for m in self._blocks.modules[0].modules() if "norm" in type(m).__name__.lower()]
        if family is None or not family.is_pre_norm or not norms or not all(isinstance(m, nn.LayerNorm) for m in norms):
            raise OptionError(
                f"centring is asked for, but it would change a {type(self.loaded.model).__name__}, whose norms do "
                "not subtract the mean",
                "leave --centred out: it is for GPT-2, GPT-NeoX and others with LayerNorm",
            )


def _ends_in_padding(mask: Bool[Tensor, "item position"]) -> bool:
    """Whether what is no token stands at the end of each item."""
    return bool((mask[:, 1:] <= mask[:, :-1]).all())


def _trimmed(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`run` without the padding at the end that all items of a part share; in its results zeros stand there."""

    def trimmed(ids: Tensor, mask: Tensor | None, *rest: Tensor) -> Tensor:
        if mask is None or not _ends_in_padding(mask):
            return run(ids, mask, *rest)
        n = int(mask.sum(1).max())
        done = run(ids[:, :n], mask[:, :n], *(t[:, :n] for t in rest))
        return nn.functional.pad(done, (0, 0, 0, ids.shape[1] - n))

    return trimmed
