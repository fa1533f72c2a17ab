"""SAELens' checkpoints of versions that its present one no longer writes, and the traps in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints import CheckpointWarning, load_checkpoint, load_sae
from saescope.checkpoints.formats.saelens import SCALER_NAME, STATE_NAME, WEIGHTS_NAME
from saescope.store.errors import UserError
from tests.checkpoints.writing import D_IN, N_FEATURES, Matrices, draw, inputs, save_json, top

M = Matrices()
X = inputs()
Z = (X - M.b_dec) @ M.W_enc + M.b_enc


def saved(folder: Path, config: dict[str, Any], drop: tuple[str, ...] = (), **tensors: Tensor) -> Path:
    state = {name: t for name, t in {**M.bare(), **tensors}.items() if name not in drop}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "sae_weights.safetensors")
    save_json(folder, "cfg.json", {"d_in": D_IN, "d_sae": N_FEATURES, **config})
    return folder


def agree(sae: Autoencoder, codes: Tensor, reconstruction: Tensor) -> None:
    out = sae(X)
    torch.testing.assert_close(out.codes, codes, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction, reconstruction, rtol=1e-5, atol=1e-5)


def test_the_flat_config_of_version_3_and_its_older_names(tmp_path: Path) -> None:
    config = {
        "hook_point": "blocks.8.hook_resid_pre",
        "hook_point_layer": 8,
        "hook_point_head_index": None,
        "activation_fn": "relu",
        "model_name": "gpt2-small",
        "context_size": 128,
        "dataset_path": "Skylion007/openwebtext",
        "dtype": "torch.float32",
        "normalize_activations": False,
        "l1_coefficient": 8e-5,
        "model_from_pretrained_kwargs": {"center_writing_weights": True},
    }
    loaded = load_checkpoint(saved(tmp_path, config))
    agree(loaded.sae, Z.relu(), Z.relu() @ M.W_dec + M.b_dec)
    found = dict(loaded.metadata)
    assert found.pop("original_config")["l1_coefficient"] == 8e-5
    assert found == {
        "model": "gpt2-small",
        "hook": "blocks.8.hook_resid_pre",
        "layer": 8,
        "context_size": 128,
        "prepend_bos": True,
        "dataset": "Skylion007/openwebtext",
        "model_kwargs": {"center_writing_weights": True},
    }
    assert loaded.notes == ()


@pytest.mark.parametrize("drop", [(), ("b_enc",)])
def test_topk_written_as_standard(tmp_path: Path, drop: tuple[str, ...]) -> None:
    config = {"architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}
    sae = load_sae(saved(tmp_path, config, drop))
    codes = top(Z - M.b_enc if drop else Z, 3)
    agree(sae, codes, codes @ M.W_dec + M.b_dec)


def test_tanh_relu(tmp_path: Path) -> None:
    sae = load_sae(saved(tmp_path, {"activation_fn_str": "tanh-relu"}))
    codes = torch.tanh(Z.relu())
    agree(sae, codes, codes @ M.W_dec + M.b_dec)


def test_logarithms_of_thresholds_in_training_checkpoints(tmp_path: Path) -> None:
    logarithm = draw(N_FEATURES, seed=9) * 0.3
    sae = load_sae(saved(tmp_path, {"architecture": "jumprelu"}, log_threshold=logarithm))
    codes = torch.where(logarithm.exp() < Z, Z, 0.0)
    agree(sae, codes, codes @ M.W_dec + M.b_dec)


def test_finetuning_scales_reconstructions_alone(tmp_path: Path) -> None:
    factor = draw(N_FEATURES, seed=6).abs() + 0.5
    sae = load_sae(saved(tmp_path, {"finetuning_scaling_factor": True}, scaling_factor=factor))
    agree(sae, Z.relu(), (Z.relu() * factor) @ M.W_dec + M.b_dec)
    ones = saved(tmp_path / "ones", {}, scaling_factor=torch.ones(N_FEATURES))
    agree(load_sae(ones), Z.relu(), Z.relu() @ M.W_dec + M.b_dec)
    run = saved(tmp_path / "run", {"finetuning_method": "decoder"}, finetuning_scaling_factor=factor)
    agree(load_sae(run), Z.relu(), (Z.relu() * factor) @ M.W_dec + M.b_dec)
    with pytest.raises(UserError, match="scaling_factor is not 1 everywhere"):
        load_sae(saved(tmp_path / "unsaid", {}, scaling_factor=factor))


@pytest.mark.parametrize("said", [True, "expected_average_only_in"])
def test_a_scale_that_is_not_in_the_checkpoint(tmp_path: Path, said: Any) -> None:
    folder = saved(tmp_path, {"normalize_activations": said})
    with pytest.warns(CheckpointWarning, match=r"whose scale is not in the checkpoint[\s\S]*input_scale=S"):
        sae = load_sae(folder)
    agree(sae, Z.relu(), Z.relu() @ M.W_dec + M.b_dec)
    s = 0.3
    codes = ((s * X - M.b_dec) @ M.W_enc + M.b_enc).relu()
    agree(load_sae(folder, assume={"input_scale": s}), codes, (codes @ M.W_dec + M.b_dec) / s)


SCALED = {"normalize_activations": "expected_average_only_in"}


def test_the_scale_that_late_version_5_saves_beside_a_checkpoint(tmp_path: Path) -> None:
    folder = saved(tmp_path, SCALED)
    state = {"n_dataset_processed": torch.tensor(7), "storage_buffer_activations": draw(3, 1, D_IN)}
    s = 0.5
    save_file({**state, "estimated_norm_scaling_factor": torch.tensor(s)}, folder / STATE_NAME)
    codes = ((s * X - M.b_dec) @ M.W_enc + M.b_enc).relu()
    for path in (folder, folder / WEIGHTS_NAME):
        agree(load_sae(path), codes, (codes @ M.W_dec + M.b_dec) / s)
    with pytest.raises(UserError, match="input_scale is assumed to be 2"):
        load_sae(folder, assume={"input_scale": 2.0})
    save_file(state, folder / STATE_NAME)  # as after training, with the scale folded into the weights
    loaded = load_checkpoint(folder)
    assert loaded.notes == ()
    agree(loaded.sae, Z.relu(), Z.relu() @ M.W_dec + M.b_dec)
    save_file({"estimated_norm_scaling_factor": torch.tensor(-s)}, folder / STATE_NAME)
    with pytest.raises(UserError, match="expected a number above 0"):
        load_sae(folder)


@pytest.mark.parametrize("scale", ["0.5", 0, float("inf")])
def test_the_scale_that_version_6_saves_beside_a_checkpoint(tmp_path: Path, scale: Any) -> None:
    folder = saved(tmp_path, {**SCALED, "metadata": {"sae_lens_version": "6.54.12"}})
    save_file({"n_dataset_processed": torch.tensor(7)}, folder / STATE_NAME)
    with pytest.warns(CheckpointWarning, match="whose scale is not in the checkpoint"):
        load_sae(folder)
    s = 0.5
    codes = ((s * X - M.b_dec) @ M.W_enc + M.b_enc).relu()
    save_json(folder, SCALER_NAME, {"scaling_factor": s, "has_whitening": False})
    agree(load_sae(folder), codes, (codes @ M.W_dec + M.b_dec) / s)
    save_json(folder, SCALER_NAME, {"scaling_factor": scale})
    with pytest.raises(UserError, match="expected a number above 0"):
        load_sae(folder)


@pytest.mark.parametrize(
    ("architecture", "activation"), [("jumprelu", "topk"), ("jumprelu", "tanh-relu"), ("topk", "relu")]
)
def test_activation_functions_that_an_architecture_would_be_read_without(
    tmp_path: Path, architecture: str, activation: str
) -> None:
    config = {"architecture": architecture, "activation_fn_str": activation, "activation_fn_kwargs": {"k": 3}}
    with pytest.raises(UserError, match=f"architecture {architecture} with the activation function '{activation}'"):
        load_sae(saved(tmp_path, config, threshold=draw(N_FEATURES).abs()))


def test_a_bias_that_version_3_did_not_fold(tmp_path: Path) -> None:
    """W_enc and W_dec are folded by s, b_dec is not: it is s times too large."""
    s = 0.3
    wrong = saved(tmp_path, {}, W_enc=M.W_enc * s, W_dec=M.W_dec / s)
    codes = ((s * X - M.b_dec) @ M.W_enc + M.b_enc).relu()
    agree(load_sae(wrong, assume={"b_dec_scale": 1 / s}), codes, (codes @ M.W_dec + M.b_dec) / s)


@pytest.mark.parametrize("threshold", [0.7, 0.0])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_training_checkpoints_of_batchtopk(tmp_path: Path, threshold: float, scale: float | None) -> None:
    config: dict[str, Any] = {"architecture": "batchtopk", "k": 2.5, "rescale_acts_by_decoder_norm": True}
    config["normalize_activations"] = "none" if scale is None else "expected_average_only_in"
    folder = saved(tmp_path, config, topk_threshold=torch.tensor(threshold, dtype=torch.float64))
    loaded = load_checkpoint(folder, assume=None if scale is None else {"input_scale": scale})
    s = scale or 1.0
    norms = M.W_dec.norm(dim=1)
    z = ((s * X - M.b_dec) @ M.W_enc + M.b_enc) * norms
    codes = torch.where(z > threshold, z, 0.0) if threshold else top(z, 2)
    agree(loaded.sae, codes / s, ((codes / norms) @ M.W_dec + M.b_dec) / s)
    assert bool(loaded.notes) == (threshold == 0)


def test_unknown_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown tensor mystery"):
        load_sae(saved(tmp_path, {}, mystery=draw(3)))


def test_a_head_is_kept_in_mind(tmp_path: Path) -> None:
    config = {"architecture": "standard", "metadata": {"hook_name": "blocks.2.attn.hook_z", "hook_head_index": 5}}
    assert load_checkpoint(saved(tmp_path, config)).metadata["head"] == 5
