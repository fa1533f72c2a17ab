"""Checkpoints of llamascopium's SAE: its activation functions, gating by decoder norm, and normalisations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.parity.cases import D_IN, N_FEATURES, absent, destination, fill, inputs, write

absent("wandb", "pymongo", "gridfs", "bson", "openai")
from llamascopium import SAEConfig, SparseAutoEncoder  # noqa: E402

HOOKS = {"hook_point_in": "blocks.3.hook_resid_post", "hook_point_out": "blocks.3.hook_resid_post"}


@torch.no_grad()
def save(folder: Path, *, fold: bool = False, **options: Any) -> None:
    hooks = {**HOOKS, **{name: options.pop(name) for name in tuple(options) if name in HOOKS}}
    config = SAEConfig(
        sae_type="sae", d_model=D_IN, expansion_factor=N_FEATURES / D_IN, device="cpu", dtype=torch.float32,
        top_k=3, **hooks, **options,
    )  # fmt: skip
    model = SparseAutoEncoder(config)
    fill(model)
    norms = {name: 5.0 + i for i, name in enumerate(sorted({*hooks.values()}))}
    model.set_dataset_average_activation_norm(norms)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, fold_activation_scale=fold)
    model.cfg.save_hyperparameters(folder)
    again = SparseAutoEncoder.from_pretrained(str(folder))
    x = inputs()
    scaled, factors = again.normalize_activations(dict.fromkeys(hooks.values(), x), return_scale_factor=True)
    codes = again.encode(scaled[hooks["hook_point_in"]])
    reconstruction = again.decode(codes) / factors[hooks["hook_point_out"]]
    write(folder, x, codes, reconstruction)


def main() -> None:
    root = destination()
    for activation in ("relu", "jumprelu", "topk"):
        for by_norm in (True, False):
            suffix = "" if by_norm else "-no-decoder-norm"
            save(root / f"{activation}{suffix}", act_fn=activation, sparsity_include_decoder_norm=by_norm)
        save(root / f"{activation}-token-wise", act_fn=activation, norm_activation="token-wise")
        save(root / f"{activation}-inference", act_fn=activation, fold=True)
    save(root / "topk-no-b_D", act_fn="topk", use_decoder_bias=False)
    save(root / "topk-transcoder", act_fn="topk", hook_point_out="blocks.3.hook_mlp_out")


if __name__ == "__main__":
    main()
