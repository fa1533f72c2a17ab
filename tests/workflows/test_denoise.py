"""`denoise`: what it writes and measures, for pictures of any size, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import load_digits

from saescope.checkpoints import load_sae
from saescope.checkpoints.formats import native
from saescope.cli.run import run
from saescope.denoising.cycle_spinning import cycle_spun
from saescope.denoising.denoiser import Denoiser
from saescope.sources.images.options import PixelOptions
from saescope.store.errors import CheckpointError, DataError, OptionError
from saescope.training import TrainingConfig
from saescope.workflows import denoise, train

DIGITS = load_digits().images[:, :, :, None].astype(np.float32) / 16
NOISE: dict[str, Any] = {"corruption": "gaussian", "noise_range": (0.0, 1.0)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`told` is told the level of its noise, `fixed` knows one, `plain` none, `masked` is told the fraction hidden."""
    folder = tmp_path_factory.mktemp("models")
    for name, fields in {
        "told": {**NOISE, "noise": (0.0, 0.6), "noise_conditioning": True},
        "fixed": {**NOISE, "noise": (0.3,)},
        "plain": {},
        "masked": {"corruption": "masking", "noise": (0.0, 0.5), "noise_conditioning": True},
    }.items():
        config = TrainingConfig("topk", n_features=128, k=12, steps=300, batch_size=128, **fields)
        train(PixelOptions(images="embedded:digits"), config, folder / name)
    return folder


