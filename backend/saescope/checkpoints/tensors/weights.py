"""The tensors of a checkpoint, taken one by one and checked: their shapes against each other and the config, their
types, and that every number is finite. Faults are gathered and reported at once."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

import torch
from torch import Tensor

from saescope.checkpoints.tensors.content import Content
from saescope.store.errors import CheckpointFaults


class Weights:
    """Takes tensors out of a file's content.

    Sizes have names ('d_in', 'n_features', 'd_out'): the first tensor that has one, or `sizes`, says how long it is,
    and all others must agree. What has a fault is returned empty: call `check` before computing with it.
    """

    def __init__(self, subject: str, content: Content, sizes: Mapping[str, int | None] | None = None) -> None:
        self._subject = subject
        self._tensors = content.tensors
        self._left = set(content.tensors)
        self._sizes = {name: size for name, size in (sizes or {}).items() if size is not None}
        self.faults: list[str] = []

    def has(self, *names: str) -> bool:
        """Whether all these tensors are there."""
        return all(name in self._tensors for name in names)

    def size(self, name: str) -> int:
        """A named size, after the tensors that have it were taken."""
        return self._sizes[name]

    def take(self, name: str, *shape: str | int) -> Tensor:
        """The tensor `name`, float32; its `shape` in names of sizes and numbers."""
        if name not in self._tensors:
            self.faults.append(f"tensor {name} is missing")
            return torch.empty((0,) * len(shape))
        self._left.discard(name)
        found = self._tensors[name]
        known = [self._sizes.get(size) if isinstance(size, str) else size for size in shape]
        fits = found.ndim == len(shape) and all(k is None or k == n for k, n in zip(known, found.shape, strict=True))
        if not fits:
            self.faults.append(f"{name} has shape {list(found.shape)}, expected {_spelled(shape, known)}")
            return torch.empty((0,) * len(shape))
        for size, n in zip(shape, found.shape, strict=True):
            if isinstance(size, str):
                self._sizes[size] = int(n)
        if not found.is_floating_point():
            self.faults.append(f"{name} has type {str(found.dtype).removeprefix('torch.')}, expected floating point")
            return torch.empty((0,) * len(shape))
        values = found.detach().to(torch.float32)
        bad = int(values.numel() - torch.isfinite(values).sum())
        if bad:
            self.faults.append(f"{name} has {bad} values that are NaN or infinite")
        return values

    def take_if_there(self, name: str, *shape: str | int) -> Tensor | None:
        """`take`, or None where there is no such tensor."""
        return self.take(name, *shape) if name in self._tensors else None

    def take_linear_layers(self, encoder: str, b_enc: str, decoder: str, b_dec: str) -> dict[str, Tensor]:
        """The four tensors of an encoder and a decoder that are stored the way torch's linear layers are, a row per
        output, by our names and in our layout."""
        return {
            "W_enc": self.take(encoder, "n_features", "d_in").T,
            "b_enc": self.take(b_enc, "n_features"),
            "W_dec": self.take(decoder, "d_in", "n_features").T,
            "b_dec": self.take(b_dec, "d_in"),
        }

    def number(self, name: str) -> float | None:
        """The value of a tensor of one element; None where there is no such tensor."""
        if name not in self._tensors:
            return None
        self._left.discard(name)
        found = self._tensors[name]
        if found.numel() != 1:
            self.faults.append(f"{name} has shape {list(found.shape)}, expected one number")
            return None
        value = float(found.reshape(()))
        if value != value or abs(value) == float("inf"):
            self.faults.append(f"{name} is {value}, expected a finite number")
            return None
        return value

    def whole_numbers(self, name: str) -> tuple[int, ...] | None:
        """The values of a list of whole numbers; None where there is no such tensor."""
        if name not in self._tensors:
            return None
        self._left.discard(name)
        found = self._tensors[name]
        if found.ndim != 1 or found.is_floating_point():
            self.faults.append(f"{name} has shape {list(found.shape)} and type {found.dtype}, expected whole numbers")
            return None
        return tuple(int(value) for value in found)

    def ignore(self, *patterns: str) -> None:
        """These tensors (shell patterns) are known, and of no use here."""
        self._left = {n for n in self._left if not any(fnmatch.fnmatchcase(n, p) for p in patterns)}

    def check(self) -> None:
        """Raises `CheckpointFaults` for all faults so far, tensors that nobody asked for among them."""
        unknown = [f"unknown tensor {name}" for name in sorted(self._left)]
        self._left = set()
        if self.faults or unknown:
            raise CheckpointFaults(f"checkpoint {self._subject}", [*self.faults, *unknown])


def _spelled(shape: tuple[str | int, ...], known: list[int | None]) -> str:
    parts = (str(n) if n is not None else str(name) for name, n in zip(shape, known, strict=True))
    return f"[{', '.join(parts)}]"
