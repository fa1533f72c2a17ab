"""Convolutional autoencoders: layers and losses in NumPy, sizes and colours, folding, resuming, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.convolutional import default_channels
from saescope.autoencoders.convolutional.module import ConvolutionalAutoencoder, ConvolutionalConfig
from saescope.autoencoders.convolutional.objective import ConvolutionalObjective, fan_in
from saescope.autoencoders.objectives.protocol import StepInputs
from saescope.autoencoders.settings.run import DataSize
from saescope.checkpoints import load_sae, weights_sha256
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train, trainer
from saescope.training.export import folded
from saescope.training.input_transform import fit
from tests.training.arrays import DESCRIPTION, ArrayTable, digits
from tests.training.test_train import Interrupted, StopAt

IMAGES = {**DESCRIPTION, "input_shape": [8, 8, 1]}


def config(**fields: Any) -> TrainingConfig:
    return TrainingConfig("convolutional", **{"n_features": 12, "steps": 120, "batch_size": 64, **fields})


def run(out: Path, **fields: Any) -> Path:
    progress = {"progress": fields.pop("progress")} if "progress" in fields else {}
    return train(digits(), config(**fields), out, description=IMAGES, device="cpu", **progress)


def random_model(shape: tuple[int, int, int], seed: int = 0, **fields: Any) -> ConvolutionalAutoencoder:
    model = ConvolutionalAutoencoder(
        ConvolutionalConfig(d_in=int(np.prod(shape)), n_features=5, input_shape=shape, **fields)
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model.requires_grad_(False)


def convolved(h: np.ndarray, kernels: np.ndarray, bias: np.ndarray, around: int) -> np.ndarray:
    """[channel, row, column] with stride 2, as a sum over everything."""
    after, _, size, _ = kernels.shape
    padded = np.pad(h, ((0, 0), (around, around), (around, around)))
    rows, columns = ((n - size) // 2 + 1 for n in padded.shape[1:])
    out = np.zeros((after, rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = padded[:, 2 * i : 2 * i + size, 2 * j : 2 * j + size]
            out[:, i, j] = (kernels * window).sum((1, 2, 3)) + bias
    return out


def spread(h: np.ndarray, kernels: np.ndarray, bias: np.ndarray, around: int, grid: tuple[int, int]) -> np.ndarray:
    """Each value of [channel, row, column] paints its kernel, two pixels from the next one's."""
    _, after, size, _ = kernels.shape
    canvas = np.zeros((after, grid[0] + 2 * size, grid[1] + 2 * size))
    for c in range(h.shape[0]):
        for i in range(h.shape[1]):
            for j in range(h.shape[2]):
                canvas[:, 2 * i : 2 * i + size, 2 * j : 2 * j + size] += h[c, i, j] * kernels[c]
    return canvas[:, around : around + grid[0], around : around + grid[1]] + bias[:, None, None]


@pytest.mark.parametrize(
    ("shape", "fields"),
    [
        ((8, 8, 1), {"channels": (4,)}),
        ((9, 13, 3), {"channels": (3, 4), "activation": "leaky_relu"}),
        ((9, 13, 3), {"channels": (3, 4), "kernel_size": 3, "sigmoid_output": True}),
        ((10, 8, 1), {"channels": (3,), "kernel_size": 5, "noise_input": True}),
    ],
)
def test_every_layer_in_numpy(shape: tuple[int, int, int], fields: dict[str, Any]) -> None:
    model = random_model(shape, **fields)
    rng = np.random.default_rng(0)
    model.load_tensors({**model.tensors(), "input_mean": torch.from_numpy(rng.random(model.d_in)).float()})
    model.input_scale.fill_(1.5)
    if not model.config.sigmoid_output:
        model.output_mean.copy_(torch.from_numpy(rng.random(model.d_in)))
        model.output_scale.fill_(0.5)
    x = rng.random((3, model.config.input_width))
    out = model(torch.from_numpy(x).float())
    t = {name: value.double().numpy() for name, value in model.tensors().items()}
    around, n = (model.config.kernel_size - 1) // 2, len(model.config.channels)
    slope = 0.01 if model.config.activation == "leaky_relu" else 0.0

    def activated(h: np.ndarray) -> np.ndarray:
        return np.where(h > 0, h, slope * h)

    for row, codes, rebuilt in zip(x, out.codes.numpy(), out.reconstruction.numpy(), strict=True):
        h = ((row[: model.d_in] - t["input_mean"]) * 1.5).reshape(shape).transpose(2, 0, 1)
        if model.config.noise_input:
            h = np.concatenate([h, np.full((1, *shape[:2]), row[-1])])
        grids = [h.shape[1:]]
        for i in range(n):
            h = activated(convolved(h, t[f"W_enc_{i}"], t[f"b_enc_{i}"], around))
            grids.append(h.shape[1:])
        np.testing.assert_allclose(codes, h.transpose(1, 2, 0).ravel() @ t[f"W_enc_{n}"] + t[f"b_enc_{n}"], rtol=1e-4)
        g = activated(codes @ t["W_dec_0"] + t["b_dec_0"]).reshape(*grids[-1], -1).transpose(2, 0, 1)
        for i in range(1, n + 1):
            g = spread(g, t[f"W_dec_{i}"], t[f"b_dec_{i}"], around, grids[n - i])
            g = activated(g) if i < n else g
        flat = g.transpose(1, 2, 0).ravel()
        expected = (
            1 / (1 + np.exp(-flat)) if model.config.sigmoid_output else flat / t["output_scale"] + t["output_mean"]
        )
        np.testing.assert_allclose(rebuilt, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["mse", "bce", "psnr"])
