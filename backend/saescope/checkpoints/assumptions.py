"""What a person says about a checkpoint that its files do not record: `--assume k=32`, or `assume={"k": 32}`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from saescope.store.errors import CheckpointError, OptionError

Activation = Literal["relu", "topk", "abstopk", "batchtopk", "jumprelu", "sigmoid"]

MEANINGS: dict[str, str] = {
    "activation": f"what follows the encoder's linear map: {', '.join(get_args(Activation))}",
    "k": "features kept per position, or on average per position (batchtopk)",
    "threshold": "of batchtopk: what a pre-activation must exceed",
    "subtract_b_dec": "yes or no: whether the decoder's bias is subtracted from the input",
    "input_scale": "the number that raw activations were multiplied by before training",
    "input_normalization": "none, layer_norm (each input less its mean, over its deviation) or norm (each input at "
    "norm sqrt(d_in))",
    "transposed": "yes or no: whether both matrices are stored the other way round than their names say",
    "embedding": "yes or no: whether a Gemma Scope SAE reads the token embedding",
    "decoder_norm": "of Overcomplete: l2, max_l2, l1, max_l1 or identity",
    "tied": "yes or no: whether the decoder is the encoder's transpose, where the file holds none",
    "group_sizes": "of matryoshka: the groups' sizes, with commas",
    "b_dec_scale": "the number that the decoder's bias has to be multiplied by",
    "threshold_scale": "the number that thresholds have to be multiplied by",
    "threshold_times_norm": "yes or no: whether thresholds stand beside pre-activations times the norm of the atom",
}
"""Name -> what it says."""

_YES = {"yes": True, "true": True, "no": False, "false": False}
_YES_OR_NO = ("tied", "subtract_b_dec", "transposed", "embedding", "threshold_times_norm")
_ABOVE_ZERO = ("k", "input_scale", "b_dec_scale", "threshold_scale")
_CHOICES: dict[str, tuple[str, ...]] = {
    "activation": get_args(Activation),
    "input_normalization": ("none", "layer_norm", "norm"),
    "decoder_norm": ("l2", "max_l2", "l1", "max_l1", "identity"),
}


class Assumptions:
    """Assumptions, parsed. A format asks for those that it has use for; what nobody asked for is a mistake."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self._given = {name: _parsed(name, value) for name, value in (given or {}).items()}
        self._used: set[str] = set()

    def get(self, name: str) -> Any:
        """What is assumed of `name`; None where nothing is."""
        assert name in MEANINGS, name
        self._used.add(name)
        return self._given.get(name)

    def left(self, names: Sequence[str]) -> dict[str, Any]:
        """Those of `names` that are assumed and that nobody asked for yet."""
        found = {name: self._given[name] for name in names if name in self._given and name not in self._used}
        self._used |= set(found)
        return found

    def settle(self, name: str, recorded: Any, where: str) -> Any:
        """What the checkpoint records in `where`, or else what is assumed. `OptionError` where the two differ."""
        assumed = self.get(name)
        if recorded is not None and assumed is not None and recorded != assumed:
            raise OptionError(f"{name} is assumed to be {assumed}, but {where} says {recorded}", f"leave {name} out")
        return assumed if recorded is None else recorded

    def need(self, name: str, recorded: Any, where: str) -> Any:
        """`settle`, where one of the two must be there."""
        value = self.settle(name, recorded, where)
        if value is None:
            raise CheckpointError(f"{where} does not record {name} ({MEANINGS[name]})", how_to_assume(name))
        return value

    def check_all_used(self, format: str) -> None:
        """Raises `OptionError` for assumptions that the format had no use for."""
        unused = sorted(set(self._given) - self._used)
        if unused:
            raise OptionError(
                f"{', '.join(unused)} assumed, but a checkpoint like this one of format {format} leaves nothing open "
                "about that",
                "leave it out, or name another format with --format",
            )


def how_to_assume(*names: str) -> str:
    """The hint: how to say what a file does not record."""
    examples = {"k": "32", "activation": "topk", "threshold": "0.5", "input_scale": "0.1", "group_sizes": "32,64"}
    options = " ".join(f"--assume {name}={examples.get(name) or _first_choice(name)}" for name in names)
    inside = ", ".join(f'"{name}": ...' for name in names)
    return f"say it, e.g. {options} (in Python: assume={{{inside}}})"


def need_tied(assume: Assumptions, where: str, encoder: str, decoder: str) -> None:
    """Raises `CheckpointError` for a file without a decoder, unless it is assumed to be the encoder's transpose."""
    if not assume.get("tied"):
        raise CheckpointError(
            f"{where} has an encoder ({encoder}) but no decoder: {decoder} is missing",
            "give the folder, or the index, of all of the checkpoint's files; where the decoder is the encoder's "
            "transpose, add --assume tied=yes (in Python: assume={'tied': True})",
        )


def _first_choice(name: str) -> str:
    return _CHOICES[name][0] if name in _CHOICES else "yes"


def _parsed(name: str, value: Any) -> Any:
    if name not in MEANINGS:
        raise OptionError(f"nothing called {name!r} can be assumed", f"known: {', '.join(MEANINGS)}")
    fault = OptionError(f"{name}={value} is assumed, expected {_expected(name)}", f"{name}: {MEANINGS[name]}")
    text = str(value).strip().lower()
    if name in _CHOICES:
        if text not in _CHOICES[name]:
            raise fault
        return text
    if name in _YES_OR_NO:
        if text not in _YES:
            raise fault
        return _YES[text]
    try:
        if name == "group_sizes":
            sizes = value if isinstance(value, (list, tuple)) else str(value).split(",")
            groups = tuple(int(size) for size in sizes)
            if not groups or min(groups) < 1:
                raise fault
            return groups
        number = int(text) if name == "k" else float(text)
    except ValueError:
        raise fault from None
    if not math.isfinite(number) or (name in _ABOVE_ZERO and number <= 0):
        raise fault
    return number


def _expected(name: str) -> str:
    if name in _CHOICES:
        return f"one of {', '.join(_CHOICES[name])}"
    if name in _YES_OR_NO:
        return "yes or no"
    if name == "group_sizes":
        return "whole numbers with commas"
    return "a whole number, at least 1" if name == "k" else "a number" + (" above 0" if name in _ABOVE_ZERO else "")
