"""Times SAEDashboard 0.8.0; runs in an environment of its own (see benchmarks/against_sae_dashboard.py).

    python sae_dashboard_run.py FOLDER --features 256 1024

FOLDER holds what the other script prepared: `model.json` and `model.safetensors` (a Llama in transformers' names),
`tokens.npy` [context, position], `sae.npz` (W_enc, W_dec, b_enc, b_dec) and `sae.json` ({"k", "hook"}). Prints one JSON
object: for each number of features the wall and CPU seconds of `SaeVisRunner.run` in its cached mode, starting with an
empty cache. Loading, saving and HTML are not counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sae_dashboard.sae_vis_data import SaeVisConfig
from sae_dashboard.sae_vis_runner import SaeVisRunner
from sae_lens import HookedSAETransformer
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from safetensors.torch import load_file
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_llama_weights
from transformers import LlamaConfig, LlamaForCausalLM


def load_model(folder: Path) -> HookedSAETransformer:
    """The Llama as TransformerLens has it, its weights as they are."""
    fields = json.loads((folder / "model.json").read_text())
    llama = LlamaForCausalLM(LlamaConfig(**fields))
    missing, unexpected = llama.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert set(missing) <= {"lm_head.weight"}, missing
    assert not unexpected, unexpected
    llama.tie_weights()
    n_heads, n_kv_heads = fields["num_attention_heads"], fields["num_key_value_heads"]
    config = HookedTransformerConfig(
        n_layers=fields["num_hidden_layers"],
        d_model=fields["hidden_size"],
        n_ctx=fields["max_position_embeddings"],
        d_head=fields["hidden_size"] // n_heads,
        n_heads=n_heads,
        n_key_value_heads=n_kv_heads if n_kv_heads != n_heads else None,
        d_mlp=fields["intermediate_size"],
        d_vocab=fields["vocab_size"],
        eps=fields["rms_norm_eps"],
        act_fn="silu",
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_base=int(fields["rope_theta"]),
        rotary_dim=fields["hidden_size"] // n_heads,
        rotary_adjacent_pairs=False,
        final_rms=True,
        gated_mlp=True,
        original_architecture="LlamaForCausalLM",
        device="cpu",
    )
    model = HookedSAETransformer(config)
    model.load_state_dict(convert_llama_weights(llama, config), strict=False)
    return model.eval()


def load_sae(folder: Path) -> TopKSAE:
    """The SAE as SAELens has it."""
    about = json.loads((folder / "sae.json").read_text())
    with np.load(folder / "sae.npz") as saved:
        weights = {name: torch.from_numpy(saved[name]) for name in saved.files}
    d_in, d_sae = weights["W_enc"].shape
    # SAEDashboard folds decoder norms, which SAELens refuses for TopK without this; with unit atoms it changes nothing
    config = TopKSAEConfig(
        d_in=d_in, d_sae=d_sae, k=about["k"], rescale_acts_by_decoder_norm=True, apply_b_dec_to_input=False
    )
    sae = TopKSAE(config)
    sae.load_state_dict(weights, strict=True)
    sae.cfg.metadata.hook_name = about["hook"]
    return sae.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--features", type=int, nargs="+", default=[256, 1024])
    arguments = parser.parse_args()
    model, sae = load_model(arguments.folder), load_sae(arguments.folder)
    hook = json.loads((arguments.folder / "sae.json").read_text())["hook"]
    tokens = torch.from_numpy(np.load(arguments.folder / "tokens.npy").astype(np.int64))
    timed = {}
    for n_features in arguments.features:
        with tempfile.TemporaryDirectory() as cache:
            config = SaeVisConfig(
                hook_point=hook,
                features=range(n_features),
                minibatch_size_features=256,
                minibatch_size_tokens=32,
                cache_dir=Path(cache),
            )
            wall, cpu = time.perf_counter(), time.process_time()
            SaeVisRunner(config).run(encoder=sae, model=model, tokens=tokens)
            timed[n_features] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    codes = sae.encode(model.run_with_cache(tokens[:2], names_filter=hook)[1][hook])
    print(json.dumps({"timed": timed, "l0": float((codes != 0).sum(-1).float().mean())}))


if __name__ == "__main__":
    main()
