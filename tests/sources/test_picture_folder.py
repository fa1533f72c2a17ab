from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saescope.sources import SourceOptions, has_splits, open_source
from saescope.sources.files import natural_key
from saescope.sources.images.pictures import PictureStack
from saescope.store.errors import UserError
from tests.sources.told import Told


def picture(path: Path, pixels: np.ndarray, **given) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **given)
    return path


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def everything(source) -> np.ndarray:
    return torch.cat([b.activations for b in source.batches()]).numpy()


def opened(path: Path, **given):
    return open_source(SourceOptions(images=str(path), **given))


def refused(path: Path, **given) -> UserError:
    with pytest.raises(UserError) as caught:
        opened(path, **given)
    return caught.value


def test_subfolders_are_labels_and_order_is_natural(tmp_path: Path) -> None:
    names = ["cat/img10.png", "cat/img2.png", "dog/a.png", "cat/.hidden.png", "dog/readme.txt"]
    pixels = {name: noise(i, 6, 5, 3) for i, name in enumerate(names)}
    for name in names:
        if name.endswith("txt"):
            (tmp_path / name).write_text("no picture")
        else:
            picture(tmp_path / name, pixels[name])
    source = opened(tmp_path)
    order = ["cat/img2.png", "cat/img10.png", "dog/a.png"]
    assert source.metadata()["label"].to_pylist() == ["cat", "cat", "dog"]
    expected = np.stack([pixels[name].reshape(-1) for name in order]) / np.float32(255)
    np.testing.assert_array_equal(everything(source)[:, 0], expected)
    assert source.item_table(np.arange(3))["file"].to_pylist() == order
    assert "file" not in source.metadata()


def test_natural_order() -> None:
    names = ["b/1.png", "a/10.png", "a/2.png", "A/3.png", "a.png", "a10/1.png", "a9/1.png"]
    order = ["a/2.png", "A/3.png", "a/10.png", "a9/1.png", "a10/1.png", "a.png", "b/1.png"]
    assert sorted(names, key=natural_key) == order


@pytest.mark.parametrize("test_name", ["test", "val", "Validation"])
def test_train_and_test_folders_are_splits(tmp_path: Path, test_name: str) -> None:
    top = tmp_path / "unpacked"
    for split, n in (("Train", 3), (test_name, 2)):
        for label in "xy":
            for i in range(n):
                picture(top / split / label / f"{i}.png", noise(i, 4, 4))
    options = SourceOptions(images=str(tmp_path))
    assert has_splits(options)
    assert open_source(options, "train").n_items == 6
    test = open_source(options)
    assert test.describe()["split"] == "test"
    assert test.metadata()["label"].to_pylist() == ["x", "x", "y", "y"]
    both = opened(tmp_path, split="all")
    assert both.n_items == 10
    assert both.item_table(np.array([9]))["file"].to_pylist() == [f"{test_name}/y/1.png"]


def test_one_subfolder_is_no_label_and_a_file_is_one_item(tmp_path: Path) -> None:
    path = picture(tmp_path / "images" / "a.png", noise(0, 4, 6))
    assert dict(opened(tmp_path).metadata()) == {}
    assert not has_splits(SourceOptions(images=str(tmp_path)))
    single = opened(path, patch=2)
    assert (single.n_items, single.positions_per_item) == (1, 6)


def test_grey_only_where_all_are_grey(tmp_path: Path) -> None:
    grey = noise(0, 4, 4)
    picture(tmp_path / "a.png", grey)
    source = opened(tmp_path)
    assert source.describe()["input_shape"] == [4, 4, 1]
    assert opened(tmp_path, image_mode="colour").describe()["input_shape"] == [4, 4, 3]
    picture(tmp_path / "b.png", noise(1, 4, 4, 3))
    mixed = opened(tmp_path)
    assert mixed.describe()["image_mode"] == "colour"
    np.testing.assert_array_equal(everything(mixed)[0, 0], np.repeat(grey.reshape(-1), 3) / np.float32(255))
    assert opened(tmp_path, image_mode="grey").describe()["input_shape"] == [4, 4, 1]


