"""A small random Llama with a tokenizer trained on Python's own documentation, saved to a folder like any model."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END, BEGIN = "<|endoftext|>", "<|begin|>"


def texts(n: int = 40) -> list[str]:
    """Topics of the language reference: real texts of 100 to 5,000 characters."""
    from pydoc_data.topics import topics

    return [text for _, text in sorted(topics.items()) if 100 <= len(text) <= 5000][:n]


def byte_level(size: int = 400, bos: bool = True) -> PreTrainedTokenizerFast:
    """GPT-2's kind of tokenizer: byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END, BEGIN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    begin = {"bos_token": BEGIN} if bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, **begin)


def save_model(
    folder: Path, tokenizer: PreTrainedTokenizerFast | None = None, n_layers: int = 2, seed: int = 0
) -> Path:
    """A model of width 16 in `folder`, hooked at blocks.0 or blocks.1."""
    tokenizer = tokenizer or byte_level()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
