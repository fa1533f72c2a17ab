"""Pictures of any size through a model of one size."""

from __future__ import annotations

import numpy as np
import pytest

from saescope.denoising.tiles import through_tiles

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(8, 8), (5, 3), (8, 20), (33, 41), (100, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_changes_nothing_gives_the_picture_back(size: tuple[int, int], channels: int) -> None:
    picture = RANDOM.random((*size, channels)).astype(np.float32)
    seen: list[tuple[int, ...]] = []

    def rebuild(tiles: np.ndarray) -> np.ndarray:
        seen.append(tiles.shape[1:])
        return tiles

    np.testing.assert_allclose(through_tiles(picture, (8, 8), rebuild), picture, atol=1e-6)
    assert set(seen) == {(8, 8, channels)}


def test_a_picture_of_the_models_size_is_one_tile() -> None:
    picture = RANDOM.random((8, 6, 1))
    calls: list[int] = []

    def rebuild(tiles: np.ndarray) -> np.ndarray:
        calls.append(len(tiles))
        return 1 - tiles

    np.testing.assert_allclose(through_tiles(picture, (8, 6), rebuild), 1 - picture, rtol=1e-12)
    assert calls == [1]


def test_tiles_overlap_and_are_blended_without_seams() -> None:
    """Each tile comes back as its own mean: of a slope, blended, something close to the slope."""
    slope = np.broadcast_to(np.linspace(0, 1, 64)[:, None, None], (64, 32, 1))
    rebuilt = through_tiles(slope, (16, 16), lambda t: np.broadcast_to(t.mean((1, 2), keepdims=True), t.shape))
    inside = rebuilt[12:-12, :, 0]
    assert np.abs(np.diff(inside, axis=0)).max() < 0.06  # tiles side by side would jump by 16 / 63
    assert np.abs(inside - slope[12:-12, :, 0]).max() < 0.05
