"""Reading and replacing the tensor at one side of a module, whatever the module takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from saescope.models.families import Side

See = Callable[[Tensor], Tensor | None]
"""Gets the tensor; what it returns takes its place (None: stays)."""


class Reached(Exception):
    """Ends a forward pass that has come as far as it is needed. No error; never leaves this package."""


def tap(module: nn.Module, side: Side, see: See) -> RemovableHandle:
    """Call `see` with the module's main tensor each time it runs, until the handle is removed.

    That is the first tensor of its input (positional, or the argument `hidden_states`) or output (a tensor, or the
    first of a tuple).
    """
    if side == "output":
        return module.register_forward_hook(lambda _module, _given, output: _replace_first(output, see))
    return module.register_forward_pre_hook(
        lambda _module, positional, named: _replace_input(positional, named, see), with_kwargs=True
    )


def _replace_first(output: Any, see: See) -> Any:
    if isinstance(output, Tensor):
        return see(output)
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        new = see(output[0])
        return None if new is None else (new, *output[1:])
    return None


def _replace_input(
    positional: tuple[Any, ...], named: dict[str, Any], see: See
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if positional and isinstance(positional[0], Tensor):
        new = see(positional[0])
        return None if new is None else ((new, *positional[1:]), named)
    if isinstance(named.get("hidden_states"), Tensor):
        new = see(named["hidden_states"])
        return None if new is None else (positional, {**named, "hidden_states": new})
    return None


def run_until(model: nn.Module, inputs: Mapping[str, Any], module: nn.Module, side: Side) -> Tensor | None:
    """The main tensor at one side of `module` in a forward pass, which ends there. None where it never comes by."""
    return run_until_all(model, inputs, [(module, side)])[0]


def run_until_all(
    model: nn.Module, inputs: Mapping[str, Any], places: Sequence[tuple[nn.Module, Side]]
) -> list[Tensor | None]:
    """The main tensor at each place in one forward pass, which ends at the last one. None where it never comes by."""
    kept: dict[int, Tensor] = {}

    def see(index: int, tensor: Tensor) -> None:
        if index in kept:
            return
        last = len(kept) + 1 == len(places)
        kept[index] = tensor if last else tensor.clone()  # the model may go on to write into it
        if last:
            raise Reached

    with ExitStack() as hooks:
        for index, (module, side) in enumerate(places):
            hooks.callback(tap(module, side, partial(see, index)).remove)
        with suppress(Reached):
            model(**inputs)
    return [kept.get(index) for index in range(len(places))]
