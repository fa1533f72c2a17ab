"""What the makers for sae-lens 3, 4 and 5 share: SAEs whose configs are flat, with an activation function by name.

Imported where only one of these releases and torch are installed.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.parity.cases import D_IN, N_FEATURES, absent, fill, inputs, write

absent("wandb", "plotly", "plotly_express", "babe", "nltk", "dotenv", "automated_interpretability", "matplotlib")
from sae_lens import (  # noqa: E402
    SAE,
    ActivationsStore,
    LanguageModelSAERunnerConfig,
    SAETrainingRunner,
    TrainingSAE,
)

TOPK = {"activation_fn": "topk", "activation_fn_kwargs": {"k": 3}}
"""The options that make an SAE keep its largest pre-activations, whatever its architecture is called."""
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "standard": {"architecture": "standard"},
    "gated": {"architecture": "gated"},
    "jumprelu": {"architecture": "jumprelu"},
    "topk": {"architecture": "topk", **TOPK},
}
"""What each is called, and its options, from 4 on."""
SCALE = 0.4
"""Stands for what inputs were multiplied by while an SAE was trained: sqrt(d_in) over their mean norm."""
CHECKPOINT = "checkpoint"
"""Where the training runner saves, below its folder."""
PLACE = {"model_name": "gpt2-small", "hook_name": "blocks.3.hook_resid_post", "hook_layer": 3, "hook_head_index": None}


def make(architecture: str, **options: Any) -> Any:
    """An SAE for use, of random weights, with thresholds as they are after training: positive."""
    config = {
        "architecture": architecture,
        "d_in": D_IN,
        "d_sae": N_FEATURES,
        "activation_fn": "relu",
        "activation_fn_kwargs": {},
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
        "normalize_activations": "none",
        "dtype": "float32",
        "device": "cpu",
        "context_size": 128,
        "prepend_bos": True,
        "dataset_path": "Skylion007/openwebtext",
        "dataset_trust_remote_code": True,
        "sae_lens_training_version": None,
        **PLACE,
        **options,
    }
    sae = SAE.from_dict(config)
    fill(sae)
    if architecture == "jumprelu":
        sae.threshold.data.abs_()
    return sae


def read_again(folder: Path) -> Any:
    """The checkpoint, read by the library itself, to compute in float32 whatever it is stored in."""
    load = getattr(SAE, "load_from_disk", SAE.load_from_pretrained)  # its name since 5, where the other takes no dtype
    return load(str(folder), dtype="float32")


def save(sae: Any, folder: Path, heads: int = 0) -> None:
    """A checkpoint and what the library computes after reading it; with `heads`, from inputs that it flattens."""
    sae.save_model(str(folder))
    again, x = read_again(folder), inputs()
    given = x.unflatten(1, (heads, -1)) if heads else x
    codes = again.encode(given)
    reconstruction = again.decode(codes)
    write(folder, x, codes, reconstruction.flatten(1) if heads else reconstruction)


def save_finetuned(sae: Any, folder: Path) -> None:
    """A checkpoint with factors of finetuning, which the library writes but cannot read again: expected is what the SAE
    computed before."""
    sae.save_model(str(folder))
    codes = sae.encode(inputs())
    write(folder, inputs(), codes, sae.decode(codes))


def save_finetuned_as_before(sae: Any, folder: Path) -> None:
    """The same with the factors under their name of before version 3, which the library does read."""
    sae.save_model(str(folder))
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    tensors["scaling_factor"] = tensors.pop("finetuning_scaling_factor")
    save_file(tensors, path)
    again = read_again(folder)
    codes = again.encode(inputs())
    write(folder, inputs(), codes, again.decode(codes))


def scaled(sae: Any) -> tuple[Tensor, Tensor]:
    """Codes of scaled inputs, as in training, and reconstructions back in the inputs' units."""
    codes = sae.encode(SCALE * inputs())
    return codes, sae.decode(codes) / SCALE


def save_unfolded(sae: Any, folder: Path) -> None:
    """A checkpoint from the midst of training, whose scale is outside it and has to be said."""
    sae.save_model(str(folder))
    write(folder, inputs(), *scaled(sae), input_scale=SCALE)


