"""What a user can say about a model."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from saescope.store.errors import OptionError

DType = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is held. Bad values raise `OptionError` here, before any file is touched."""

    name: str
    """A name on the Hugging Face hub, a local folder, a path to a .gguf file, or 'embedded:smollm2'."""
    revision: str | None = None
    """Branch, tag or commit of a hub model; None: its main branch."""
    dtype: DType = "auto"
    """Of weights and arithmetic. 'auto': float32 on a CPU; on CUDA bfloat16 where the weights are stored in half
    precision, else float32."""
    device: str = "auto"
    """'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:N'."""
    centred: bool = False
    """Subtract from every position of the residual stream, and of what is written to it, its mean over the width, as
    TransformerLens does by default (center_writing_weights). Only for models whose norms subtract the mean anyway
    (LayerNorm, before attention and MLP), whose output it leaves as it is."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", os.fspath(self.name))
        if not self.name:
            raise OptionError(
                "the model's name is empty", "give a hub name, a folder, a .gguf file or embedded:smollm2"
            )
        if self.dtype not in get_args(DType):
            raise OptionError(f"unknown dtype {self.dtype!r}; expected one of: {', '.join(get_args(DType))}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)
