"""Small data of every kind that saescope reads, made from fixed seeds without a network.

What it makes depends on the installed scikit-learn, torch, transformers, tokenizers, PyArrow and Pillow alone, so that
two versions of saescope can be given the same.
"""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

VERBS = ("def", "return", "import", "class", "while", "yield", "raise", "assert")
NOUNS = ("cat", "dog", "sea", "tree", "stone", "river", "cloud", "lamp", "house", "bird", "leaf", "road")
PUNCTUATION = (",", ".", ":", "(", ")")
END, BEGIN = "<|endoftext|>", "<|begin|>"


def write_inputs(folder: Path) -> None:
    """Files and folders that the commands of `same_results` name, in `folder`."""
    write_images(folder)
    write_activations(folder)
    write_texts(folder)
    write_models(folder)


def write_images(folder: Path) -> None:
    """idx/ (MNIST's layout), pictures/ (splits with classes), pictures.parquet, coloured.npy."""
    grey = (load_digits().images * 15).astype(np.uint8)
    labels = load_digits().target.astype(np.uint8)
    (folder / "idx").mkdir()
    for name, part in (("train", slice(0, 500)), ("t10k", slice(500, 700))):
        for kind, array in (("images-idx3", grey[part]), ("labels-idx1", labels[part])):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            compressed = gzip.compress(header + array.tobytes(), mtime=0)
            (folder / "idx" / f"{name}-{kind}-ubyte.gz").write_bytes(compressed)
    rng = np.random.default_rng(0)
    coloured = np.clip(grey[:360, :, :, None] * rng.uniform(0.4, 1.1, (360, 1, 1, 3)), 0, 255).astype(np.uint8)
    np.save(folder / "coloured.npy", coloured)
    for number in range(240):
        split, digit = ("train" if number < 160 else "test"), f"digit {labels[number]}"
        place = folder / "pictures" / split / digit
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coloured[number]).resize((12, 12)).save(place / f"{number}.png")
    files = sorted((folder / "pictures").rglob("*.png"), key=lambda path: int(path.stem))
    table = {
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path in files],
        "label": [int(label) for label in labels[:240]],
        "brightness": [float(picture.mean()) for picture in coloured[:240]],
    }
    pq.write_table(pa.table(table), folder / "pictures.parquet")


def write_activations(folder: Path) -> None:
    """vectors.npy with targets.npy, and sequences.safetensors [item, position, d_in]."""
    rng = np.random.default_rng(1)
    atoms = rng.standard_normal((64, 24)).astype(np.float32)
    codes = rng.random((1200, 64), np.float32) * (rng.random((1200, 64)) < 0.08)
    x = codes @ atoms + 0.05 * rng.standard_normal((1200, 24)).astype(np.float32)
    np.save(folder / "vectors.npy", x.astype(np.float32))
    mixing = rng.standard_normal((24, 16)).astype(np.float32)
    np.save(folder / "targets.npy", (np.maximum(x @ mixing, 0) + 3).astype(np.float32))
    save_file({"activations": torch.from_numpy(x.reshape(200, 6, 24))}, folder / "sequences.safetensors")


def write_texts(folder: Path) -> None:
    """texts.jsonl (with a kind and a number per document) and texts/ (two folders of plain files)."""
    rng = np.random.default_rng(2)
    lines = []
    for number in range(120):
        kind, words = ("code", VERBS + PUNCTUATION) if number % 3 == 0 else ("prose", NOUNS + PUNCTUATION + VERBS[:2])
        text = " ".join(rng.choice(words, int(rng.integers(5, 60))))
        lines.append(json.dumps({"text": text, "kind": kind, "number": number}))
        if number < 40:
            (folder / "texts" / kind).mkdir(parents=True, exist_ok=True)
            (folder / "texts" / kind / f"{number}.txt").write_text(text, encoding="utf-8")
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def small_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """Words of the texts above, with and without a space before them."""
    pieces = [END, BEGIN, *(f"Ġ{word}" for word in VERBS + NOUNS + PUNCTUATION), *VERBS, *NOUNS, *PUNCTUATION]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, **special)


def write_models(folder: Path) -> None:
    """gpt2/, llama/ and vit/: random models of width 16, each with its tokenizer or image processor."""
    size = len(small_tokenizer())
    torch.manual_seed(0)
    gpt2 = GPT2Config(vocab_size=size, n_layer=2, n_head=2, n_embd=16, n_positions=64, bos_token_id=0, eos_token_id=0)
    llama = LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.5,
        bos_token_id=1,
        eos_token_id=0,
    )
    for name, model, begin in (
        ("gpt2", GPT2LMHeadModel(gpt2), {}),
        ("llama", LlamaForCausalLM(llama), {"bos_token": BEGIN}),
    ):
        _spread(model)
        model.save_pretrained(folder / name)
        small_tokenizer(**begin).save_pretrained(folder / name)
    vit = ViTModel(
        ViTConfig(
            num_hidden_layers=2,
            num_attention_heads=2,
            hidden_size=16,
            intermediate_size=24,
            image_size=12,
            patch_size=4,
        )
    )
    _spread(vit)
    vit.save_pretrained(folder / "vit")
    ViTImageProcessorPil(size={"height": 12, "width": 12}).save_pretrained(folder / "vit")


def _spread(model: torch.nn.Module) -> None:
    """Weights of a size that makes every layer matter."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.3 if parameter.ndim > 1 else parameter + 0.3 * noise)
