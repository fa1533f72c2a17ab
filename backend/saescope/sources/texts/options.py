"""What a user can say about texts that a model reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from saescope.options import flag
from saescope.sources.hooked.options import HookedOptions
from saescope.store.errors import OptionError

Packing = Literal["pieces", "packed"]
Bos = Literal["auto", "yes", "no"]
Tokens = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True, kw_only=True)
class TextOptions(HookedOptions):
    """Texts through a model: a position is a token."""

    texts: str = field(metadata=flag(metavar="PATH"))
    """Parquet, Arrow, JSON Lines, CSV or plain text (compressed or not), a file or a folder of them; `hf:NAME` for a
    data set on the Hugging Face hub (with the package `datasets`); or `embedded:python`, Python's own documentation and
    library. Needs `--model` and `--hook`."""
    text_key: str | None = field(
        default=None, metadata=flag(default="one called text, content, ..., messages, ..., input_ids")
    )
    """Which column holds them (or conversations, or tokens made before)."""
    context: Tokens = 128
    """Positions of an item at most, tokens that are added at its ends included."""
    context_stride: Tokens | None = field(default=None, metadata=flag(default="no overlap"))
    """Tokens between the beginnings of neighbouring items. Where items overlap, a token counts once, in the item where
    more stands before it."""
    packing: Packing = "pieces"
    """`pieces`, where an item never spans two documents, or documents joined by end-of-text tokens and then cut."""
    max_tokens: Tokens | None = field(default=None, metadata=flag(default="all"))
    """Read documents of so many tokens only, chosen by a seeded hash (the last one is cut)."""
    bos: Bos = field(default="auto", metadata=flag(default="where the tokenizer has one"))
    """Whether items begin with the token for that."""
    exclude_tokens: str = field(default="special", metadata=flag(metavar="TOKENS"))
    """Tokens that count in no statistic or metric, separated by commas: `special` (all special tokens), `bos` (those
    added at an item's ends), `none`, tokens as the vocabulary writes them, or ids."""

    kind: ClassVar[str] = "texts"
    data: ClassVar[str] = "texts"
    called: ClassVar[str] = "the source is texts"
    concern: ClassVar[str] = "texts"

    def _check(self) -> None:
        super()._check()
        if self.context_stride is not None and self.context_stride > self.context:
            raise OptionError(
                f"context_stride {self.context_stride} exceeds the context of {self.context} tokens",
                "tokens between two items would be lost: choose at most the context",
            )
