"""What a user can say about where activations come from."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from saescope.sources.toy.settings import ToySettings
from saescope.store.errors import UserError

ImageMode = Literal["grey", "colour"]
Layout = Literal["nhw", "nhwc", "nchw"]
Split = Literal["train", "test", "all"]
Purpose = Literal["train", "evaluate"]
Packing = Literal["pieces", "packed"]
Bos = Literal["auto", "yes", "no"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
Cache = Literal["auto", "on", "off"]
CacheDType = Literal["float32", "float16"]
SpecialPositions = Literal["out", "in"]
SourceKind = Literal["pixels", "activations", "texts", "vision", "toy"]

_DATA = ("images", "texts", "activations", "toy")
_OF_IMAGES = ("image_mode", "layout", "value_range", "label_key")
_OF_PIXELS = ("patch", "stride")
_OF_TEXTS = ("context", "context_stride", "packing", "text_key", "max_tokens", "bos", "exclude_tokens")
_OF_MODELS = ("hook", "head", "hook_out", "revision", "dtype", "centred", "exclude_norm", "cache", "cache_dtype")
_OF_VISION = ("special_positions",)
_CONCERNS: dict[SourceKind, tuple[tuple[str, ...], str]] = {
    "pixels": ((*_OF_TEXTS, *_OF_MODELS, *_OF_VISION, "targets"), "the source is pixels (there is no --model)"),
    "activations": (
        (*_OF_PIXELS, *_OF_IMAGES[:3], *_OF_TEXTS, *_OF_MODELS, *_OF_VISION),
        "the source is a file of activations",
    ),
    "texts": ((*_OF_PIXELS, *_OF_IMAGES, *_OF_VISION, "data_key", "targets"), "the source is texts"),
    "vision": ((*_OF_PIXELS, *_OF_TEXTS, "targets"), "the source is a model that looks at images"),
    "toy": (
        (*_OF_PIXELS, *_OF_IMAGES, *_OF_TEXTS, *_OF_MODELS, *_OF_VISION, "data_key", "model", "targets"),
        "the source is a toy",
    ),
}
"""Kind of source -> options that mean nothing for it, and what the kind is called."""


@dataclass(frozen=True)
class SourceOptions:
    """Which data, and how it becomes activations at positions.

    Exactly one of `images`, `texts`, `activations` and `toy` is given. Texts are read through a model's hook point,
    images too where a model is named. Bad combinations raise `UserError` here, before any file is touched.
    """

    images: str | None = None
    """IDX file, MNIST-style folder, .npy / .npz, picture, folder of pictures, Parquet, or 'embedded:NAME'."""
    texts: str | None = None
    """Parquet, Arrow, JSON Lines, CSV or plain text (a file or a folder), 'hf:NAME' (a Hugging Face data set), or
    'embedded:python' (Python's own documentation and library)."""
    activations: str | None = None
    """.npy, .npz, .safetensors, torch file, Parquet or Arrow with an array [item, d_in] or [item, position, d_in], or a
    folder of such shards."""
    toy: str | None = None
    """Sparse sums of known features, 'FEATURESxDIMENSIONS:p=P,...' (see `sources.toy_settings`)."""
    model: str | None = None
    """Name on the Hugging Face hub, local folder, .gguf file, or 'embedded:smollm2'."""
    hook: str | None = None
    """Where in the model: a TransformerLens name (blocks.15.hook_resid_post) or a module path (model.layers.15)."""
    head: int | None = None
    """The attention head that is read alone, at hook_q, hook_k, hook_v or hook_z, from 0 on; None: all of them."""
    hook_out: str | None = None
    """Where the targets of a transcoder come from in the same forward pass, named as `hook`; None: there are none."""
    targets: str | None = None
    """Of cached activations: another file, as `activations`, with a target for each item (and position)."""
    patch: int | None = None
    """Side of square patches in pixels; None: a whole image is one position."""
    stride: int | None = None
    """Pixels between neighbouring patches; None: `patch`, so that they tile the image."""
    image_mode: ImageMode | None = None
    """Convert to one channel ('grey', by ITU-R 601 luma) or three ('colour'); None: as the data."""
    split: Split | None = None
    """Of data with a train and a test split; None: by the purpose (train, or test to evaluate and build)."""
    layout: Layout | None = None
    """Axes of an array of images; None: told by where an axis of length 1 or 3 stands."""
    value_range: tuple[float, float] | None = None
    """Pixel values (low, high) of an array that stand for 0 and 1; None: 0..255 for integers, floats as they are."""
    data_key: str | None = None
    """Array of an .npz, tensor of a .safetensors or column of a Parquet file to read; None: the one that fits."""
    label_key: str | None = None
    """Array of an .npz or column of a Parquet file with the labels; None: one called label, y, ..., if any."""
    text_key: str | None = None
    """Column of texts, conversations or tokens; None: one called text, content, ..., messages, ..., input_ids, ..., or
    the only one that holds conversations, or strings."""
    context: int = 128
    """Positions of an item at most, tokens that are added at its ends included."""
    context_stride: int | None = None
    """Tokens between the beginnings of neighbouring items; None: no overlap. Where items overlap, a token is evaluated
    once, in the item where more stands before it."""
    packing: Packing = "pieces"
    """'pieces': an item never spans two documents. 'packed': documents are joined by end-of-text tokens, then cut."""
    max_tokens: int | None = None
    """Documents are chosen by a seeded hash until they hold so many tokens (the last one is cut); None: all."""
    bos: Bos = "auto"
    """Whether items begin with the tokenizer's token for that ('auto': where it has one)."""
    exclude_tokens: str = "special"
    """Tokens that are left out of statistics and metrics, separated by commas: 'special' (all special tokens), 'bos'
    (what is added at an item's ends), 'none', tokens as the vocabulary writes them, or their ids."""
    exclude_norm: float | None = 10.0
    """Positions whose activation's norm exceeds so many times the median norm are left out (attention sinks); None
    or 0: none are."""
    special_positions: SpecialPositions = "out"
    """Of a vision model: whether its positions that are no patch (CLS and register tokens) count."""
    revision: str | None = None
    """Branch, tag or commit of a hub model; None: its main branch."""
    dtype: DType = "auto"
    """Of the model's weights and arithmetic. 'auto': float32 on a CPU; on CUDA bfloat16 where the weights are stored in
    half precision."""
    centred: bool = False
    """Subtract the residual stream's mean over its width, as TransformerLens does (LayerNorm models)."""
    device: str = "auto"
    """Where the model runs: 'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:N'."""
    cache: Cache = "auto"
    """Whether activations to train on are kept on disk. 'auto': up to a limit; 'off': computed anew as they are
    needed, in shuffled chunks."""
    cache_dtype: CacheDType = "float32"
    """Of activations on disk."""

    def __post_init__(self) -> None:
        for name in ("images", "texts", "activations", "toy", "model", "targets"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, os.fspath(value))
        if self.value_range is not None:
            low, high = self.value_range
            object.__setattr__(self, "value_range", (float(low), float(high)))
        self._check_data()
        if self.toy is not None:
            ToySettings.parse(self.toy)
        self._check_patches()
        self._check_words()
        self._check_contexts()

    def _check_data(self) -> None:
        given = [name for name in _DATA if getattr(self, name) is not None]
        if len(given) > 1:
            both = "both " if len(given) == 2 else ""
            raise UserError(f"{both}{' and '.join(given)} are given; a source reads one of them")
        if not given:
            raise UserError(
                "no source is given",
                "name one: --images PATH (or embedded:digits, embedded:photos), --texts PATH (or embedded:python) "
                "with --model and --hook, --activations PATH, or --toy 256x64:p=0.02",
            )
        if not self.path:
            raise UserError("the path of the source is empty", "name a file or folder, or embedded:digits")
        if self.activations is not None and self.model is not None:
            raise UserError(
                "activations and a model are given; cached activations need no model", "leave --model out, or --texts"
            )
        if self.texts is not None and self.model is None:
            raise UserError("texts are given without a model", "add --model NAME and --hook HOOK")
        if self.model is not None and not self.model:
            raise UserError("the model's name is empty", "give a hub name, a folder, a .gguf file or embedded:smollm2")
        if self.model is not None and not self.hook:
            raise UserError("a model is given without a hook point", "add --hook, e.g. --hook blocks.6.hook_resid_post")
        if self.hook_out is not None and self.hook is not None and not self.hook_out:
            raise UserError(
                "the hook of the targets is empty", "give --hook-out, e.g. --hook-out blocks.6.hook_mlp_out"
            )
        if self.head is not None and not (_is_count(self.head) or self.head == 0):
            raise UserError(f"head is {self.head!r}; expected the number of an attention head, from 0 on")
        foreign, called = _CONCERNS[self.kind]
        defaults = {f.name: f.default for f in fields(self)}
        for name in foreign:
            if getattr(self, name) != defaults[name]:
                raise UserError(f"{name} is given, but it {_concern(name)} and {called}", "leave it out")

    def _check_patches(self) -> None:
        if self.stride is not None and self.patch is None:
            raise UserError(f"stride {self.stride} is given without a patch size", "add --patch P, the patch's side")
        for name in ("patch", "stride"):
            value = getattr(self, name)
            if value is not None and not _is_count(value):
                raise UserError(f"{name} is {value!r}; expected a whole number of pixels, at least 1")

    def _check_words(self) -> None:
        for name, allowed in (
            ("image_mode", get_args(ImageMode)),
            ("split", get_args(Split)),
            ("layout", get_args(Layout)),
            ("packing", get_args(Packing)),
            ("bos", get_args(Bos)),
            ("dtype", get_args(DType)),
            ("special_positions", get_args(SpecialPositions)),
            ("cache", get_args(Cache)),
            ("cache_dtype", get_args(CacheDType)),
        ):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise UserError(f"unknown {name} {value!r}; expected one of: {', '.join(allowed)}")
        if self.value_range is not None:
            low, high = self.value_range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise UserError(f"value_range is ({low:g}, {high:g}); expected finite numbers, the lower one first")

    def _check_contexts(self) -> None:
        for name in ("context", "context_stride", "max_tokens"):
            value = getattr(self, name)
            if not ((value is None and name != "context") or _is_count(value)):
                raise UserError(f"{name} is {value!r}; expected a whole number of tokens, at least 1")
        if self.context_stride is not None and self.context_stride > self.context:
            raise UserError(
                f"context_stride {self.context_stride} exceeds the context of {self.context} tokens",
                "tokens between two items would be lost: choose at most the context",
            )
        norm = self.exclude_norm
        if norm is not None and not (math.isfinite(norm) and (norm == 0 or norm > 1)):
            raise UserError(
                f"exclude_norm is {norm:g}; expected more than 1 (times the median norm)", "0 leaves nothing out"
            )
        if norm == 0:
            object.__setattr__(self, "exclude_norm", None)

    @property
    def kind(self) -> SourceKind:
        """What yields the activations."""
        if self.toy is not None:
            return "toy"
        if self.activations is not None:
            return "activations"
        if self.texts is not None:
            return "texts"
        return "pixels" if self.model is None else "vision"

    @property
    def path(self) -> str:
        """The data's path (a toy source's settings), as given."""
        path: str | None = next((p for p in (getattr(self, name) for name in _DATA) if p is not None), None)
        assert path is not None
        return path

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)


def _concern(name: str) -> str:
    if name in _OF_TEXTS:
        return "concerns texts"
    if name == "data_key":
        return "concerns arrays"
    if name == "targets":
        return "belongs to --activations"
    if name == "model":
        return "reads texts or images"
    if name in _OF_VISION:
        return "concerns models that look at images"
    return "concerns models" if name in _OF_MODELS else "concerns images"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
