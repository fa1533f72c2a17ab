"""Checkpoints of every architecture of sae-lens that has a linear encoder, with each of its normalisations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.parity.cases import D_IN, N_FEATURES, absent, destination, fill, inputs, write

absent("wandb", "plotly_express", "babe", "nltk", "dotenv")
from sae_lens import SAE, TrainingSAE  # noqa: E402
from sae_lens.registry import get_sae_class, get_sae_training_class  # noqa: E402
from sae_lens.training.activation_scaler import ActivationScaler  # noqa: E402

PLAIN = ("standard", "gated", "jumprelu", "topk", "abstopk")
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")


def make(architecture: str, **options: Any) -> SAE[Any]:
    kind, config_kind = get_sae_class(architecture)
    config = config_kind(d_in=D_IN, d_sae=N_FEATURES, device="cpu", dtype="float32", **options)
    config.metadata.model_name, config.metadata.hook_name = "gpt2-small", "blocks.3.hook_resid_post"
    sae = kind(config)
    fill(sae)
    if hasattr(sae, "threshold"):
        with torch.no_grad():
            sae.threshold.copy_(sae.threshold.abs())
    return sae


@torch.no_grad()
def save(sae: SAE[Any], folder: Path) -> None:
    sae.eval()
    sae.save_model(folder)
    again = SAE.load_from_disk(folder)
    x = inputs()
    write(folder, x, again.encode(x), again(x))


@torch.no_grad()
def save_training(architecture: str, folder: Path, inference: bool, **options: Any) -> None:
    """A training SAE: its own checkpoint, or what it exports for use, whose results are expected of both."""
    kind, config_kind = get_sae_training_class(architecture)
    sae: TrainingSAE[Any] = kind(config_kind(d_in=D_IN, d_sae=N_FEATURES, device="cpu", k=4, **options))
    fill(sae)
    sae.topk_threshold.fill_(0.9)
    sae.eval()
    exported = folder if inference else folder.with_name(f"{folder.name}.temporary")
    sae.save_inference_model(exported)
    again = SAE.load_from_disk(exported)
    x = inputs()
    if not inference:
        sae.save_model(folder)
        for file in exported.iterdir():
            file.unlink()
        exported.rmdir()
    write(folder, x, again.encode(x), again(x))


@torch.no_grad()
def save_in_training(folder: Path) -> None:
    """A checkpoint on the way, with the scale of the inputs beside it, and what the SAE computes from scaled inputs."""
    kind, config_kind = get_sae_training_class("standard")
    options = {"normalize_activations": "expected_average_only_in"}
    sae: TrainingSAE[Any] = kind(config_kind(d_in=D_IN, d_sae=N_FEATURES, device="cpu", **options))
    fill(sae)
    sae.save_model(folder)
    scaler, x = ActivationScaler(scaling_factor=0.4), inputs()
    scaler.save(str(folder / "activation_scaler.json"))
    codes = sae.encode(scaler.scale(x))
    write(folder, x, codes, scaler.unscale(sae.decode(codes)))


def main() -> None:
    root = destination()
    k = {"k": 3}
    for architecture in PLAIN:
        options = k if architecture.endswith("topk") else {}
        save(make(architecture, **options), root / architecture)
        save(make(architecture, apply_b_dec_to_input=False, **options), root / f"{architecture}-no-b_dec")
        for kind in ("layer_norm", "constant_norm_rescale"):
            save(make(architecture, normalize_activations=kind, **options), root / f"{architecture}-{kind}")
    for architecture in ("topk", "abstopk"):
        save(make(architecture, rescale_acts_by_decoder_norm=True, **k), root / f"{architecture}-rescaled")
        folded = make(architecture, rescale_acts_by_decoder_norm=True, **k)
        folded.fold_W_dec_norm()
        save(folded, root / f"{architecture}-rescaled-folded")
    for architecture in ("standard", "gated", "jumprelu"):
        folded = make(architecture)
        folded.fold_W_dec_norm()
        folded.fold_activation_norm_scaling_factor(2.5)
        save(folded, root / f"{architecture}-folded")
    for architecture in TRANSCODERS:
        for d_out in (D_IN, D_IN - 2):
            made = make(architecture, d_out=d_out, apply_b_dec_to_input=False)
            save(made, root / f"{architecture}-{d_out}")
    for rescaled in (False, True):
        options = {"rescale_acts_by_decoder_norm": rescaled}
        suffix = "-rescaled" if rescaled else ""
        save_training("batchtopk", root / f"batchtopk-exported{suffix}", True, **options)
        nested = {"matryoshka_widths": [4, N_FEATURES], **options}
        save_training("matryoshka_batchtopk", root / f"matryoshka-exported{suffix}", True, **nested)
    save_in_training(root / "standard-in-training")
    save_training("batchtopk", root / "batchtopk", False, rescale_acts_by_decoder_norm=False)
    save_training(
        "matryoshka_batchtopk",
        root / "matryoshka",
        False,
        matryoshka_widths=[4, N_FEATURES],
        rescale_acts_by_decoder_norm=False,
    )


if __name__ == "__main__":
    main()