def saved(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(np.float64) / 255


def test_noise_is_added_taken_away_and_measured(models: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", DIGITS[:20, :, :, 0])
    options = PixelOptions(images=str(tmp_path / "digits.npy"))
    found = denoise(models / "told", options, tmp_path / "out", add_noise=0.4, seed=5)
    assert len(found.pictures) == 20
    assert found.psnr is not None
    assert found.psnr_noisy is not None
    assert found.psnr > found.psnr_noisy + 2
    assert found.noise_level == pytest.approx(0.4)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["psnr"] == found.psnr
    assert [row["name"] for row in summary["pictures"]] == [f"{i:05d}" for i in range(20)]
    shown = pixels(tmp_path / "out" / "denoised" / "00003.png")
    clean = DIGITS[3, :, :, 0].astype(np.float64)
    row = found.pictures[3]  # pictures for people have 8 bits
    assert row.psnr == pytest.approx(peak_signal_noise_ratio(clean, shown, data_range=1.0), abs=0.05)
    assert row.ssim == pytest.approx(structural_similarity(clean, shown, data_range=1.0), abs=0.01)
    beside = pixels(tmp_path / "out" / "side-by-side" / "00003.png")
    assert beside.shape == (8, 4 * 8 + 3 * 2)
    np.testing.assert_array_equal(beside[:, 10:18], shown)
    np.testing.assert_allclose(beside[:, 30:], clean, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(beside[:, 20:28], (beside[:, :8] - shown) / 2 + 0.5, atol=1.1 / 255)
    again = denoise(models / "told", options, tmp_path / "again", add_noise=0.4, seed=5)
    assert again == found
    other = denoise(models / "told", options, tmp_path / "other", add_noise=0.4, seed=6)
    assert other.psnr_noisy != found.psnr_noisy


def test_cycle_spinning_is_the_mean_of_what_becomes_of_shifts(models: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", DIGITS[:3, :, :, 0])
    options = PixelOptions(images=str(tmp_path / "digits.npy"))
    denoise(models / "told", options, tmp_path / "out", noise_level=0.2, cycle_spinning=True)
    model = Denoiser.of(load_sae(models / "told"), native.read_config(models / "told"), "told")
    expected = cycle_spun(DIGITS[:3], lambda given: model.rebuilt(given, 0.2))
    for at in range(3):
        shown = pixels(tmp_path / "out" / "denoised" / f"{at:05d}.png")
        np.testing.assert_allclose(shown, expected[at, :, :, 0], atol=0.5 / 255 + 1e-5)


def test_pictures_of_any_size_beside_clean_ones(models: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("noisy", "clean"):
        (tmp_path / name).mkdir()
    for at, size in enumerate([(8, 8), (5, 13), (30, 21)]):
        clean = np.tile(DIGITS[at, :, :, 0], (4, 3))[: size[0], : size[1]]
        saved(tmp_path / "clean" / f"p{at}.png", clean)
        saved(tmp_path / "noisy" / f"p{at}.png", np.clip(clean + random.normal(0, 0.3, size), 0, 1))
    options = PixelOptions(images=str(tmp_path / "noisy"))
    found = denoise(models / "told", options, tmp_path / "out", clean=tmp_path / "clean", noise_level=0.3)
    assert [(r.name, r.height, r.width) for r in found.pictures] == [("p0", 8, 8), ("p1", 5, 13), ("p2", 30, 21)]
    assert pixels(tmp_path / "out" / "denoised" / "p2.png").shape == (30, 21)
    assert found.pictures[0].psnr_noisy == pytest.approx(
        peak_signal_noise_ratio(pixels(tmp_path / "clean" / "p0.png"), pixels(tmp_path / "noisy" / "p0.png")), abs=1e-4
    )
    assert np.isnan(found.pictures[1].ssim or 0.0)  # too low for a window
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["pictures"][1]["ssim"] is None


def test_quality_counts_by_the_range_of_the_clean_pictures(models: Path, tmp_path: Path) -> None:
    """Not by that of the noisy ones, whose values may lie beyond it."""
    clean = DIGITS[:2, :, :, 0].astype(np.float32)
    noisy = clean + np.random.default_rng(0).normal(0, 0.5, clean.shape).astype(np.float32)
    for name, values in (("clean", clean), ("noisy", noisy)):
        np.save(tmp_path / f"{name}.npy", values)
    options = PixelOptions(images=str(tmp_path / "noisy.npy"))
    found = denoise(models / "told", options, tmp_path / "out", clean=tmp_path / "clean.npy", noise_level=0.3)
    expected = [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(clean, noisy, strict=True)]
    assert found.psnr_noisy == pytest.approx(np.mean(expected), abs=1e-4)


@pytest.mark.parametrize("level", [0.1, 0.3, 0.5])
def test_the_level_of_clipped_noise_is_estimated(models: Path, tmp_path: Path, level: float) -> None:
    random = np.random.default_rng(1)
    large = np.concatenate([np.concatenate(list(DIGITS[8 * r : 8 * r + 8]), axis=1) for r in range(8)])[..., 0]
    np.save(tmp_path / "noisy.npy", np.clip(large + random.normal(0, level, large.shape), 0, 1)[None].astype("f4"))
    found = denoise(models / "told", PixelOptions(images=str(tmp_path / "noisy.npy")), tmp_path / "out")
    assert found.noise_level == pytest.approx(level, rel=0.2, abs=0.05)  # the estimate alone is half of 0.5
    assert found.psnr is None


def test_levels_that_were_not_trained_are_told_and_done(models: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    np.save(tmp_path / "digits.npy", DIGITS[:3, :, :, 0])
    options = PixelOptions(images=str(tmp_path / "digits.npy"))
    denoise(models / "told", options, tmp_path / "a", noise_level=0.9, note=notes.append)
    assert notes == ["outside the trained levels, 0 to 0.6, is the noise of 3 of 3 pictures: 0.9"]
    denoise(models / "fixed", options, tmp_path / "b", add_noise=0.3, note=notes.append)
    denoise(models / "told", options, tmp_path / "c", add_noise=0.6, note=notes.append)
    assert len(notes) == 1
    denoise(models / "plain", options, tmp_path / "d", note=notes.append)
    assert "trained without corruption" in notes[1]


def test_of_a_model_of_two_captures_nothing_is_said(tmp_path: Path) -> None:
    noise, notes = np.random.default_rng(0), list[str]()
    for name in ("first", "second"):
        noisy = DIGITS[:200, :, :, 0] + noise.normal(0, 0.2, (200, 8, 8))
        np.save(tmp_path / f"{name}.npy", noisy.astype(np.float32))
    pair = PixelOptions(images=str(tmp_path / "first.npy"), pair=str(tmp_path / "second.npy"))
    train(pair, TrainingConfig("topk", n_features=64, k=8, steps=20, batch_size=64), tmp_path / "model")
    options = PixelOptions(images=str(tmp_path / "first.npy"))
    denoise(tmp_path / "model", options, tmp_path / "out", note=notes.append)
    assert notes == []


@pytest.mark.parametrize(("stored", "told"), [(255.0, 1), (1.0, 0)])
def test_pictures_in_other_units_than_the_models_are_told(
    models: Path, tmp_path: Path, stored: float, told: int
) -> None:
    notes: list[str] = []
    np.save(tmp_path / "digits.npy", DIGITS[:3, :, :, 0] * stored)
    denoise(models / "fixed", PixelOptions(images=str(tmp_path / "digits.npy")), tmp_path / "out", note=notes.append)
    said = [text for text in notes if "values from 0 to 255, the model's are 0 to 1" in text]
    assert len(said) == told


def test_what_cannot_be_done_is_refused_and_leaves_nothing(models: Path, digits_store: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", DIGITS[:3, :, :, 0])
    np.save(tmp_path / "two.npy", DIGITS[:2, :, :, 0])
    np.save(tmp_path / "wide.npy", np.zeros((3, 8, 9), np.float32) + DIGITS[:3, :, :1, 0])
    Image.new("RGB", (8, 8), (9, 200, 30)).save(tmp_path / "colour.png")
    digits, colour = (PixelOptions(images=str(tmp_path / name)) for name in ("digits.npy", "colour.png"))
    out = tmp_path / "out"
    for checkpoint, options, fields, kind, words in (
        ("told", colour, {}, DataError, "is colour, the model was trained on grey"),
        ("told", digits, {"clean": tmp_path / "two.npy"}, DataError, "has 3 pictures, .* has 2"),
        ("told", digits, {"clean": tmp_path / "wide.npy"}, DataError, "8 x 8 .* 8 x 9"),
        ("told", digits, {"noise_level": -0.1}, OptionError, "noise_level is -0.1"),
        ("told", digits, {"add_noise": float("nan")}, OptionError, "add_noise is nan"),
        ("told", digits, {"add_noise": 0.1, "clean": "x"}, OptionError, "leave out --clean or --add-noise"),
        ("masked", digits, {}, OptionError, "cannot be estimated"),
        ("masked", digits, {"add_noise": 1.5}, OptionError, "a fraction, 0 to 1"),
        ("plain", digits, {"add_noise": 0.3}, OptionError, "trained without corruption"),
    ):
        with pytest.raises(kind, match=words):
            denoise(models / checkpoint, options, out, note=lambda text: None, **fields)
        assert not out.exists()
    patches = next((digits_store / "saes" / "digits-patches").glob("*/sae"))
    np.save(tmp_path / "text.npy", DIGITS[:1, :, :, 0])
    denoise(patches, digits, out, note=lambda text: None)  # of 4 x 4, in tiles
    with pytest.raises(OptionError, match="is not empty"):
        denoise(models / "told", digits, out, noise_level=0.1)


def test_a_model_of_other_activations_is_refused(other_store: Path, tmp_path: Path) -> None:
    checkpoint = next((other_store / "saes" / "cached").glob("*/sae"))
    with pytest.raises(CheckpointError, match="was not trained to rebuild pictures"):
        denoise(checkpoint, PixelOptions(images="embedded:digits"), tmp_path / "out")


def test_the_command_prints_one_object(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "digits.npy", DIGITS[:5, :, :, 0])
    arguments = ["denoise", str(models / "fixed"), str(tmp_path / "digits.npy"), "--add-noise", "0.3", "--out"]
    assert run([*arguments, str(tmp_path / "a"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"psnr", "ssim", "psnr_noisy"} <= found.keys()
    assert found["psnr"] > found["psnr_noisy"]
    assert run([*arguments, str(tmp_path / "b")]) == 0
    assert f"PSNR {found['psnr']:.2f} dB" in capsys.readouterr().out
    assert run([*arguments, str(tmp_path / "b")]) == 2
    assert "is not empty" in capsys.readouterr().err
