"""Pictures that are dropped fire what the same pictures fire in a source."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saescope.autoencoders.protocol import Autoencoder
from saescope.probing import Probe, ProbeResult
from saescope.sources import SourceOptions, open_source
from saescope.sources.protocol import Source
from saescope.store.errors import CheckpointError, UserError
from tests.probing.random_saes import write_sae
from tests.sources.hooked.test_vision import save, source_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAESCOPE_CACHE", str(tmp_path / "cache"))


def check_item(result: ProbeResult, sae: Autoencoder, source: Source, item: int) -> None:
    """The result is the codes of an item of the source, position by position."""
    batch = next(source.batches(item, 1))
    codes = sae.encode(batch.activations[0])
    assert len(result.feature_ids) == len(codes) == len(result.evaluated)
    for ids, values, row in zip(result.feature_ids, result.activations, codes.numpy(), strict=True):
        assert sorted(ids.tolist()) == np.flatnonzero(row).tolist()
        np.testing.assert_allclose(values, row[ids], rtol=1e-5, atol=1e-6)
        assert (np.diff(np.abs(values)) <= 0).all()
    assert any(len(ids) for ids in result.feature_ids)
    assert (result.tokens, result.token_ids) == (None, None)


def picture_of(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def shown(result: ProbeResult) -> np.ndarray:
    assert result.image is not None
    with Image.open(io.BytesIO(result.image)) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("architecture", ["topk", "relu"])
@pytest.mark.parametrize(("patch", "stride"), [(None, None), (4, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_the_data_fires_what_it_fires_there(
    tmp_path: Path, architecture: str, patch: int | None, stride: int | None, channels: int
) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (3, 8, 10, channels), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    source = open_source(SourceOptions(images=str(tmp_path / "images.npy"), patch=patch, stride=stride))
    sae = write_sae(tmp_path / "sae", source.d_in, architecture)
    probe = Probe.open(tmp_path / "sae", source.describe(), device="cpu")
    assert probe.takes == "picture"
    result = probe.picture(picture_of(pixels[1]))
    check_item(result, sae, source, 1)
    assert result.evaluated == [True] * source.positions_per_item
    np.testing.assert_array_equal(shown(result).reshape(pixels[1].shape), pixels[1])


def test_a_source_of_another_width_than_the_sae_is_refused(tmp_path: Path) -> None:
    source = open_source(SourceOptions(images="embedded:digits"))
    write_sae(tmp_path / "sae", source.d_in, "relu")
    probe = Probe.open(tmp_path / "sae", {**source.describe(), "input_shape": [4, 4, 1]}, device="cpu")
    with pytest.raises(CheckpointError, match="takes activations of width 64, but its source as described gives 16"):
        probe.picture(Image.new("L", (8, 8)))


def test_values_that_are_taken_as_they_are_get_the_sources_range(tmp_path: Path) -> None:
    values = np.linspace(-1, 3, 2 * 6 * 6, dtype=np.float32).reshape(2, 6, 6)
    np.save(tmp_path / "images.npy", values)
    source = open_source(SourceOptions(images=str(tmp_path / "images.npy")))
    sae = write_sae(tmp_path / "sae", 36, "relu")
    result = Probe.open(tmp_path / "sae", source.describe()).picture(Image.new("L", (6, 6), 255))
    expected = np.flatnonzero(sae.encode(torch.full((1, 36), 3.0))[0].numpy())
    assert sorted(result.feature_ids[0].tolist()) == expected.tolist()


def test_digits_of_0_to_16_are_scaled_like_8_bits(tmp_path: Path) -> None:
    source = open_source(SourceOptions(images="embedded:digits"))
    sae = write_sae(tmp_path / "sae", 64, "relu")
    white = Probe.open(tmp_path / "sae", source.describe()).picture(Image.new("L", (8, 8), 255))
    expected = sae.encode(torch.ones(1, 64))[0].numpy()
    assert sorted(white.feature_ids[0].tolist()) == np.flatnonzero(expected).tolist()


def test_other_sizes_and_modes_are_brought_to_the_sources(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((2, 8, 10, 1), dtype=np.uint8))
    source = open_source(SourceOptions(images=str(tmp_path / "images.npy")))
    write_sae(tmp_path / "sae", 80)
    probe = Probe.open(tmp_path / "sae", source.describe())
    half = Image.new("RGB", (200, 160), (10, 10, 10))
    half.paste((200, 200, 200), (100, 0, 200, 160))
    seen = shown(probe.picture(half))
    assert seen.shape == (8, 10)
    np.testing.assert_allclose(seen[:, [0, 1, 8, 9]], np.tile([10, 10, 200, 200], (8, 1)), atol=3)
    wide = Image.new("L", (400, 80), 0)
    wide.paste(255, (150, 0, 250, 80))  # the middle 10 x 8 part of it, five times as large
    assert shown(probe.picture(wide)).min() >= 230
    transparent = Image.new("RGBA", (10, 8), (0, 0, 0, 0))
    assert (shown(probe.picture(transparent)) == 255).all()
    with pytest.raises(UserError, match="32-bit values"):
        probe.picture(Image.new("F", (10, 8)))
    with pytest.raises(UserError, match="takes pictures, not texts"):
        probe.text("hello")


@pytest.mark.parametrize("special", ["in", "out"])
def test_a_picture_goes_through_the_vision_model(tmp_path: Path, special: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    source = source_of(save("dinov2-registers", tmp_path / "m"), pixels, special_positions=special)
    sae = write_sae(tmp_path / "sae", 16)
    probe = Probe.open(tmp_path / "sae", source.describe(), device="cpu")
    result = probe.picture(picture_of(pixels[1]))
    check_item(result, sae, source, 1)
    assert result.evaluated == ([True] * 12 if special == "in" else [False] * 3 + [True] * 9)
    np.testing.assert_array_equal(shown(result), pixels[1])


def test_a_model_that_has_changed_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros((2, 12, 12, 3), dtype=np.uint8)
    source = source_of(save("vit", tmp_path / "m"), pixels)
    about = source.describe()
    write_sae(tmp_path / "sae", 16)
    write_sae(tmp_path / "narrow", 12)
    with pytest.raises(UserError, match=r"takes activations of width 12, but .* has 16"):
        Probe.open(tmp_path / "narrow", about)
    with pytest.raises(UserError, match="other weights than the model"):
        Probe.open(tmp_path / "sae", {**about, "fingerprint": "0" * 64})
    with pytest.raises(UserError, match="no such folder"):
        Probe.open(tmp_path / "sae", {**about, "model": str(tmp_path / "gone")})


def test_files_of_activations_have_no_way_in(tmp_path: Path) -> None:
    write_sae(tmp_path / "sae", 16)
    with pytest.raises(UserError, match="a file of activations"):
        Probe.open(tmp_path / "sae", {"kind": "activations"})
