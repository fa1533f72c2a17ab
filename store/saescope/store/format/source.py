"""Where the activations of an entry come from: a frozen class per kind of source, written to the manifest's `source`.

A description has typed attributes, and is the dictionary of the JSON that it stands for: `source.patch`,
`source["patch"]`, `json.dumps(source)`. A new kind is a subclass that gives `kind` a default; a kind without a class is
read as a `SourceDescription`, whose further keys are all in `further`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, ClassVar

import msgspec

from saescope.store.errors import StoreFaults
from saescope.store.format.expectation import MOST
from saescope.store.format.fields import NOT_IN_FILE, Count, field_faults, field_types, shown
from saescope.store.format.table_columns import TableColumn

Pixels = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Shape = tuple[Pixels, Pixels, Pixels]
"""Height, width, channels."""


_LEFT_OUT = {"left_out": True}
"""Of a field whose key is not written where it is None."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceDescription(dict[str, Any]):
    """What every kind of source tells."""

    kind: str = ""
    path: str | None = None
    """File, folder or name of the data, as given (a toy's settings)."""
    format: str | None = None
    """How the data was read: idx, npy, parquet, jsonl, ..."""
    data_sha256: str | None = None
    """Hash of the items, whatever file they came from."""
    split: str | None = None
    """train, test, ..., or all; null where the data has none and none was asked for."""
    n_items: Count | None = None
    n_positions: Count | None = None
    """Positions that count, before any is left out for its norm."""
    positions_per_item: Count | None = None
    """At most."""
    d_in: Count | None = None
    """Width of an activation."""
    excluded: dict[str, int] | int = field(default_factory=dict)
    """Reason in words -> positions that do not count."""
    label_words: dict[str, str] = field(default_factory=dict)
    """Metadata column -> what its values are called before people: {"label": "digit"}."""
    only_labels: str | None = field(default=None, metadata=_LEFT_OUT)
    """Labels whose items alone were read."""
    without_labels: str | None = field(default=None, metadata=_LEFT_OUT)
    """Labels whose items were not read."""
    further: dict[str, Any] = field(default_factory=dict, metadata=NOT_IN_FILE)
    """Keys that this class does not know, kept as they are."""

    nulls: ClassVar[tuple[str, ...]] = ()
    """Keys that are written as null: what other kinds say of themselves, and readers look for."""

    def __init_subclass__(cls) -> None:
        kind = cls.__dict__.get("kind")
        if kind:
            KINDS[kind] = cls

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "further" and not (value is None and "left_out" in f.metadata):
                self[f.name] = _json_ready(value)
        self.update(dict.fromkeys(self.nulls), **self.further)


KINDS: dict[str, type[SourceDescription]] = {}
"""Kind -> class."""
_OF_PICTURES = ("input_shape", "image_mode", "patch", "stride", "grid")


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelDescription(SourceDescription):
    """Whole images: a position is an image."""

    kind: str = "pixels"
    input_shape: Shape
    """Of an item: height, width, channels."""
    image_mode: str | None = None
    """grey or colour."""
    value_range: tuple[float, float] = (0.0, 1.0)
    """Raw values that are shown as black and white."""
    stored_range: tuple[float, float] | None = None
    """Values of the data that stand for 0 and 1; null where they are taken as they are."""
    n_files: Count | None = field(default=None, metadata=_LEFT_OUT)
    """Files of pictures, where several pages of them are items."""
    pair: str | None = field(default=None, metadata=_LEFT_OUT)
    """Path of a second capture of the same items, where one was trained on too."""
    pair_sha256: str | None = field(default=None, metadata=_LEFT_OUT)
    """Hash of its items."""

    nulls: ClassVar[tuple[str, ...]] = ("patch", "stride", "grid")


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchDescription(PixelDescription):
    """Square patches of images: a position is a patch, row by row over the grid."""

    kind: str = "patches"
    patch: Pixels
    """Side of a patch in pixels."""
    stride: Pixels
    """Pixels between neighbouring patches."""
    grid: tuple[Pixels, Pixels]
    """Rows and columns of patches."""
    uncovered: tuple[Count, Count] | None = None
    """Rows and columns of pixels at the lower and right edge that no patch covers."""

    nulls: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ActivationDescription(SourceDescription):
    """Cached activations."""

    kind: str = "activations"
    n_shards: Count | None = field(default=None, metadata=_LEFT_OUT)
    """Files of a folder that are read as one."""
    d_target: Count | None = field(default=None, metadata=_LEFT_OUT)
    """Width of a transcoder's target."""
    targets: str | None = field(default=None, metadata=_LEFT_OUT)
    """The file with the targets."""
    targets_sha256: str | None = field(default=None, metadata=_LEFT_OUT)
    value_range: tuple[float, float] | None = None
    """Smallest and largest value."""

    nulls: ClassVar[tuple[str, ...]] = _OF_PICTURES


@dataclass(frozen=True, kw_only=True, eq=False)
class TableDescription(SourceDescription):
    """Rows of a table: a position is a row, a dimension a number, a category or whether a value is missing."""

    kind: str = "table"
    columns: tuple[TableColumn, ...] = ()
    """The columns that are inputs, in order, each with what its values were encoded by."""
    scale_columns: str = "standard"
    """standard, robust or none."""
    fitted_on: str | None = None
    """Rows that `columns` were fitted on, in words."""
    missing: dict[str, int] = field(default_factory=dict)
    """Column -> values that are missing in the rows that were read."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Column -> values in the rows that were read that are none of its categories."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Column that is no input -> why."""

    nulls: ClassVar[tuple[str, ...]] = _OF_PICTURES

    @property
    def dimensions(self) -> list[str]:
        """What each dimension of an activation is called."""
        return [name for column in self.columns for name in column.dimensions]