def test_depth_transparency_palettes_and_orientation(tmp_path: Path) -> None:
    def one(name: str, image: Image.Image, **given) -> np.ndarray:
        folder = tmp_path / name
        folder.mkdir()
        image.save(folder / f"{name}.png", **given)
        source = opened(folder)
        return np.rint(everything(source).reshape(source.describe()["input_shape"]) * 255).astype(int)

    deep = np.array([[0, 257 * 7, 65535]], np.uint16)
    np.testing.assert_array_equal(one("deep", Image.fromarray(deep))[..., 0], [[0, 7, 255]])
    half = np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], np.uint8)
    np.testing.assert_array_equal(one("alpha", Image.fromarray(half)), [[[255, 255, 255], [10, 20, 30]]])
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(one("bits", bits)[..., 0], [[0, 255]])
    ramp = Image.fromarray(np.array([[0, 100, 200]], np.uint8)).convert("P")
    assert one("palette", ramp).shape == (1, 3, 1)
    colours = Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)).quantize(2)
    np.testing.assert_array_equal(one("coloured", colours), [[[255, 0, 0], [0, 0, 255]]])
    turned = Image.fromarray(np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    np.testing.assert_array_equal(one("turned", turned, exif=exif)[..., 0], [[4, 1], [5, 2], [6, 3]])


def test_pictures_that_are_none(tmp_path: Path) -> None:
    whole = picture(tmp_path / "0.png", noise(0, 16, 16, 3)).read_bytes()
    bad = tmp_path / "1.png"
    for data, says in (
        (b"", "is empty; expected a picture"),
        (b"<html>not found</html>", "not a picture (it starts with bytes 3c 68 74 6d)"),
        (whole[: len(whole) // 2], "truncated or corrupt"),
        (whole[:60] + bytes(40) + whole[100:], "truncated or corrupt"),
    ):
        bad.write_bytes(data)
        error = refused(tmp_path)
        assert str(bad) in error.message
        assert says in error.message
        assert error.hint


def test_a_truncated_jpeg(tmp_path: Path) -> None:
    path = picture(tmp_path / "0.jpg", noise(0, 64, 64, 3), quality=95)
    path.write_bytes(path.read_bytes()[:2000])
    assert "0.jpg: truncated or corrupt" in refused(tmp_path).message


def test_32_bit_pictures_and_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
    assert "mode F" in refused(tmp_path).message
    (tmp_path / "f.tif").unlink()
    picture(tmp_path / "big.png", np.zeros((40, 40), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "exceeds limit" in refused(tmp_path).message


def test_unequal_sizes_name_two_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", noise(0, 4, 6))
    picture(tmp_path / "b.png", noise(0, 4, 6))
    picture(tmp_path / "c.png", noise(0, 6, 4))
    error = refused(tmp_path)
    assert f"{tmp_path / 'a.png'} is 4 x 6, {tmp_path / 'c.png'} is 6 x 4" in error.message
    assert "unequal size" in error.message
    assert error.hint


def test_large_folders_are_decoded_when_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(12):
        picture(tmp_path / "xy"[i % 2] / f"{i}.png", noise(i, 9, 8, 3))
    options = SourceOptions(images=str(tmp_path), patch=4, stride=2)
    eager = open_source(options)
    monkeypatch.setattr("saescope.sources.images.pictures.EAGER_BYTES", 100)
    monkeypatch.setattr("saescope.sources.images.pictures._CHUNK", 5)
    lazy = open_source(options)
    assert isinstance(lazy._stack, PictureStack)
    assert not isinstance(eager._stack, PictureStack)
    assert lazy.data_sha256 == eager.data_sha256
    np.testing.assert_array_equal(everything(lazy), everything(eager))
    rows = np.random.default_rng(0).integers(0, eager.table().n_rows, 60)
    held = np.arange(12) % 3 == 0
    assert torch.equal(lazy.table().rows(rows), eager.table().rows(rows))
    assert torch.equal(lazy.table(held).rows(rows % 36), eager.table(held).rows(rows % 36))
    ids = np.array([2, 3, 11])
    assert lazy.item_table(ids).equals(eager.item_table(ids))


def test_a_picture_that_changes_behind_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture(tmp_path / "0.png", noise(0, 9, 8))
    monkeypatch.setattr("saescope.sources.images.pictures.EAGER_BYTES", 10)
    source = opened(tmp_path)
    picture(path, noise(0, 5, 8))
    with pytest.raises(UserError, match="is 5 x 8 now"):
        everything(source)
    path.unlink()
    with pytest.raises(UserError, match="No such file"):
        everything(source)


def test_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "x" / "a" / "0.png", noise(0, 4, 4))
    (tmp_path / "x" / "a" / "0.jp2").write_bytes(b"")
    (tmp_path / "x" / "notes.txt").write_text("")
    (tmp_path / "x" / ".hidden").write_text("")
    told = Told()
    open_source(SourceOptions(images=str(tmp_path / "x")), progress=told)
    assert told.lines == [f"{tmp_path / 'x'}: not read, as they are no pictures by their names: a/0.jp2, notes.txt"]
