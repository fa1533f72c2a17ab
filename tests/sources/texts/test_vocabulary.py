"""Tokens as people read them, and what stands around items."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from saescope.sources.texts.framing import Frame, excluded_tokens, frame_of, separator_of, tokenizer_sha256
from saescope.sources.texts.vocabulary import token_texts
from saescope.store.errors import UserError
from tests.sources.texts.small_model import BEGIN, END, byte_level, texts


def sentence_piece(bos: bool = True) -> PreTrainedTokenizerFast:
    """Llama's kind: pieces with ▁, and bytes for what has no piece."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "▁▁", "ä", "日"]
    tokenizer = Tokenizer(
        models.BPE({p: i for i, p in enumerate(pieces)}, [("▁", "a")], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    named = {"unk_token": "<unk>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named, **({"bos_token": "<s>"} if bos else {}))


def word_piece() -> PreTrainedTokenizerFast:
    """BERT's kind."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "walk", "##ing", "##ed", ".", "the"]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )


def test_byte_level_pieces() -> None:
    tokenizer = byte_level(600)
    vocabulary = token_texts(tokenizer)
    assert len(vocabulary) == len(tokenizer)
    numbers = {text: number for number, text in enumerate(vocabulary)}
    assert {" the", "\n", "\t", "\0", "a", END, BEGIN, "<0xC3>", "<0xFF>"} <= numbers.keys()
    for text in ["Grüße 日本 👍🏽\r\n\ttab", texts()[3]]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        parts = b"".join(
            bytes([int(t[3:5], 16)]) if t.startswith("<0x") else t.encode() for t in (vocabulary[i] for i in ids)
        )
        assert parts.decode() == text


def test_pieces_of_several_bytes_keep_whole_characters_and_show_the_others() -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    more = ["ä½", "ä½ł", "ł", "Ġä½łb"]  # E4 BD, E4 BD A0 (你), A0, space 你 b
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate([*alphabet, *(m for m in more if len(m) > 1)])}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    wrapped.add_tokens([AddedToken("äöü", special=False)])
    vocabulary = token_texts(wrapped)
    assert vocabulary[256:] == ["<0xE4><0xBD>", "你", " 你b", "äöü"]


def test_sentence_pieces() -> None:
    vocabulary = token_texts(sentence_piece(), 270)
    assert vocabulary[:3] == ["<unk>", "<s>", "</s>"]
    assert vocabulary[3 + 0x0A] == "\n"
    assert vocabulary[3 + 0xE4] == "<0xE4>"
    assert vocabulary[259:] == [" ", "a", " a", "  ", "ä", "日", *(f"<unused {i}>" for i in range(265, 270))]


def test_word_pieces() -> None:
    vocabulary = token_texts(word_piece())
    assert vocabulary == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", " walk", "ing", "ed", " .", " the"]


def test_what_stands_around_items() -> None:
    plain = byte_level()
    begin = plain.convert_tokens_to_ids(BEGIN)
    assert frame_of(plain, "auto") == frame_of(plain, "yes") == Frame((begin,), ())
    assert frame_of(plain, "no") == Frame((), ())
    without = byte_level(bos=False)
    assert frame_of(without, "auto") == Frame((), ())
    with pytest.raises(UserError, match="no token for the beginning"):
        frame_of(without, "yes")
    assert frame_of(sentence_piece(), "auto") == Frame((1,), ())
    assert frame_of(word_piece(), "auto") == Frame((2,), (3,))
    assert frame_of(word_piece(), "no") == Frame((), ())
    assert separator_of(plain) == plain.eos_token_id
    assert separator_of(word_piece()) == 3


def test_tokens_that_do_not_count() -> None:
    tokenizer = word_piece()
    frame = frame_of(tokenizer, "auto")

    def chosen(words: str) -> list[int]:
        return np.flatnonzero(excluded_tokens(tokenizer, words, frame, 12)).tolist()

    assert chosen("special") == [0, 1, 2, 3, 4]
    assert chosen("bos") == [2, 3]
    assert chosen("none") == []
    assert chosen("bos, ##ing,8") == [2, 3, 6, 8]
    with pytest.raises(UserError, match=r"no token '#ing'; did you mean ##ing\?"):
        chosen("#ing")
    with pytest.raises(UserError, match="no token '12'"):
        chosen("12")
    with pytest.raises(UserError, match="none stands beside other tokens"):
        chosen("none,bos")


def test_a_tokenizers_hash_is_of_what_it_does() -> None:
    first, second, other = byte_level(), byte_level(), byte_level(380)
    second("a text", truncation=True, max_length=1)
    assert tokenizer_sha256(first) == tokenizer_sha256(second) != tokenizer_sha256(other)