def trained(**options: Any) -> tuple[Any, Any]:
    """An SAE as the training runner makes it, and the runner's config."""
    config = LanguageModelSAERunnerConfig(
        d_in=D_IN,
        expansion_factor=N_FEATURES // D_IN,
        normalize_activations="expected_average_only_in",
        dataset_path="Skylion007/openwebtext",
        device="cpu",
        log_to_wandb=False,
        wandb_id="run",  # else it is drawn
        verbose=False,
        model_from_pretrained_kwargs={},
        **PLACE,
        **options,
    )
    sae = TrainingSAE.from_dict(config.get_training_sae_cfg_dict())
    fill(sae)
    return sae, config


def save_by_runner(sae: Any, config: Any, folder: Path, scale: float | None = None) -> None:
    """The runner's checkpoint: its own config in the place of the SAE's, so that cfg.json says
    expected_average_only_in whether the scale is folded or not. `scale` is what the state of the activations holds,
    in releases that save one: nothing after training."""
    store = object.__new__(ActivationsStore)
    store.n_dataset_processed, store._storage_buffer, store.estimated_norm_scaling_factor = 0, None, scale
    runner = object.__new__(SAETrainingRunner)
    runner.cfg, runner.sae, runner.activations_store = config, sae, store
    trainer = SimpleNamespace(
        cfg=config, sae=sae, log_feature_sparsity=torch.zeros(N_FEATURES), activations_store=store
    )
    config.checkpoint_path = folder.name  # cfg.json holds it as it is given here
    before = Path.cwd()
    os.chdir(folder.parent)
    try:
        runner.save_checkpoint(trainer, CHECKPOINT)
    finally:
        os.chdir(before)


def save_trained(folder: Path, **options: Any) -> None:
    """What training leaves at its end, the scale folded into the weights."""
    sae, config = trained(**options)
    sae.fold_activation_norm_scaling_factor(SCALE)
    save_by_runner(sae, config, folder)
    again = read_again(folder / CHECKPOINT)
    codes = again.encode(inputs())
    write(folder, inputs(), codes, again.decode(codes), CHECKPOINT)


def save_trained_and_finetuned(folder: Path) -> None:
    """The same after finetuning, of which the runner's config has another word than the SAE's; no release reads it."""
    sae, config = trained(architecture="standard", finetuning_method="scale")
    sae.fold_activation_norm_scaling_factor(SCALE)
    save_by_runner(sae, config, folder)
    codes = sae.encode(inputs())
    write(folder, inputs(), codes, sae.decode(codes), CHECKPOINT)


@torch.no_grad()
def save_all(root: Path, architectures: dict[str, dict[str, Any]]) -> None:
    """A case for every option that changes what is computed; `architectures` are named with their own options."""
    for name, own in architectures.items():
        save(make(**own), root / name)
        save(make(**own, apply_b_dec_to_input=False), root / f"{name}-no-b_dec")
        for kind in ("layer_norm", "constant_norm_rescale"):
            save(make(**own, normalize_activations=kind), root / f"{name}-{kind}")
        finetuned = make(**own, finetuning_scaling_factor=True)
        if hasattr(finetuned, "finetuning_scaling_factor"):  # some architectures cannot be finetuned
            save_finetuned(finetuned, root / f"{name}-finetuned")
        save_unfolded(make(**own, normalize_activations="expected_average_only_in"), root / f"{name}-unfolded")
        save_trained(root / f"{name}-trained", **own)
        if "activation_fn" not in own:
            folded = make(**own)
            folded.fold_W_dec_norm()
            save(folded, root / f"{name}-decoder-norm-folded")
    save(make("standard", activation_fn="tanh-relu"), root / "standard-tanh-relu")
    save(make("standard", dtype="bfloat16"), root / "standard-bfloat16")
    save(make("standard", hook_name="blocks.3.attn.hook_z"), root / "standard-hook_z", heads=2)
    save(make("standard", normalize_activations="expected_average_only_in"), root / "standard-unscaled")
    save_trained_and_finetuned(root / "standard-trained-finetuned")
    save_finetuned_as_before(make("standard", finetuning_scaling_factor=True), root / "standard-finetuned-as-before")
    folded = make("standard")
    folded.fold_activation_norm_scaling_factor(SCALE)
    save(folded, root / "standard-scale-folded")
