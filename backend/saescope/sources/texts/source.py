"""Texts through a model's hook point: a position is a token."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from saescope.models import HookedModel
from saescope.progress import SILENT, Progress
from saescope.sources.hooked.source import HookedSource
from saescope.sources.options import Split
from saescope.sources.texts.columns import TextColumn
from saescope.sources.texts.corpus import Corpus
from saescope.sources.texts.framing import Frame, excluded_tokens, tokenizer_sha256
from saescope.sources.texts.items import cut_into_items
from saescope.sources.texts.options import TextOptions
from saescope.sources.texts.vocabulary import token_texts
from saescope.store.errors import CheckpointError, OptionError
from saescope.store.format.source import TextDescription

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NAMED = 5
_STRETCHES = 64
"""Equal parts of a corpus that is one document, to be held out whole."""


class HookedTexts(HookedSource):
    """A corpus's items, read by a model."""

    kind = "tokens"
    _options: TextOptions

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: PreTrainedTokenizerBase,
        frame: Frame,
        hooked: HookedModel,
        options: TextOptions,
        *,
        split: Split | None,
        format: str,
        column: TextColumn | None = None,
        progress: Progress = SILENT,
    ) -> None:
        super().__init__(hooked, options, progress)
        self._corpus, self._tokenizer, self._split, self._format = corpus, tokenizer, split, format
        self._column = column
        content = options.context - frame.size
        if content < 1:
            raise OptionError(
                f"a context of {options.context} tokens leaves no room beside the {frame.size} that are added",
                f"give a --context of at least {frame.size + 1}",
            )
        self._stride = min(options.context_stride or content, content)
        self._items = cut_into_items(corpus.tokens, corpus.starts, frame, content, self._stride, options.packing)
        size = max(len(corpus.counts), _embeddings(hooked))
        self._excluded = excluded_tokens(tokenizer, options.exclude_tokens, frame, size)
        _check_tokens(hooked, corpus, frame)

    @property
    def n_items(self) -> int:
        return self._items.n_items

    @property
    def positions_per_item(self) -> int:
        return self._options.context

    @property
    def data_sha256(self) -> str:
        return self._corpus.data_sha256

    @property
    def n_evaluated(self) -> int:
        added = sum(not self._excluded[token] for token in (*self._frame.before, *self._frame.after))
        left_out = int(self._corpus.counts[self._excluded[: len(self._corpus.counts)]].sum())
        return self._corpus.n_tokens - left_out + added * self.n_items

    @property
    def groups(self) -> Int64[np.ndarray, " n_items"]:
        """The document of each item; of a corpus that is one document, the stretch of it in which the item begins."""
        if self._corpus.about["n_read"] == 1:
            return self._items.first * _STRETCHES // self._corpus.n_tokens
        return self._document_ids[self._items.document]

    @cached_property
    def vocabulary(self) -> list[str]:
        return token_texts(self._tokenizer, len(self._excluded))

    def lengths(self, items: Int64[np.ndarray, " item"]) -> Int64[np.ndarray, " item"]:
        return self._items.lengths(items)

    def evaluated(self, items: Int64[np.ndarray, " item"]) -> Bool[np.ndarray, "item position"]:
        return self.contexts(items)[2]

    def forward(self, items: Int64[np.ndarray, " item"]) -> Float[Tensor, "item position width"]:
        ids, real, _ = self.contexts(items)
        return self._activations(torch.from_numpy(ids), None if real.all() else torch.from_numpy(real))

    def contexts(
        self, items: Int64[np.ndarray, " item"]
    ) -> tuple[
        Int64[np.ndarray, "item position"], Bool[np.ndarray, "item position"], Bool[np.ndarray, "item position"]
    ]:
        return self._items.contexts(np.asarray(items, dtype=np.int64), self._excluded)

    def token_ids(
        self, items: Int64[np.ndarray, " row"], positions: Int64[np.ndarray, " row"]
    ) -> Int32[np.ndarray, " row"]:
        return self._items.token_ids(np.asarray(items), np.asarray(positions))

    def item_table(self, item_ids: Int64[np.ndarray, " item"]) -> pa.Table:
        ids = np.asarray(item_ids, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.n_items):
            raise OptionError(f"item_id outside 0 ... {self.n_items - 1}: {ids.min()} ... {ids.max()}")
        lengths = self.lengths(ids)
        ends = np.cumsum(lengths)
        positions = np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths)
        tokens = self._items.token_ids(np.repeat(ids, lengths), positions)
        offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
        used, place = np.unique(tokens, return_inverse=True)
        texts = pa.array([self.vocabulary[token] for token in used], pa.string()).take(pa.array(place))
        documents = self._items.document[ids]
        columns: dict[str, Any] = {
            "item_id": pa.array(ids),
            "token_ids": pa.ListArray.from_arrays(offsets, pa.array(tokens)),
            "tokens": pa.ListArray.from_arrays(offsets, texts),
            "context_start": pa.array(self._items.offset[ids], pa.int32()),
        }
        taken = pa.array(documents)
        for name in self._documents.column_names:
            columns[name] = self._documents[name].take(taken).combine_chunks()
        return pa.table(columns)

    def metadata(self) -> Mapping[str, Any]:
        taken = pa.array(self._items.document)
        return {
            name: self._documents[name].combine_chunks().dictionary_encode().take(taken)
            for name in self._documents.column_names
            if name != "document_id" and not pa.types.is_floating(self._documents[name].type)
        }

    def inputs(self) -> dict[str, Any]:
        frame = self._frame
        return {
            "tokenizer": self._tokenizer_sha256,
            "before": frame.before,
            "after": frame.after,
            "context": self._options.context,
            "context_stride": self._stride,
            "packing": self._options.packing,
            "excluded": np.flatnonzero(self._excluded).tolist(),
        }

    def describe(self) -> TextDescription:
        frame = self._frame
        return TextDescription(
            **self._about(),
            format=self._format,
            text_column=None if self._column is None else self._column.name,
            text_form=None if self._column is None or self._column.form == "text" else self._column.form,
            split=self._split,
            corpus_sha256=self._corpus.about["corpus_sha256"],
            n_documents=self._corpus.n_documents,
            n_empty_documents=self._corpus.about["n_empty"],
            n_tokens=self._corpus.n_tokens,
            max_tokens=self._options.max_tokens,
            context=self._options.context,
            context_stride=self._stride,
            packing=self._options.packing,
            bos=[self.vocabulary[token] for token in frame.before],
            eos=[self.vocabulary[token] for token in frame.after],
            exclude_tokens=self._options.exclude_tokens,
            excluded=self._left_out(),
            tokenizer_sha256=self._tokenizer_sha256,
        )

    def _left_out(self) -> dict[str, int]:
        """Positions that count nowhere, by reason in words."""
        frame, reasons = self._frame, {}
        added = [token for token in (*frame.before, *frame.after) if self._excluded[token]]
        if added:
            names = " and ".join(dict.fromkeys(self.vocabulary[token] for token in added))
            reasons[f"{names} added to every item"] = len(added) * self.n_items
        found = np.flatnonzero(self._excluded[: len(self._corpus.counts)] & (self._corpus.counts > 0))
        if len(found):
            names = ", ".join(self.vocabulary[token] for token in found[:_NAMED])
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            reasons[f"{names}{more} in the texts"] = int(self._corpus.counts[found].sum())
        overlap = int(self._items.overlap.sum())
        if overlap:
            reasons["beginnings of items that an earlier item counts"] = overlap
        return reasons

    @property
    def _frame(self) -> Frame:
        return self._items.frame

    @cached_property
    def _documents(self) -> pa.Table:
        return self._corpus.documents()

    @cached_property
    def _document_ids(self) -> Int64[np.ndarray, " document"]:
        return self._documents["document_id"].to_numpy()

    @cached_property
    def _tokenizer_sha256(self) -> str:
        return tokenizer_sha256(self._tokenizer)


