"""Forward passes of a causal model from a hook to the unembedding, and through it; what lies before runs once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from saescope.models.families import Blocks, Side
from saescope.models.hooks import HookPoint, smallest_input
from saescope.models.taps import run_until, run_until_all, tap
from saescope.store.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Rest = tuple[Any, ...] | None
"""What a block returns beside the residual stream: None for a bare tensor."""


@dataclass(frozen=True)
class Spliced:
    """What reaches the unembedding, for a batch of items."""

    states: Float[Tensor, "run position d_model"]
    run: Int[Tensor, " item"]
    """Where an item's states are: items whose activations at the hook are the same share a run, if nothing goes round
    the hook. A shared run may be longer than the item."""


class Splicing:
    """One hook of a model as the start of forward passes, and its unembedding as their end."""

    def __init__(self, model: PreTrainedModel, blocks: Blocks, hook: HookPoint) -> None:
        self._model, self._blocks, self._hook = model, blocks, hook
        self._module = model.get_submodule(hook.module)
        self._is_block_output = hook.side == "output" and self._module in set(blocks.modules)
        self._is_carried = hook.is_carried and blocks.family is not None and blocks.family.is_pre_norm

    def reach(
        self, inputs: Mapping[str, Any]
    ) -> tuple[Float[Tensor, "item position width"], Float[Tensor, "item position d_model"] | None]:
        """Activations at the hook, and the input of the hook's block where the hook lies inside it. The forward pass
        ends there."""
        places: list[tuple[nn.Module, Side]] = [(self._module, self._hook.side)]
        if self._hook.layer is not None and not self._is_block_output:
            places.insert(0, (self._blocks.modules[self._hook.layer], "input"))
        *block_input, clean = run_until_all(self._model, inputs, places)
        assert clean is not None, f"{self._hook.module} was run before"
        return clean, block_input[0] if block_input else None

    def states(
        self,
        inputs: Mapping[str, Any],
        clean: Float[Tensor, "item position width"],
        edited: Float[Tensor, "item position width"],
        block_input: Float[Tensor, "item position d_model"],
    ) -> Float[Tensor, "item position d_model"]:
        """What reaches the unembedding with `edited` at the hook, where it had `clean`.

        `block_input` is read where the hook lies inside a block. Blocks below the hook only hand something of the right
        shape on.
        """
        layer = self._hook.layer
        with ExitStack() as undo:
            if layer is None:
                undo.callback(tap(self._module, self._hook.edit_side, lambda _: edited).remove)
            else:
                block = self._blocks.modules[layer]
                undo.enter_context(_handing_on(self._blocks.modules[:layer], self._rests))
                if self._is_block_output:
                    undo.enter_context(_returning(block, edited, self._rests[layer]))
                else:
                    undo.callback(tap(block, "input", lambda _: block_input).remove)
                    undo.callback(tap(self._module, self._hook.edit_side, lambda _: edited).remove)
                    if self._is_carried:
                        undo.callback(tap(block, "output", lambda hidden: hidden + (edited - clean)).remove)
            states = run_until(self._model, inputs, *self._end)
        if states is None:
            raise CheckpointError(f"the unembedding of a {type(self._model).__name__} is not run in a forward pass")
        return states

    def logits(self, states: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """Float32 logits, with whatever scale or cap the model gives them: a pass in which all blocks only hand on,
        over as many items of one position as there are rows."""
        ids = torch.zeros(len(states), 1, dtype=torch.int64, device=states.device)
        with ExitStack() as undo:
            undo.enter_context(_handing_on(self._blocks.modules, self._rests))
            undo.callback(tap(*self._end, lambda _: states[:, None]).remove)
            output = self._model(input_ids=ids, use_cache=False)
        return output.logits[:, 0].to(torch.float32)

    @property
    def _end(self) -> tuple[nn.Module, Side]:
        """The input of the unembedding, or its output where that is hooked."""
        head = self._model.get_output_embeddings()
        if head is None:
            raise CheckpointError(
                f"a {type(self._model).__name__} has no unembedding: there is no cross-entropy to measure"
            )
        return head, "output" if (head, "output") == (self._module, self._hook.side) else "input"

    @cached_property
    def _rests(self) -> list[Rest]:
        """Of every block, by a pass over two tokens: what is in them is not read where blocks only hand on."""
        rests: list[Rest] = []

        def note(_module: nn.Module, _given: Any, output: Any) -> None:
            rests.append(tuple(output[1:]) if isinstance(output, tuple) else None)

        with ExitStack() as hooks:
            for block in self._blocks.modules:
                hooks.callback(block.register_forward_hook(note).remove)
            self._model(**smallest_input(self._model), use_cache=False)
        return rests


SAME = 1e-5
"""Length of the difference of two activations that rounding alone may account for, relative to theirs."""


def runs_of(
    activations: Float[Tensor, "item position width"], lengths: Int[Tensor, " item"]
) -> tuple[Int[Tensor, " run"], Int[Tensor, " item"]]:
    """Items that stand for all, ascending, and which of these stands for each: one with the same activations but for
    rounding, as far as the item goes."""
    standing: list[int] = []
    stands = torch.zeros(len(activations), dtype=torch.int64)
    for item in lengths.argsort(descending=True, stable=True).tolist():
        n = int(lengths[item])
        same = (other for other in standing if _are_same(activations[other, :n], activations[item, :n]))
        stands[item] = next(same, item)
        if stands[item] == item:
            standing.append(item)
    return stands.unique(return_inverse=True)


def _are_same(one: Float[Tensor, "position width"], other: Float[Tensor, "position width"]) -> bool:
    difference = torch.linalg.vector_norm(one[-1:] - other[-1:])  # where they differ, the last ones mostly do
    if difference > SAME * torch.linalg.vector_norm(one[-1:]):
        return False
    return bool((torch.linalg.vector_norm(one - other, dim=1) <= SAME * torch.linalg.vector_norm(one, dim=1)).all())


@contextmanager
def _handing_on(blocks: Iterable[nn.Module], rests: Sequence[Rest]) -> Iterator[None]:
    """Within it, blocks return the stream that they are given, in the structure that they return by themselves."""
    with ExitStack() as undo:
        for block, rest in zip(blocks, rests, strict=False):
            undo.enter_context(_returning(block, None, rest))
        yield


@contextmanager
def _returning(block: nn.Module, hidden: Tensor | None, rest: Rest) -> Iterator[None]:
    """Within it, a block returns `hidden` (None: what it is given) and `rest`."""

    def forward(*positional: Any, **named: Any) -> Any:
        given = positional[0] if positional else named["hidden_states"]
        passed = given if hidden is None else hidden
        return passed if rest is None else (passed, *rest)

    block.forward = forward
    try:
        yield
    finally:
        del block.forward
