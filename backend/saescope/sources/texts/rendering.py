"""Documents that are not texts, for one tokenizer: conversations through its chat template, and tokens made before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64, UInt32

from saescope.sources.texts.columns import TextColumn
from saescope.sources.texts.documents import Turn
from saescope.sources.texts.framing import Frame
from saescope.store.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Rendering:
    """How the column of a corpus becomes tokens. What the frame adds to every item is taken away at a document's ends.

    Raises `DataError` where conversations are given and the tokenizer has no chat template.
    """

    def __init__(self, column: TextColumn, tokenizer: PreTrainedTokenizerBase, frame: Frame, subject: str) -> None:
        self._column, self._frame, self._subject = column, frame, subject
        self._tokenizer: Any = tokenizer
        self._n_tokens = max([len(tokenizer) - 1, *tokenizer.get_vocab().values()]) + 1
        self.refused: dict[str, int] = {}
        """Why the template refuses conversations -> how many of them; they are passed over."""
        if column.form == "turns" and not getattr(tokenizer, "chat_template", None):
            raise DataError(
                f"{subject}: column {column.name!r} holds conversations; the model's tokenizer has no chat template",
                "name a column of texts with --text-key, or use the model that was tuned on conversations",
            )

    @property
    def key(self) -> list[object]:
        """What of this decides the tokens, JSON-ready."""
        template = self._tokenizer.chat_template if self._column.form == "turns" else None
        sha256 = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()
        return [self._column.form, sha256, self._frame.before, self._frame.after]

    def text(self, turns: Sequence[Turn], document: int) -> str:
        """A conversation as the model was tuned to read it; empty where the template refuses it."""
        if not turns:
            return ""
        try:
            text = str(self._tokenizer.apply_chat_template([dict(turn) for turn in turns], tokenize=False))
        except Exception as error:  # templates are programs of their own, and raise what they like
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.refused[reason] = self.refused.get(reason, 0) + 1
            return ""
        for token in self._frame.before:
            text = text.removeprefix(self._tokenizer.convert_ids_to_tokens(token))
        return text

    def checked(self, ids: Int64[np.ndarray, " given"], document: int) -> UInt32[np.ndarray, " token"]:
        """Tokens of a document. `DataError` where the tokenizer has not all of them."""
        if ids.size and not 0 <= ids.min() <= ids.max() < self._n_tokens:
            worst = int(ids.max() if ids.max() >= self._n_tokens else ids.min())
            raise DataError(
                f"{self._subject}: column {self._column.name!r} holds token {worst:,} (document {document}), but the "
                f"model's tokenizer has {self._n_tokens:,}",
                "these tokens are another tokenizer's: use its model, or name a column of texts with --text-key",
            )
        before, after = self._frame.before, self._frame.after
        if before and tuple(ids[: len(before)].tolist()) == before:
            ids = ids[len(before) :]
        if after and tuple(ids[-len(after) :].tolist()) == after:
            ids = ids[: -len(after)]
        return ids.astype(np.uint32)

    def notes(self) -> list[str]:
        """What was passed over."""
        return [
            f"{n:,} conversations are passed over: the chat template says {why!r}" for why, n in self.refused.items()
        ]
