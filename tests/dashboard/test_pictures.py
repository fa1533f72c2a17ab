"""Sprites, held against the values that they were drawn from, pixel by pixel."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saescope.dashboard import theme
from saescope.dashboard.components import palettes, pictures
from saescope.dashboard.components.pictures import PatchGrid, PictureShape, Sprite
from saescope.dashboard.presentation.choice import presenters
from saescope.dashboard.presentation.pixels import Pictures
from saescope.dashboard.presentation.presenter import Presenter
from saescope.store.format.source import PatchDescription, PixelDescription, SourceDescription, VisionDescription


def tiles(sprite: Sprite, mode: str = "RGBA") -> np.ndarray:
    """The pictures of a sprite as the browser cuts them: uint8 [n, h, w, channels of `mode`]."""
    sheet = np.asarray(Image.open(io.BytesIO(sprite.png)).convert(mode))
    down, across = sprite.height + pictures.GUTTER, sprite.width + pictures.GUTTER
    out = []
    for index in range(sprite.n_tiles):
        row, column = divmod(index, sprite.columns)
        out.append(sheet[row * down : row * down + sprite.height, column * across : column * across + sprite.width])
    return np.stack(out)


@pytest.fixture
def atoms() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 4 * 5)).astype(np.float32)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_diverging_atom_shows_sign_as_hue_and_size_as_opacity(atoms: np.ndarray, scheme: theme.Scheme) -> None:
    atoms[2, 3] = 0.0
    shown = tiles(pictures.atom_sprite(atoms, PictureShape(4, 5, 1), scheme=scheme))
    values = atoms.reshape(7, 4, 5)
    limit = np.abs(values).max(axis=(1, 2), keepdims=True)
    negative, _, positive = theme.DIVERGING[scheme]
    clear = np.abs(values) > 0.01 * limit
    assert (shown[clear & (values > 0)][:, :3] == palettes.rgb(positive)).all()
    assert (shown[clear & (values < 0)][:, :3] == palettes.rgb(negative)).all()
    np.testing.assert_allclose(shown[..., 3], 255 * np.abs(values / limit), atol=255 / 127)
    assert shown[2, 0, 3, 3] == 0


def test_limits_are_symmetric_and_common_when_asked_for() -> None:
    values = np.array([[[-2.0, 1.0]], [[0.5, 8.0]]])
    own = tiles(pictures.signed_sprite(values, palette="grey"), "L")
    assert own[0].tolist() == [[0, 191]]
    assert own[1, 0, 1] == 255
    common = tiles(pictures.signed_sprite(values, limit=2.0, palette="grey"), "L")
    np.testing.assert_allclose(common[1], [[127.5 * 1.25, 255]], atol=1)  # 255 steps


def test_zero_and_nan_are_neutral() -> None:
    values = np.array([[[0.0, 0.0]], [[np.nan, 1.0]]])
    shown = tiles(pictures.signed_sprite(values))
    assert (shown[0, ..., 3] == 0).all()
    assert shown[1, 0, 0, 3] == 0
    colour = tiles(pictures.colour_sprite(np.zeros((1, 2, 2, 3))), "RGB")
    assert (colour == 128).all()


def test_colour_atoms_lie_around_mid_grey() -> None:
    atoms = np.random.default_rng(1).normal(size=(3, 2 * 2 * 3))
    shape = PictureShape(2, 2, 3)
    shown = tiles(pictures.atom_sprite(atoms, shape), "RGB").astype(float)
    limit = np.abs(atoms).max(axis=1).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(shown, 128 + 127 * atoms.reshape(3, 2, 2, 3) / limit, atol=0.51)
    grey = tiles(pictures.atom_sprite(atoms, shape, "grey"), "L").astype(float)
    luma = atoms.reshape(3, 2, 2, 3) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey, 127.5 * (1 + luma / np.abs(luma).max(axis=(1, 2), keepdims=True)), atol=1.1)


def test_atoms_of_no_picture_are_drawn_as_bars() -> None:
    atoms = np.zeros((2, 1000))
    atoms[0, 999], atoms[1, 15], atoms[1, 16] = 3.0, -2.0, 1.0
    shown = tiles(pictures.barcode_sprite(atoms, width=10, height=3))
    assert shown.shape == (2, 3, 10, 4)
    assert np.flatnonzero(shown[0, 0, :, 3]).tolist() == [9]
    assert (shown[1, 0, 0, :3] == palettes.rgb(theme.DIVERGING["light"][0])).all()
    assert pictures.barcode_sprite(atoms[:, :7]).width == 7


def test_unsigned_values_are_clipped_to_their_range() -> None:
    values = np.array([[[[-1.0], [0.0]], [[0.5], [2.0]]]])
    assert tiles(pictures.value_sprite(values), "L").tolist() == [[[0, 0], [128, 255]]]


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_come_back_bit_for_bit() -> None:
    random = np.random.default_rng(2)
    grey = random.integers(0, 256, (5, 6, 4), dtype=np.uint8)
    np.testing.assert_array_equal(tiles(pictures.image_sprite([png(g) for g in grey]), "L"), grey)
    colour = random.integers(0, 256, (3, 6, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(tiles(pictures.image_sprite([png(c) for c in colour]), "RGB"), colour)


def test_large_images_are_reduced_and_small_ones_keep_their_corner() -> None:
    sprite = pictures.image_sprite([png(np.full((600, 300), 9, np.uint8)), png(np.full((2, 2), 7, np.uint8))])
    assert (sprite.height, sprite.width) == (256, 128)
    assert tiles(sprite, "L")[1, :3, :3].tolist() == [[7, 7, 0], [7, 7, 0], [0, 0, 0]]


def test_the_sheet_is_near_square_and_holds_every_tile() -> None:
    sprite = pictures.signed_sprite(np.zeros((1000, 3, 3)))
    rows = -(-1000 // sprite.columns)
    width, height = Image.open(io.BytesIO(sprite.png)).size
    assert (width, height) == (sprite.columns * 4, rows * 4)
    assert 0.8 < width / height < 1.25
    assert pictures.signed_sprite(np.zeros((0, 3, 3))).n_tiles == 0


def presented(source: SourceDescription, d_out: int = 1) -> Presenter:
    entry: Any = SimpleNamespace(source=source, manifest=SimpleNamespace(d_out=d_out))
    return presenters()[type(source)](entry)


PATCHES: dict[str, Any] = {"patch": 8, "stride": 8, "grid": (8, 6)}


@pytest.mark.parametrize(
    ("source", "d_out", "expected"),
    [
        (PixelDescription(input_shape=(28, 28, 1)), 784, PictureShape(28, 28, 1)),
        (PatchDescription(input_shape=(64, 48, 3), **PATCHES), 192, PictureShape(8, 8, 3)),
        (PixelDescription(input_shape=(28, 28, 1)), 100, None),
        (SourceDescription(kind="activations"), 768, None),
        (PixelDescription(input_shape=(4, 4, 7)), 112, None),
        (VisionDescription(input_shape=(64, 48, 3), **PATCHES), 192, None),
    ],
)
def test_the_shape_of_an_atom_follows_the_source(
    source: SourceDescription, d_out: int, expected: PictureShape | None
) -> None:
    assert presented(source, d_out).atom_shape == expected


def test_activations_spread_over_the_pixels_of_their_patches() -> None:
    patches = presented(PatchDescription(input_shape=(5, 7, 1), patch=3, stride=2, grid=(2, 3)))
    assert isinstance(patches, Pictures)
    grid = patches.grid
    assert grid == PatchGrid(2, 3, 3, 2, 5, 7)
    activations = np.array([0.0, 2.0, 0.0, 1.0, -5.0, 0.0])
    expected = np.zeros((5, 7))
    for y in range(5):
        for x in range(7):
            covering = [
                activations[r * 3 + c]
                for r in range(2)
                for c in range(3)
                if r * 2 <= y < r * 2 + 3 and c * 2 <= x < c * 2 + 3
            ]
            expected[y, x] = max(covering, key=abs, default=0.0)
    np.testing.assert_array_equal(grid.spread(activations), expected)
    np.testing.assert_array_equal(grid.spread(activations[3:], start=3)[:2], np.zeros((2, 7)))


def test_heat_is_transparent_at_zero_and_strongest_where_the_feature_is() -> None:
    heat = tiles(pictures.heat_sprite(np.array([[[0.0, 1.0, -2.0]]]), strongest=2.0))
    assert heat[0, 0, 0, 3] == 0
    assert 0 < heat[0, 0, 1, 3] < heat[0, 0, 2, 3]
    assert (heat[0, 0, 1:, :3] == palettes.rgb(theme.ACTIVATION)).all()
