"""Whole images and patches against explicit loops."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saescope.sources import SourceOptions, flat_positions, open_source
from saescope.store.errors import UserError


def saved(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


def some_images(n: int = 7, shape: tuple[int, ...] = (11, 9, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def cut(images: np.ndarray, patch: int, stride: int) -> np.ndarray:
    """[item, position, d_in] by explicit loops; images [n, H, W, C] as floats."""
    height, width = images.shape[1:3]
    corners = [(y, x) for y in range(0, height - patch + 1, stride) for x in range(0, width - patch + 1, stride)]
    return np.stack([[image[y : y + patch, x : x + patch].reshape(-1) for y, x in corners] for image in images]).astype(
        np.float32
    )


def everything(source, **given) -> np.ndarray:
    return torch.cat([b.activations for b in source.batches(**given)]).numpy()


@pytest.mark.parametrize("shape", [(11, 9), (11, 9, 1), (11, 9, 3)])
def test_whole_images_are_rows_of_pixels_channels_last(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = some_images(shape=shape)
    source = open_source(SourceOptions(images=saved(tmp_path / "x.npy", images)))
    expected = (images.reshape(7, -1) / np.float32(255)).astype(np.float32)
    np.testing.assert_array_equal(everything(source)[:, 0], expected)
    assert (source.kind, source.positions_per_item, source.d_in) == ("pixels", 1, expected.shape[1])
    np.testing.assert_array_equal(source.table().rows(np.array([3, 0, 3])).numpy(), expected[[3, 0, 3]])


@pytest.mark.parametrize(("patch", "stride"), [(1, 1), (3, None), (4, 1), (4, 3), (9, 2), (2, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_patches_equal_loops(tmp_path: Path, patch: int, stride: int | None, dtype: type, channels: int) -> None:
    images = some_images(shape=(11, 9, channels))
    floats = images / np.float32(255)
    path = saved(tmp_path / "x.npy", images if dtype == np.uint8 else floats)
    source = open_source(SourceOptions(images=path, patch=patch, stride=stride))
    expected = cut(floats, patch, stride or patch)
    np.testing.assert_array_equal(everything(source, items_per_batch=3), expected)
    assert (source.kind, source.positions_per_item, source.d_in) == ("patches", *expected.shape[1:])
    description = source.describe()
    assert description["grid"][0] * description["grid"][1] == expected.shape[1]
    assert description["n_positions"] == expected.shape[0] * expected.shape[1]
    rows = np.random.default_rng(1).integers(0, description["n_positions"], 50)
    np.testing.assert_array_equal(source.table().rows(rows).numpy(), expected.reshape(-1, source.d_in)[rows])
    items = np.array([True, False, False, True, True, False, True])
    table = source.table(items)
    chosen = expected[items].reshape(-1, source.d_in)
    assert table.n_rows == len(chosen)
    backwards = np.arange(len(chosen))[::-1]
    np.testing.assert_array_equal(table.rows(backwards).numpy(), chosen[::-1])


@pytest.mark.parametrize("items_per_batch", [None, 1, 3, 100])
@pytest.mark.parametrize("start", [0, 4, 7])
def test_batches_run_from_any_item_in_order(tmp_path: Path, start: int, items_per_batch: int | None) -> None:
    source = open_source(SourceOptions(images=saved(tmp_path / "x.npy", some_images()), patch=3))
    whole = everything(source)
    batches = list(source.batches(start, items_per_batch))
    ids = [i for b in batches for i in b.item_ids.tolist()]
    assert ids == list(range(start, 7))
    for batch in batches:
        assert batch.activations.dtype == torch.float32
        assert batch.activations.is_contiguous()
        np.testing.assert_array_equal(batch.activations.numpy(), whole[batch.item_ids])
        flat, items, positions = flat_positions(batch)
        np.testing.assert_array_equal(flat.numpy(), whole[items, positions])


def test_float_arrays_are_not_copied(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((6, 5, 4), dtype=np.float32)
    source = open_source(SourceOptions(images=saved(tmp_path / "x.npy", images)))
    first, second = next(iter(source.batches())), next(iter(source.batches()))
    assert first.activations.data_ptr() == second.activations.data_ptr()
    np.testing.assert_array_equal(everything(source)[:, 0], images.reshape(6, -1))


def test_bytes_of_earlier_batches_stay(tmp_path: Path) -> None:
    source = open_source(SourceOptions(images=saved(tmp_path / "x.npy", some_images()), patch=4, stride=2))
    kept = [b.activations for b in source.batches(items_per_batch=2)]
    before = [k.clone() for k in kept]
    everything(source)
    source.table().rows(np.arange(10))
    assert all(torch.equal(a, b) for a, b in zip(kept, before, strict=True))


def test_the_hash_follows_the_items_alone(tmp_path: Path) -> None:
    images = some_images()
    a = open_source(SourceOptions(images=saved(tmp_path / "a.npy", images)))
    np.savez_compressed(tmp_path / "b.npz", images=images, labels=np.arange(7))
    b = open_source(SourceOptions(images=str(tmp_path / "b.npz"), patch=4, stride=3))
    moved = np.ascontiguousarray(np.moveaxis(images, 3, 1))
    c = open_source(SourceOptions(images=saved(tmp_path / "c.npy", moved)))
    assert a.data_sha256 == b.data_sha256 == c.data_sha256 == a.describe()["data_sha256"]
    images[6, 10, 8, 2] ^= 1
    d = open_source(SourceOptions(images=saved(tmp_path / "d.npy", images)))
    e = open_source(SourceOptions(images=saved(tmp_path / "e.npy", images[:6])))
    f = open_source(SourceOptions(images=saved(tmp_path / "f.npy", images[::-1].copy())))
    g = open_source(SourceOptions(images=str(tmp_path / "d.npy"), image_mode="grey"))
    assert len({s.data_sha256 for s in (a, d, e, f, g)}) == 5


def test_item_rows_hold_pictures_that_read_back(tmp_path: Path) -> None:
    images = some_images()
    np.savez(tmp_path / "b.npz", images=images, labels=np.array(list("abcdefg")))
    source = open_source(SourceOptions(images=str(tmp_path / "b.npz"), patch=4))
    table = source.item_table(np.array([1, 4, 6]))
    assert table["item_id"].to_pylist() == [1, 4, 6]
    assert table["label"].to_pylist() == ["b", "e", "g"]
    for row, item in zip(table.to_pylist(), (1, 4, 6), strict=True):
        with Image.open(io.BytesIO(row["image"])) as picture:
            assert picture.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(picture), images[item])
    with pytest.raises(UserError, match=r"item_id outside 0 \.\.\. 6"):
        source.item_table(np.array([7]))


def test_pictures_of_floats_span_their_range(tmp_path: Path) -> None:
    values = np.array([[[0.0, 1.0], [0.5, 0.25]]], dtype=np.float64)
    for images, shown in ((values, (0, 255, 128, 64)), (values * 6 - 3, (0, 255, 128, 64))):
        source = open_source(SourceOptions(images=saved(tmp_path / "x.npy", images)))
        with Image.open(io.BytesIO(source.item_table(np.array([0]))["image"][0].as_py())) as picture:
            assert picture.mode == "L"
            assert tuple(np.asarray(picture).reshape(-1).tolist()) == shown
        assert source.describe()["value_range"] == [images.min(), images.max()]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_located(tmp_path: Path, bad: float) -> None:
    images = np.zeros((5, 6, 4, 3), dtype=np.float32)
    images[3, 2, 1, 0] = bad
    path = saved(tmp_path / "x.npy", images)
    with pytest.raises(UserError, match="item 3, row 2, column 1, channel 0 is") as caught:
        open_source(SourceOptions(images=path))
    assert path in caught.value.message
    images[4] = bad
    with pytest.raises(UserError, match="73 such values in 2 items"):
        open_source(SourceOptions(images=saved(tmp_path / "x.npy", images)))


def test_a_patch_larger_than_the_image_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", some_images())
    with pytest.raises(UserError, match="patches of 10 x 10 pixels do not fit into images of 11 x 9") as caught:
        open_source(SourceOptions(images=path, patch=10))
    assert caught.value.hint == "use --patch 9 or less"


def test_grey_and_colour(tmp_path: Path) -> None:
    images = some_images()
    path = saved(tmp_path / "x.npy", images)
    grey = open_source(SourceOptions(images=path, image_mode="grey"))
    by_pillow = np.stack([np.asarray(Image.fromarray(i).convert("L")) for i in images])
    np.testing.assert_array_equal(everything(grey)[:, 0], by_pillow.reshape(7, -1) / np.float32(255))
    assert grey.describe()["input_shape"] == [11, 9, 1]
    assert grey.describe()["image_mode"] == "grey"
    floats = saved(tmp_path / "f.npy", images / np.float32(255))
    near = open_source(SourceOptions(images=floats, image_mode="grey"))
    np.testing.assert_allclose(everything(near), everything(grey), atol=0.51 / 255)
    colour = open_source(SourceOptions(images=saved(tmp_path / "g.npy", by_pillow), image_mode="colour", patch=5))
    repeated = np.repeat(by_pillow[..., None], 3, axis=3) / np.float32(255)
    np.testing.assert_array_equal(everything(colour), cut(repeated, 5, 5))


def test_rows_outside_and_masks_of_another_length(tmp_path: Path) -> None:
    source = open_source(SourceOptions(images=saved(tmp_path / "x.npy", some_images())))
    for row in (-1, 7):
        with pytest.raises(IndexError):
            source.table().rows(np.array([row]))
    assert source.table().rows(np.array([], dtype=np.int64)).shape == (0, 297)
    with pytest.raises(UserError, match="one bool per item"):
        source.table(np.ones(6, dtype=bool))