def test_losses(loss: Any) -> None:
    resolved = config(loss=loss, channels=(4,), output=None if loss == "bce" else "linear").resolve(
        DataSize(100, 64, (8, 8, 1), (0.0, 1.0))
    )
    goal = resolved.objective()
    model = goal.new_model(64)
    goal.initialise(model, torch.rand(50, 64), 0)
    x = torch.rand(20, 64, generator=torch.Generator().manual_seed(1))
    given = StepInputs(x, 0, 1.0, torch.zeros(12, dtype=torch.int64), 0.0)
    found = goal.loss(model, given)
    with torch.no_grad():
        rebuilt = model.outputs(model.encode(x, training=True), training=True).double().numpy()
    if loss == "bce":
        rebuilt = 1 / (1 + np.exp(-rebuilt))
    clean = x.double().numpy()
    squared = ((clean - rebuilt) ** 2).sum(1).mean()
    expected = squared / 64
    if loss == "bce":
        expected = -(clean * np.log(rebuilt) + (1 - clean) * np.log(1 - rebuilt)).mean()
    elif loss == "psnr":
        expected = np.log(((clean - rebuilt) ** 2).mean(1) + 1e-6).mean()
    assert found.squared_error.item() == pytest.approx(squared, rel=1e-5)
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    assert found.firing.tolist() == [20] * 12


@pytest.mark.parametrize("transform", ["none", "scale"])
@pytest.mark.parametrize(("height", "width", "planes"), [(8, 8, 1), (9, 13, 3)])
def test_a_checkpoint_is_the_trained_model(
    height: int, width: int, planes: int, transform: Any, tmp_path: Path
) -> None:
    """With the running statistics, in raw units, whatever the size and the colours."""
    rng = np.random.default_rng(0)
    d_in = height * width * planes
    planes_of = [np.sin(np.arange(n) * np.linspace(0.1, 0.7, 3)[:, None]) for n in (height, width)]
    patterns = np.einsum("ai,aj,ac->aijc", *planes_of, rng.normal(size=(3, planes))).reshape(3, d_in)
    table = ArrayTable(5 + rng.normal(size=(300, 3)) @ patterns)
    about = {**DESCRIPTION, "input_shape": [height, width, planes]}
    settings = config(input_transform=transform, channels=(6, 8), steps=150)
    out = train(table, settings, tmp_path / "run", description=about, device="cpu")
    sae: Any = load_sae(out)
    assert sae.config.input_shape == (height, width, planes)
    x = table.rows(np.arange(300))
    assert float((x - sae(x).reconstruction).square().sum() / (x - x.mean(0)).square().sum()) < 0.5

    space = fit(table, transform)
    goal: ConvolutionalObjective = settings.resolve(DataSize(300, d_in, (height, width, planes))).objective()  # type: ignore[assignment]
    model = goal.new_model(d_in)
    goal.initialise(model, space.apply(x), 3)
    with torch.no_grad():
        for _ in range(5):  # running statistics of some kind
            model.outputs(model.encode(space.apply(x), training=True), training=True)
        again = folded(model, space)
        in_training = model(space.apply(x))
        torch.testing.assert_close(again.encode(x), in_training.codes, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            again(x).reconstruction, space.invert(in_training.reconstruction), rtol=1e-3, atol=1e-3
        )
        assert not torch.allclose(model.encode(space.apply(x), training=True), in_training.codes, atol=1e-2)


def test_a_cut_run_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields: dict[str, Any] = {"corruption": "gaussian", "noise": (0.0, 0.5), "noise_conditioning": True, "loss": "bce"}
    whole = run(tmp_path / "whole", steps=60, **fields)
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", steps=60, progress=StopAt(23), **fields)
    assert weights_sha256(run(tmp_path / "cut", steps=60, **fields)) == weights_sha256(whole)


def test_a_denoiser_takes_noise_away_and_listens_to_its_level(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"corruption": "gaussian", "noise": (0.0, 0.5), "noise_conditioning": True}
    sae = load_sae(run(tmp_path / "run", n_features=32, steps=400, output="sigmoid", **fields))
    x = digits().rows(np.arange(500))
    noisy = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    sae.noise_level = 0.3
    error = float((sae(noisy).reconstruction - x).square().mean())
    assert error < 0.5 * float((noisy - x).square().mean())
    sae.noise_level = 0.0
    assert float((sae(noisy).reconstruction - x).square().mean()) > 1.03 * error


