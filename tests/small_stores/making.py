"""How the small stores are made: each function fills a folder by a few commands."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from saescope.cli.run import run
from tests.small_stores.documents import documents

BEGIN, END = "<|begin|>", "<|end|>"
DIGITS = ("--images", "embedded:digits")
PATCHES = (*DIGITS, "--patch", 4, "--stride", 2)


def saescope(*arguments: object) -> None:
    """Run a command in this process. Asserts that it ends well."""
    assert run([str(a) for a in arguments]) == 0


def make_digits(folder: Path) -> None:
    """`store`: 64 features of scikit-learn's digits: a TopK sweep and a ReLU on whole pictures, a TopK on patches."""
    small = ("--n-features", 64, "--batch-size", 256, "--steps", 200)
    sweep = ("--values", "2,4,8,16", "--store", folder / "store", "--name", "digits")
    saescope("sweep", *DIGITS, "--arch", "topk", *small, *sweep)
    _train_and_build(folder, "digits-relu", DIGITS, "--arch", "relu", "--l1", 2, *small)
    _train_and_build(folder, "digits-patches", PATCHES, "--arch", "topk", "--k", 4, *small)


def make_texts(folder: Path) -> None:
    """`store`: two TopK SAEs of 96 features on the documents through a small Llama that was trained on them."""
    texts = folder / "texts.jsonl"
    rows = [json.dumps(asdict(document), ensure_ascii=False) for document in documents()]
    texts.write_text("\n".join(rows) + "\n", encoding="utf-8")
    make_model(folder / "model")
    source = ("--texts", texts, "--model", folder / "model", "--hook", "blocks.1.hook_resid_post", "--context", 64)
    training = ("--arch", "topk", "--n-features", 96, "--batch-size", 256, "--steps", 300, "--cache", "off")
    saescope("sweep", *source, *training, "--values", "4,8", "--store", folder / "store", "--name", "texts")


def make_others(folder: Path) -> None:
    """`store`: an SAE each of photographs, of cached activations, without atoms, and with dead and dense features."""
    random = np.random.default_rng(0)
    atoms = random.normal(size=(40, 24))
    sparse = random.exponential(size=(3000, 40)) * (random.random((3000, 40)) < 0.1)
    np.save(folder / "activations.npy", (sparse @ atoms).astype(np.float32))
    small = ("--batch-size", 256, "--steps", 100, "--arch")
    photographs = ("--images", "embedded:photos", "--patch", 8)
    cached = ("--activations", folder / "activations.npy")
    _train_and_build(folder, "photographs", photographs, *small, "topk", "--n-features", 48, "--k", 4)
    _train_and_build(folder, "cached", cached, *small, "topk", "--n-features", 48, "--k", 4)
    _train_and_build(folder, "deep", DIGITS, *small, "deep", "--n-features", 48, "--k", 5, "--encoder-widths", "40")
    _train_and_build(folder, "dead-and-dense", DIGITS, *small, "topk", "--n-features", 256, "--k", 8, "--steps", 20)


def make_parts(folder: Path) -> None:
    """`part-8` and `part-12`: stores with an entry `tiny` of so many features, of 120 digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images[:120] * (255 / 16)).astype(np.uint8)
    np.savez(folder / "digits.npz", images=images, labels=digits.target[:120])
    for n_features in (8, 12):
        work, source = folder / f"part-{n_features}", ("--images", folder / "digits.npz")
        work.mkdir()
        training = ("--arch", "topk", "--n-features", n_features, "--k", 2, "--batch-size", 60, "--steps", 20)
        _train_and_build(work, "tiny", source, *training)


MAKE = {"digits": make_digits, "texts": make_texts, "others": make_others, "parts": make_parts}
"""By the name of the folder."""


def _train_and_build(folder: Path, sae_id: str, source: tuple[object, ...], *training: object) -> None:
    saescope("train", *source, *training, "--out", folder / sae_id)
    saescope("build", folder / sae_id, *source, "--store", folder / "store", "--sae-id", sae_id)


def make_model(folder: Path, n_steps: int = 100, context: int = 64) -> None:
    """A Llama of width 32, trained on the documents for `n_steps` of 16 contexts, and its byte-level tokenizer."""
    texts = [document.text for document in documents()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=1500, special_tokens=[BEGIN, END], initial_alphabet=alphabet, show_progress=False
        ),
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END)
    wrapped.save_pretrained(folder)
    ids = torch.tensor([i for text in texts for i in [0, *tokenizer.encode(text).ids]])
    contexts = ids[: len(ids) // context * context].view(-1, context)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(wrapped),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=64 * context,
                bos_token_id=0,
                eos_token_id=1,
            )
        )
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(n_steps):
            batch = contexts[torch.randint(len(contexts), (16,))]
            optimiser.zero_grad()
            model(input_ids=batch, labels=batch).loss.backward()
            optimiser.step()
    model.save_pretrained(folder)
