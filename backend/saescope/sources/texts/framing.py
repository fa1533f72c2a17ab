"""What a tokenizer adds at the ends of an item, and which tokens do not count."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from saescope.sources.texts.options import Bos
from saescope.store.errors import OptionError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Frame:
    """Token ids that stand before and after the text of every item."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.before) + len(self.after)


def frame_of(tokenizer: PreTrainedTokenizerBase, bos: Bos) -> Frame:
    """What stands around the text of an item: BOS, or an encoder's [CLS] and [SEP].

    'auto' takes what the tokenizer itself adds before a text, or else its token for the beginning of a text, if it has
    one; 'yes' insists on one (`OptionError` where there is none); 'no' adds nothing.
    """
    if bos == "no":
        return Frame((), ())
    probe = "a"
    framed, bare = _ids(tokenizer, probe, True), _ids(tokenizer, probe, False)
    at = next((i for i in range(len(framed) - len(bare) + 1) if framed[i : i + len(bare)] == bare), None)
    before = () if at is None else tuple(framed[:at])
    after = () if at is None else tuple(framed[at + len(bare) :])
    if not before:
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
        before = () if first is None else (int(first),)
    if not before and bos == "yes":
        raise OptionError("the tokenizer has no token for the beginning of a text", "leave --bos out")
    # An end-of-text token after every piece would tell a decoder that its text ended there; encoders need their [SEP].
    if tokenizer.sep_token_id is None or after[-1:] != (tokenizer.sep_token_id,):
        after = ()
    return Frame(before, after)


def separator_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token between documents that are packed."""
    for token in (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id):
        if token is not None:
            return int(token)
    raise OptionError("the tokenizer has no end-of-text token to join documents by", "leave --packing out")


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of all special tokens."""
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | {int(number) for number in tokenizer.all_special_ids}


def excluded_tokens(
    tokenizer: PreTrainedTokenizerBase, wanted: str, frame: Frame, size: int
) -> Bool[np.ndarray, " token"]:
    """True at the ids that count in no statistic, of `size` ids; `wanted` as in `TextOptions.exclude_tokens`.

    Raises `OptionError` for a token that the vocabulary does not hold.
    """
    chosen = np.zeros(size, dtype=bool)
    words = [word for word in (w.strip() for w in wanted.split(",")) if word]
    if "none" in words and len(words) > 1:
        raise OptionError(f"exclude_tokens is {wanted!r}: none stands beside other tokens", "give none, or tokens")
    vocabulary = tokenizer.get_vocab()
    for word in words:
        if word == "none":
            continue
        if word == "special":
            chosen[[number for number in special_ids(tokenizer) if number < size]] = True
            chosen[[*frame.before, *frame.after]] = True
        elif word == "bos":
            chosen[[*frame.before, *frame.after]] = True
        elif word in vocabulary:
            chosen[vocabulary[word]] = True
        elif word.isdigit() and int(word) < size:
            chosen[int(word)] = True
        else:
            near = difflib.get_close_matches(word, [*vocabulary, "special", "bos", "none"], n=3, cutoff=0.6)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise OptionError(
                f"exclude_tokens: the vocabulary has no token {word!r}{meant}",
                "give special, bos, none, tokens as the vocabulary writes them, or ids",
            )
    return chosen


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of what decides how texts become tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        content: object = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    else:
        # Truncation and padding are set by whoever used the tokenizer last.
        content = {k: v for k, v in json.loads(backend.to_str()).items() if k not in ("truncation", "padding")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> Sequence[int]:
    return [int(i) for i in tokenizer(text, add_special_tokens=special)["input_ids"]]