def test_first_weights_keep_the_size_of_what_goes_through() -> None:
    goal = config(channels=(32, 64)).resolve(DataSize(100, 784, (28, 28, 1))).objective()
    model = goal.new_model(784)
    goal.initialise(model, torch.zeros(10, 784), 0)
    assert [fan_in(W, model) for W in goal.matrices(model)] == [16, 512, 3136, 12, 256, 128]
    for W in goal.matrices(model)[:-1]:
        gain = 1 if W is model.code_layer.rows else 2
        assert float(W.detach().std()) == pytest.approx((gain / fan_in(W, model)) ** 0.5, rel=0.1)


def test_defaults_follow_the_images() -> None:
    assert default_channels((8, 8, 1)) == default_channels((16, 9, 3)) == (32,)
    assert default_channels((28, 28, 1)) == default_channels((32, 500, 3)) == (32, 64)
    assert default_channels((224, 224, 3)) == (32, 64, 128, 256, 256)
    resolved: Any = config(loss="bce").resolve(DataSize(100, 784, (28, 28, 1), (0.0, 1.0)))
    assert (resolved.own.output, resolved.run.input_transform) == ("sigmoid", "none")
    assert resolved.own.products(resolved.run, 784) == 14 * 14 * 16 * 32 + 49 * 16 * 32 * 64 + 3136 * 12
    given: Any = config(input_shape=(8, 8, 12)).resolve(DataSize(100, 768))
    assert given.own.input_shape == (8, 8, 12)


def test_a_code_that_can_copy_is_told() -> None:
    wide, narrow = config(n_features=64), config(n_features=63)
    noisy = config(n_features=64, corruption="gaussian", noise=(0.1,))
    assert "64 units for 64 dimensions" in wide.own.remarks(wide.run, 64)[0]
    assert narrow.own.remarks(narrow.run, 64) == noisy.own.remarks(noisy.run, 64) == ()
    assert not ConvolutionalConfig.has_sparse_code


@pytest.mark.parametrize(
    ("fields", "size", "message"),
    [
        ({}, DataSize(9, 64), "takes images, but these activations of width 64 do not say that they are any"),
        ({}, DataSize(9, 49, (7, 7, 1)), "the images are 7 x 7 x 1, but .* takes 8 x 8 pixels or more"),
        ({"input_shape": (8, 9, 1)}, DataSize(9, 64), "input_shape is 8 x 9 x 1, but the activations are of 64"),
        ({"input_shape": (8, 8, 3)}, DataSize(9, 192, (8, 24, 1)), "but the activations are of 8 x 24 x 1"),
        ({"loss": "bce"}, DataSize(9, 64, (8, 8, 1), (0.0, 255.0)), "in .0, 1., but the data lie between 0 and 255"),
        ({"output": "sigmoid"}, DataSize(9, 64, (8, 8, 1), (-1.0, 1.0)), "--output sigmoid .* between -1 and 1"),
        ({"batch_size": 1}, DataSize(9, 64, (8, 8, 1)), "batch_size is 1"),
    ],
)
def test_data_that_settings_do_not_go_with(fields: dict[str, Any], size: DataSize, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**fields).resolve(size)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_transform": "zca"}, "mixes all pixels of an image, which a convolution cannot take up"),
        ({"loss": "bce", "output": "linear"}, "--loss bce needs outputs in"),
        ({"loss": "bce", "input_transform": "scale"}, "--loss bce takes the data as they are"),
        ({"output": "sigmoid", "input_transform": "scale"}, "--output sigmoid rebuilds the data as they are"),
        ({"kernel_size": 1}, "kernel_size is 1"),
        ({"k": 3}, "nothing makes the code of convolutional sparse"),
    ],
)
def test_settings_that_do_not_go_together(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": (2, 2, 2, 2)}, "4 stages halve an image of 8 x 8 to nothing\ngive 3 at most"),
        ({"channels": ()}, "at least one stage is needed"),
        ({"channels": (2,), "input_shape": ()}, "the images are unknown"),
        ({"channels": (2,), "input_shape": (8, 9, 1)}, r"input_shape \[8, 9, 1\] has 72 values, but d_in is 64"),
        ({"channels": (2,), "d_out": 3}, "images go in, and images of their shape come out"),
        ({"channels": (2,), "apply_b_dec_to_input": True}, "subtracts nothing from its input"),
        ({"channels": (2,), "kernel_size": 1}, "kernel_size is 1"),
    ],
)
def test_configs_that_make_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ConvolutionalConfig(**{"d_in": 64, "n_features": 5, "input_shape": (8, 8, 1), **fields})