def _embeddings(hooked: HookedModel) -> int:
    """Rows of the model's token embeddings."""
    return int(hooked.loaded.model.get_input_embeddings().weight.shape[0])


def _check_tokens(hooked: HookedModel, corpus: Corpus, frame: Frame) -> None:
    """`UserError` where the model has not all tokens of these items."""
    rows = _embeddings(hooked)
    largest = int(max(np.flatnonzero(corpus.counts).max(), *frame.before, *frame.after, 0))
    if largest >= rows:
        raise CheckpointError(
            f"the tokenizer gives token {largest}, but model {hooked.loaded.options.name} has {rows:,} tokens",
            "the tokenizer belongs to another model: check the files of the model's folder",
        )


def check_context(hooked: HookedModel, context: int) -> None:
    """`UserError` where a context is longer than the model takes."""
    longest = longest_context(hooked)
    if longest is not None and context > longest:
        raise OptionError(
            f"a context of {context} tokens is longer than the {longest} that model {hooked.loaded.options.name} takes",
            f"give a --context of at most {longest}",
        )


def longest_context(hooked: HookedModel) -> int | None:
    """Positions that the model takes; None where nothing limits them."""
    config = hooked.loaded.config
    limit = getattr(config, "max_position_embeddings", None)
    if not limit or limit < 1:
        return None
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet", "longformer"):
        limit -= int(config.pad_token_id or 0) + 1  # these count positions from there on
    return int(limit)
