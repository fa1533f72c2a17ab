"""What a user can say about a model."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from saescope.options import check_fields, flag
from saescope.store.errors import OptionError

DType = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class LoadingOptions:
    """How a model is held."""

    revision: str | None = field(default=None, metadata=flag(metavar="REV", default="its main branch"))
    """Branch, tag or commit of a model on the hub."""
    dtype: DType = field(
        default="auto",
        metadata=flag(default="float32, on CUDA bfloat16 for weights in half precision"),
    )
    """Of the model's weights and arithmetic."""
    device: str = field(default="auto", metadata=flag(hidden=True))
    """'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:N'."""
    centred: bool = field(default=False, metadata=flag("--centred/--not-centred"))
    """Subtract from every position of the residual stream, and of what is written to it, its mean over the width, as
    TransformerLens does by default. Only for models whose norms subtract the mean anyway (LayerNorm, before attention
    and MLP), whose output it leaves as it is."""


@dataclass(frozen=True)
class ModelOptions(LoadingOptions):
    """Which model, and how it is held. Bad values raise `OptionError` here, before any file is touched."""

    name: str
    """A name on the Hugging Face hub, a local folder, a path to a .gguf file, or 'embedded:smollm2'."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", os.fspath(self.name))
        if not self.name:
            raise OptionError(
                "the model's name is empty", "give a hub name, a folder, a .gguf file or embedded:smollm2"
            )
        check_fields(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)
