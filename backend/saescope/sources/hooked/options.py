"""What a user can say about a model that reads the data, and about the activations at its hook."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, Self

from msgspec import Meta

from saescope.models.options import LoadingOptions, ModelOptions
from saescope.options import flag
from saescope.sources.images.options import ImageOptions
from saescope.sources.options import DataOptions
from saescope.store.errors import OptionError

Cache = Literal["auto", "on", "off"]
CacheDType = Literal["float32", "float16"]
SpecialPositions = Literal["out", "in"]
Head = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, kw_only=True)
class HookedOptions(LoadingOptions, DataOptions):
    """What texts and images through a model have in common."""

    model: str = field()
    """The model that reads the texts or images: a name on the Hugging Face hub, a local folder, a .gguf file, or
    `embedded:smollm2`."""
    hook: str = field(metadata=flag(metavar="HOOK"))
    """Where in the model: a TransformerLens name such as `blocks.15.hook_resid_post`, or a module path such as
    `model.layers.15`."""
    head: Head | None = field(default=None, metadata=flag(metavar="H"))
    """Read one attention head alone, from 0 on: at `attn.hook_q`, `hook_k`, `hook_v` or `hook_z`."""
    hook_out: str | None = field(default=None, metadata=flag(metavar="HOOK"))
    """Where the target of a transcoder comes from, named as `--hook`; both are read in the same forward pass."""
    exclude_norm: float | None = field(default=10.0, metadata=flag(metavar="R"))
    """Positions whose norm exceeds R times the median norm (attention sinks) count in no statistic or metric; 0 leaves
    none out."""
    cache: Cache = field(default="auto", metadata=flag(default="up to a limit"))
    """Whether a model's activations to train on are kept on disk; where not, they are computed as they are needed, in
    shuffled chunks."""
    cache_dtype: CacheDType = "float32"
    """Of activations on disk."""

    concern: ClassVar[str] = "models"
    missing: ClassVar[dict[str, tuple[str, str]]] = {
        "model": ("texts are given without a model", "add --model NAME and --hook HOOK"),
        "hook": ("a model is given without a hook point", "add --hook, e.g. --hook blocks.6.hook_resid_post"),
    }

    def _check(self) -> None:
        super()._check()
        if not self.model:
            raise OptionError(
                "the model's name is empty", "give a hub name, a folder, a .gguf file or embedded:smollm2"
            )
        if not self.hook:
            raise OptionError(*self.missing["hook"])
        if self.hook_out == "":
            raise OptionError(
                "the hook of the targets is empty", "give --hook-out, e.g. --hook-out blocks.6.hook_mlp_out"
            )
        if self.exclude_norm == 0:
            object.__setattr__(self, "exclude_norm", None)
        if self.exclude_norm is not None and not self.exclude_norm > 1:
            raise OptionError(
                f"exclude_norm is {self.exclude_norm:g}; expected more than 1 (times the median norm)",
                "0 leaves nothing out",
            )

    def on_device(self, device: str) -> Self:
        return replace(self, device=device)

    @property
    def model_options(self) -> ModelOptions:
        """Which model, and how it is held."""
        return ModelOptions(
            self.model, revision=self.revision, dtype=self.dtype, device=self.device, centred=self.centred
        )


@dataclass(frozen=True, kw_only=True)
class VisionOptions(HookedOptions, ImageOptions):
    """Images through a vision model: its positions are the model's."""

    special_positions: SpecialPositions = "out"
    """Whether positions that are no patch (CLS and register tokens) count in statistics and metrics."""

    kind: ClassVar[str] = "vision"
    chosen_by: ClassVar[str] = "model"
    called: ClassVar[str] = "the source is a model that looks at images"
    concern: ClassVar[str] = "models that look at images"