@dataclass(frozen=True, kw_only=True, eq=False)
class ToyDescription(SourceDescription):
    """Sparse sums of known features."""

    kind: str = "toy"
    toy: dict[str, Any] = field(default_factory=dict)
    """The settings that every row follows from."""

    nulls: ClassVar[tuple[str, ...]] = _OF_PICTURES


@dataclass(frozen=True, kw_only=True)
class ExcludedNorm:
    """Positions with a norm above `threshold` do not count."""

    times_median: float | None = None
    median: float | None = None
    threshold: float
    """`times_median` times `median`."""
    n_measured: int | None = None
    """Positions behind the median."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HookedDescription(SourceDescription):
    """What a model that reads the items adds."""

    model: str = ""
    """Name or path, as given."""
    revision: str | None = None
    model_class: str | None = None
    """In transformers."""
    model_kind: str | None = None
    """causal, encoder or vision."""
    dtype: str | None = None
    """Of weights and arithmetic, as given."""
    device: str | None = None
    centred: bool = False
    """Whether the residual stream's mean was subtracted."""
    fingerprint: str | None = None
    """Hash over a part of each weight."""
    n_layers: int | None = None
    d_model: int | None = None
    transformers: str | None = None
    """Version of the library."""
    without_logits: str | None = field(default=None, metadata=_LEFT_OUT)
    """Why a model of images and texts gives no logits for texts."""
    hook: str = ""
    """Where in the model, as given."""
    hook_module: str | None = None
    hook_side: str | None = None
    """input or output of the module."""
    layer: int | None = None
    head: Count | None = field(default=None, metadata=_LEFT_OUT)
    """The attention head that is read alone."""
    d_target: Count | None = field(default=None, metadata=_LEFT_OUT)
    """Width of a transcoder's target; it comes from the place that the next four name."""
    hook_out: str | None = field(default=None, metadata=_LEFT_OUT)
    hook_out_module: str | None = field(default=None, metadata=_LEFT_OUT)
    hook_out_side: str | None = field(default=None, metadata=_LEFT_OUT)
    layer_out: int | None = field(default=None, metadata=_LEFT_OUT)
    excluded_norm: ExcludedNorm | None = None
    activation_dtype: str | None = None
    """float16 where activations were rounded to it."""
    activations_key: str | None = None
    """Hash of all that decides the activations and which of them count."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextDescription(HookedDescription):
    """Texts through a language model or encoder: a position is a token."""

    kind: str = "tokens"
    text_column: str | None = field(default=None, metadata=_LEFT_OUT)
    """Column that the documents were read from, where the data has columns."""
    text_form: str | None = field(default=None, metadata=_LEFT_OUT)
    """What that column holds in the place of texts: turns (conversations) or tokens."""
    corpus_sha256: str | None = None
    """Hash of all documents of the data, whichever were read."""
    n_documents: Count | None = None
    n_empty_documents: Count | None = None
    n_tokens: Count | None = None
    max_tokens: int | None = None
    context: Count | None = None
    """Positions of an item at most."""
    context_stride: Count | None = None
    packing: str | None = None
    """pieces or packed."""
    bos: list[str] | str = field(default_factory=list)
    """Tokens added at the beginning of every item."""
    eos: list[str] | str = field(default_factory=list)
    """Tokens added at its end."""
    exclude_tokens: str = "special"
    """Tokens that do not count, as given."""
    tokenizer_sha256: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class VisionDescription(HookedDescription):
    """Pictures through a vision model: a position is one of the model's patches, a class token or a register."""

    kind: str = "vision"
    stored_shape: Shape | None = None
    """Of the data's images; null where their sizes differ."""
    n_files: Count | None = field(default=None, metadata=_LEFT_OUT)
    """Files of pictures, where several pages of them are items."""
    input_shape: Shape
    """Of a picture as the model sees it: height, width, channels."""
    image_mode: str | None = None
    value_range: tuple[float, float] = (0.0, 1.0)
    patch: Pixels
    """Side of the model's patches in pixels."""
    stride: Pixels
    grid: tuple[Pixels, Pixels]
    """Rows and columns of patches."""
    prefix_positions: Count = 0
    """Positions before the patches: class token, registers."""
    special_positions: str | None = None
    """in or out: whether those count."""


def read_source(content: Mapping[str, Any]) -> SourceDescription:
    """The description that a manifest's `source` stands for. Raises `StoreFaults` with all that is wrong in it."""
    faults = source_faults(content)
    if faults:
        raise StoreFaults("source", faults, "restore the manifest or build the entry again")
    cls = _class_of(content)
    types = field_types(cls)
    values = {name: msgspec.convert(value, types[name]) for name, value in content.items() if name in types}
    return cls(**values, further={k: v for k, v in content.items() if k not in types and k not in cls.nulls})


def source_faults(content: Mapping[str, Any]) -> list[str]:
    """What is wrong in a manifest's `source`: a field of another type, or one that its kind needs and lacks."""
    if not isinstance(content.get("kind", ""), str):
        return [f"kind is {shown(content['kind'])}, expected text"]
    return field_faults(_class_of(content), content)


def _class_of(content: Mapping[str, Any]) -> type[SourceDescription]:
    return KINDS.get(content.get("kind", ""), SourceDescription)


def _json_ready(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json_ready(each) for each in value]
    if isinstance(value, TableColumn):
        return value.to_dict()
    return asdict(value) if isinstance(value, ExcludedNorm) else value
