"""Two captures of the same fields: what a source gives to train on, and which pairs are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from saescope.sources import SourceOptions, open_source
from saescope.sources.images.image_source import CapturedRows
from saescope.sources.targets import CapturedTable
from saescope.store.errors import DataError, OptionError

DIGITS = load_digits().images.astype(np.float32) / 16
PHOTOGRAPHS = np.stack(load_sample_images().images)[:, 100:228, 200:360].mean(3).astype(np.float32) / 255
SCENES = {"digits": DIGITS[:200], "photographs": PHOTOGRAPHS}


def captures(folder: Path, first: np.ndarray, second: np.ndarray, noise: float = 0.0) -> tuple[str, str]:
    random = np.random.default_rng(0)
    paths = folder / "first.npy", folder / "second.npy"
    for path, values in zip(paths, (first, second), strict=True):
        np.save(path, (values + noise * random.normal(size=values.shape)).astype(np.float32))
    return str(paths[0]), str(paths[1])


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("noise", [0.001, 0.1, 0.4])
def test_aligned_captures_are_taken_whatever_their_noise(scene: str, noise: float, tmp_path: Path) -> None:
    first, second = captures(tmp_path, SCENES[scene], SCENES[scene], noise)
    source = open_source(SourceOptions(images=first, pair=second), "train")
    table = source.table()
    assert isinstance(table, CapturedTable)
    at = np.array([1, 0, 1])
    a, b = table.captures(at)
    np.testing.assert_array_equal(a, table.rows(at))
    np.testing.assert_array_equal(a.numpy(), np.load(first)[at].reshape(3, -1))
    np.testing.assert_array_equal(b.numpy(), np.load(second)[at].reshape(3, -1))
    about = source.describe()
    assert about["pair"] == second
    assert about["pair_sha256"] == open_source(SourceOptions(images=second)).data_sha256
    chosen = np.arange(source.n_items) % 2 == 1
    np.testing.assert_array_equal(source.table(chosen).rows(np.array([0])), table.rows(np.array([1])))


def test_fields_that_show_next_to_nothing_are_not_taken_for_shifted(tmp_path: Path) -> None:
    """Where the best fit is that of the noise."""
    fields = np.linspace(0.2, 0.21, 16, dtype=np.float32)[None, :, None] + np.zeros((40, 16, 16), np.float32)
    first, second = captures(tmp_path, fields, fields, 0.2)
    assert isinstance(open_source(SourceOptions(images=first, pair=second), "train").table(), CapturedTable)


def test_patches_of_both_captures_fit(tmp_path: Path) -> None:
    first, second = captures(tmp_path, PHOTOGRAPHS, PHOTOGRAPHS, 0.1)
    table = open_source(SourceOptions(images=first, pair=second, patch=8, stride=4), "train").table()
    assert isinstance(table, CapturedRows)
    a, b = table.captures(np.array([3, 700]))
    assert a.shape == b.shape == (2, 64)
    expected = np.load(second)[0, :8, 12:20].ravel()
    np.testing.assert_array_equal(b[0].numpy(), expected)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("shift", [(1, 0), (0, -2), (-1, 1)])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_shifted_captures_are_refused_and_told_by_how_much(
    scene: str, shift: tuple[int, int], noise: float, tmp_path: Path
) -> None:
    moved = np.roll(SCENES[scene], shift, axis=(1, 2))
    first, second = captures(tmp_path, SCENES[scene], moved, noise)
    with pytest.raises(DataError, match=r"shifted against those of .* pixels down and .* to the right") as error:
        open_source(SourceOptions(images=first, pair=second), "train")
    words = error.value.message.split(" by ")[1].split()
    assert float(words[0]) == pytest.approx(shift[0], abs=0.5)
    assert float(words[4]) == pytest.approx(shift[1], abs=0.5)


def test_half_a_pixel_is_a_shift(tmp_path: Path) -> None:
    large = load_sample_images().images[0][100:356, 200:456].mean(2) / 255
    blurred = (large + np.roll(large, 1, 0) + np.roll(large, 1, 1) + np.roll(large, (1, 1), (0, 1))) / 4
    halves = [blurred[a : a + 200 : 2, ::2][:96, :96][None] for a in (0, 1)]  # half of every second row
    first, second = captures(tmp_path, halves[0], halves[1])
    with pytest.raises(DataError, match=r"by -0\.5 pixels down"):
        open_source(SourceOptions(images=first, pair=second), "train")


def test_captures_in_another_order_are_refused(tmp_path: Path) -> None:
    first, second = captures(tmp_path, DIGITS[:100], DIGITS[3:103], 0.1)
    with pytest.raises(DataError, match=r"stand 3 places after them in .* best"):
        open_source(SourceOptions(images=first, pair=second), "train")


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (DIGITS[:99], "has 100 pictures, its pair .* 99"),
        (DIGITS[:100, :, :7], "8 x 8 x 1 .* 8 x 7 x 1"),
        (np.repeat(DIGITS[:100, :, :, None], 3, 3), "8 x 8 x 1 .* 8 x 8 x 3"),
    ],
)
def test_captures_of_unequal_number_or_size_are_refused(second: np.ndarray, words: str, tmp_path: Path) -> None:
    first, other = captures(tmp_path, DIGITS[:100], second)
    with pytest.raises(DataError, match=words):
        open_source(SourceOptions(images=first, pair=other), "train")


def test_one_capture_given_twice_and_empty_captures_are_refused(tmp_path: Path) -> None:
    first, second = captures(tmp_path, DIGITS[:100], DIGITS[:100])
    with pytest.raises(DataError, match="hold the same values"):
        open_source(SourceOptions(images=first, pair=second), "train")
    first, second = captures(tmp_path, DIGITS[:100], np.full((100, 8, 8), 0.25))
    with pytest.raises(DataError, match=r"second\.npy that were looked at show nothing"):
        open_source(SourceOptions(images=first, pair=second), "train")


def test_folders_of_pictures_are_paired_by_their_order(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(6):
            values = np.clip(DIGITS[i] + 0.1 * np.random.default_rng([i, ord(name)]).normal(size=(8, 8)), 0, 1)
            Image.fromarray((values * 255).astype(np.uint8)).save(tmp_path / name / f"field{i}.png")
    table = open_source(SourceOptions(images=str(tmp_path / "a"), pair=str(tmp_path / "b")), "train").table()
    assert isinstance(table, CapturedTable)
    a, b = table.captures(np.arange(6))
    assert 0 < float((a - b).abs().mean()) < 0.2


def test_a_pair_is_for_training_alone(tmp_path: Path) -> None:
    first, second = captures(tmp_path, DIGITS[:50], DIGITS[:50], 0.1)
    plain, told = open_source(SourceOptions(images=first)), open_source(SourceOptions(images=first, pair=second))
    assert told.describe() == plain.describe()
    assert not isinstance(told.table(), CapturedTable)
    with pytest.raises(OptionError, match="pair is given, but it concerns images as pixels"):
        SourceOptions(activations=first, pair=second)
