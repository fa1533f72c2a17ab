"""Reads checkpoints that saescope wrote for sae-lens, with sae-lens, and compares what it computes from them."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.parity.cases import EXPECTED, absent

absent("wandb", "plotly_express", "babe", "nltk", "dotenv")
from datasets import Dataset  # noqa: E402
from sae_lens import SAE, ActivationsStore  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformer_lens import HookedTransformer, HookedTransformerConfig  # noqa: E402
from transformers import AutoTokenizer, PreTrainedTokenizerFast  # noqa: E402

TOLERANCE = 1e-5
TEXTS = ["the quick brown fox jumps over the lazy dog " * 8] * 32


def check_activations(sae: SAE, scratch: Path) -> None:
    """The library's own reader of activations takes the metadata that was written."""
    words = {word: i for i, word in enumerate(["<s>", *sorted(set(TEXTS[0].split()))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<s>")
    sizes = {"d_model": sae.cfg.d_in, "d_head": 4, "n_heads": 2, "n_layers": 2, "n_ctx": 64, "d_vocab": len(words)}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(scratch)
    config = HookedTransformerConfig(**sizes, act_fn="relu", attn_only=True, device="cpu")
    model = HookedTransformer(config, tokenizer=AutoTokenizer.from_pretrained(scratch))
    sae.cfg.metadata.hook_name = sae.cfg.metadata.hook_name or "blocks.1.hook_resid_post"
    store = ActivationsStore.from_sae(
        model,
        sae,
        dataset=Dataset.from_dict({"text": TEXTS}),
        context_size=16,
        streaming=False,
        store_batch_size_prompts=4,
        n_batches_in_buffer=4,
        train_batch_size_tokens=32,
        total_tokens=1000,
    )
    assert store.get_activations(store.get_batch_tokens()).shape[-1] == sae.cfg.d_in


@torch.no_grad()
def main() -> None:
    folders = sorted(path.parent for path in Path(sys.argv[1]).rglob(EXPECTED))
    assert folders, "there is nothing to read"
    for folder in folders:
        sae, expected = SAE.load_from_disk(folder), load_file(folder / EXPECTED)
        got = {"codes": sae.encode(expected["x"]), "reconstruction": sae(expected["x"])}
        for name, value in got.items():
            difference = float((value - expected[name]).abs().max())
            largest = float(expected[name].abs().max())
            assert difference <= TOLERANCE * largest, f"{folder.name}: {name} differ by {difference:.2g}"
        check_activations(sae, folder / "tokenizer")


if __name__ == "__main__":
    main()
