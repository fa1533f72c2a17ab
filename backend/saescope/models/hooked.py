"""A model with one place in it: activations there, and logits with other activations in their place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from saescope.models.families import find_blocks
from saescope.models.hooks import find_hook
from saescope.models.loading import LoadedModel
from saescope.models.packing import head_in_place, packed_head
from saescope.models.taps import run_until, run_until_all, tap
from saescope.models.unembedding import Unembedding, find_unembedding
from saescope.store.errors import UserError

Edit = Callable[[Tensor], Tensor]
"""Other activations [item position width] in the place of those given, both float32."""

_log = logging.getLogger("saescope.models")


@dataclass(frozen=True)
class _Recorded:
    """What the variants of a batch have in common."""

    activations: Float[Tensor, "item position width"]
    """At the hook, in the model's dtype."""
    block_input: Float[Tensor, "item position d_model"] | None
    """Of the hook's block, where the hook lies inside it."""
    rests: tuple[tuple[Any, ...] | None, ...]
    """What the blocks before (and the hook's, where it is its output) return beside the residual stream: None for a
    bare tensor."""


class HookedModel:
    """Reads and replaces the activations at one hook of a model.

    `hook` is a TransformerLens name or a module's path (`find_hook`). Where CUDA runs out of memory, batches are halved
    from then on, with a warning.
    """

    def __init__(self, loaded: LoadedModel, hook: str) -> None:
        self.loaded = loaded
        self.hook = find_hook(loaded.model, hook)
        self._blocks = find_blocks(loaded.model)
        self._module = loaded.model.get_submodule(self.hook.module)
        self._items_at_once: int | None = None
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
        return self._in_parts(
            lambda part, mask: self._seen(self._reach(part, mask)), [inputs, attention_mask], len(inputs)
        )

    @torch.no_grad()
    def activations_with(
        self, other: HookedModel, inputs: Tensor, attention_mask: Bool[Tensor, "item position"] | None = None
    ) -> Float[Tensor, "item position both_widths"]:
        """`activations` here, with those at `other` (the same model at another hook) behind them, of one forward pass.

        Raises `UserError` where the two hooks have not the same positions.
        """
        assert other.loaded is self.loaded

        def run(part: Tensor, mask: Tensor | None) -> Tensor:
            places = [(self._module, self.hook.side), (other._module, other.hook.side)]
            here, there = run_until_all(self.loaded.model, self._inputs(part, mask), places)
            assert here is not None
            assert there is not None
            if here.shape[:2] != there.shape[:2]:
                raise UserError(
                    f"{self.hook.name} has {here.shape[1]} positions per item and {other.hook.name} {there.shape[1]}",
                    "choose two hooks of the same positions",
                )
            return torch.cat([self._seen(here), other._seen(there)], dim=2)

        return self._in_parts(run, [inputs, attention_mask], len(inputs))

    @torch.no_grad()
    def variants(
        self,
        input_ids: Int[Tensor, "item position"],
        attention_mask: Bool[Tensor, "item position"] | None,
        edits: Mapping[str, Edit],
    ) -> Iterator[tuple[str, Float[Tensor, "item position vocab"]]]:
        """Float32 logits with each edit of the hook's activations, in turn.

        Edits get what `activations` gives. The blocks below the hook run once for all. An edit at `hook_resid_mid` also
        changes the stream that goes round the MLP. Raises `UserError` for a model without logits.
        """
        if self.loaded.kind != "causal":
            raise UserError(
                f"model {self.loaded.options.name} is no causal language model, so there is no cross-entropy to measure"
            )
        recorded = self._record(input_ids, attention_mask)
        head = packed_head(self.loaded.model)
        for name, edit in edits.items():
            edited = self._edited(recorded.activations, edit)

            def run(
                ids: Tensor,
                mask: Tensor | None,
                clean: Tensor,
                new: Tensor,
                block_input: Tensor | None,
            ) -> Tensor:
                with head_in_place(self.loaded.model, head):
                    return self._continue(ids, mask, clean, new, block_input, recorded.rests)

            parts = [input_ids, attention_mask, recorded.activations, edited, recorded.block_input]
            yield name, self._in_parts(run, parts, len(input_ids))

    def unembedding(self) -> Unembedding:
        """The final norm and unembedding. Raises `UserError` for a model without logits."""
        if self.loaded.kind != "causal":
            raise UserError(f"model {self.loaded.options.name} has no logits, so features have no effect on them")
        return find_unembedding(self.loaded.model)

    def describe(self) -> dict[str, Any]:
        """What a manifest says about the model and the hook."""
        return {
            **self.loaded.describe(),
            "hook": self.hook.name,
            "hook_module": self.hook.module,
            "hook_side": self.hook.side,
            "layer": self.hook.layer,
        }

    # -- one forward pass

    def _inputs(self, inputs: Tensor, attention_mask: Tensor | None) -> dict[str, Any]:
        model = self.loaded.model
        if self.loaded.kind == "vision":
            return {"pixel_values": inputs.to(model.device, model.dtype)}
        given: dict[str, Any] = {"input_ids": inputs.to(model.device, torch.int64)}
        if attention_mask is not None:
            real = attention_mask.to(model.device, torch.bool)
            if self.loaded.kind == "causal" and bool((real[:, 1:] <= real[:, :-1]).all()):
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
        values = raw.to(torch.float32)
        return values - values.mean(-1, keepdim=True) if self._is_centred else values

    def _edited(self, raw: Tensor, edit: Edit) -> Tensor:
        """The edit's result in the model's own terms: with the mean that centring takes away."""
        values = raw.to(torch.float32)
        mean = values.mean(-1, keepdim=True) if self._is_centred else None
        new = edit(values if mean is None else values - mean)
        assert new.shape == raw.shape, f"an edit made {list(new.shape)} of {list(raw.shape)}"
        return (new if mean is None else new + mean).to(raw.dtype)

    # -- variants

    @property
    def _is_block_output(self) -> bool:
        return self.hook.side == "output" and self._module in set(self._blocks.modules)

    def _record(self, input_ids: Tensor, attention_mask: Tensor | None) -> _Recorded:
        layer = self.hook.layer
        if layer is None:
            raw = self._in_parts(self._reach, [input_ids, attention_mask], len(input_ids))
            return _Recorded(raw, None, ())
        rests: list[tuple[Any, ...] | None] = []
        block_inputs: list[Tensor] = []

        def note_rest(_module: nn.Module, _given: Any, output: Any) -> None:
            rests.append(tuple(output[1:]) if isinstance(output, tuple) else None)

        def note_input(hidden: Tensor) -> None:
            block_inputs.append(hidden)

        def reach(part: Tensor, mask: Tensor | None) -> Tensor:
            rests.clear()
            n_before = len(block_inputs)
            try:
                return self._reach(part, mask)
            except torch.OutOfMemoryError:
                del block_inputs[n_before:]
                raise

        is_inside = not self._is_block_output
        with ExitStack() as hooks:
            for block in self._blocks.modules[: layer if is_inside else layer + 1]:
                hooks.callback(block.register_forward_hook(note_rest).remove)
            if is_inside:
                hooks.callback(tap(self._blocks.modules[layer], "input", note_input).remove)
            raw = self._in_parts(reach, [input_ids, attention_mask], len(input_ids))
        return _Recorded(raw, torch.cat(block_inputs) if is_inside else None, tuple(rests))

    def _continue(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        clean: Tensor,
        edited: Tensor,
        block_input: Tensor | None,
        rests: Sequence[tuple[Any, ...] | None],
    ) -> Float[Tensor, "item position vocab"]:
        """Logits with `edited` at the hook. Blocks below it only hand something of the right shape on."""
        layer = self.hook.layer
        with ExitStack() as undo:
            if layer is None:
                undo.callback(tap(self._module, self.hook.side, lambda _: edited).remove)
            else:
                below, block = self._blocks.modules[:layer], self._blocks.modules[layer]
                for passed, rest in zip(below, rests, strict=False):
                    undo.enter_context(_handing_on(passed, None, rest))
                if self._is_block_output:
                    undo.enter_context(_handing_on(block, edited, rests[layer] if rests else None))
                else:
                    undo.callback(tap(block, "input", lambda _: block_input).remove)
                    undo.callback(tap(self._module, self.hook.side, lambda _: edited).remove)
                    if self.hook.is_carried and self._carries:
                        undo.callback(tap(block, "output", lambda hidden: hidden + (edited - clean)).remove)
            output = self.loaded.model(**self._inputs(input_ids, attention_mask))
        return output.logits.to(torch.float32)

    @property
    def _carries(self) -> bool:
        return self._blocks.family is not None and self._blocks.family.is_pre_norm

    # -- batches that fit

    def _in_parts(self, run: Callable[..., Tensor], whole: Sequence[Tensor | None], n_items: int) -> Tensor:
        """`run` on all items, in as large parts as CUDA's memory takes."""
        done: list[Tensor] = []
        start = 0
        while start < n_items:
            size = min(self._items_at_once or n_items, n_items - start)
            try:
                done.append(run(*(None if t is None else t[start : start + size] for t in whole)))
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise UserError(
                        "CUDA runs out of memory even with one item at a time",
                        "use a shorter context, --dtype bfloat16, or --device cpu",
                    ) from error
                self._items_at_once = size // 2
                _log.warning(
                    "CUDA ran out of memory with %d items at once; going on with %d at once", size, self._items_at_once
                )
            else:
                start += size
                continue
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return done[0] if len(done) == 1 else torch.cat(done)

    def _check_centring(self) -> None:
        family = self._blocks.family
        norms = [m for m in self._blocks.modules[0].modules() if "norm" in type(m).__name__.lower()]
        if family is None or not family.is_pre_norm or not norms or not all(isinstance(m, nn.LayerNorm) for m in norms):
            raise UserError(
                f"centring is asked for, but it would change a {type(self.loaded.model).__name__}, whose norms do "
                "not subtract the mean",
                "leave --centred out: it is for GPT-2, GPT-NeoX and others with LayerNorm",
            )


@contextmanager
def _handing_on(block: nn.Module, hidden: Tensor | None, rest: tuple[Any, ...] | None) -> Iterator[None]:
    """Within it, a block returns `hidden` (None: what it is given), in the structure that it returns by itself."""

    def forward(*positional: Any, **named: Any) -> Any:
        given = positional[0] if positional else named["hidden_states"]
        passed = given if hidden is None else hidden
        return passed if rest is None else (passed, *rest)

    block.forward = forward
    try:
        yield
    finally:
        del block.forward
