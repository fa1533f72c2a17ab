from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx_bytes, write_idx, write_mnist
from shared_data import shared_data

from saescope.sources import SourceOptions, has_splits, open_source
from saescope.sources.images.idx import read_idx
from saescope.store.errors import UserError


def everything(source) -> np.ndarray:
    return np.concatenate([b.activations.numpy() for b in source.batches()])


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_every_dtype_is_read_back(tmp_path: Path, suffix: str, dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 100, (3, 4, 5)).astype(dtype)
    read = read_idx(write_idx(tmp_path / f"some-idx3-ubyte{suffix}", array))
    assert read.dtype.newbyteorder("=") == array.dtype
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_a_folder_has_two_splits_and_labels(tmp_path: Path, suffix: str, dot: str) -> None:
    folder = write_mnist(tmp_path / "data", suffix=suffix, dot=dot)
    options = SourceOptions(images=str(folder))
    assert has_splits(options)
    train, test = open_source(options, "train"), open_source(options, "evaluate")
    assert (train.n_items, test.n_items) == (30, 12)
    assert (train.describe()["split"], test.describe()["split"]) == ("train", "test")
    images = read_idx(next(folder.glob("t10k-images*")))
    labels = read_idx(next(folder.glob("t10k-labels*")))
    np.testing.assert_array_equal(everything(test)[:, 0], images.reshape(12, 30).astype(np.float32) / 255)
    assert test.metadata()["label"].to_pylist() == [str(v) for v in labels]
    both = open_source(SourceOptions(images=str(folder), split="all"))
    np.testing.assert_array_equal(everything(both), np.concatenate([everything(train), everything(test)]))
    assert both.metadata()["label"].to_pylist()[30:] == [str(v) for v in labels]


def test_packing_and_path_do_not_change_the_hash_but_the_split_does(tmp_path: Path) -> None:
    packed = write_mnist(tmp_path / "a", suffix=".gz")
    plain = write_mnist(tmp_path / "b", suffix="", dot=".")
    hashes = {
        (folder.name, split): open_source(SourceOptions(images=str(folder), split=split)).data_sha256
        for folder in (packed, plain)
        for split in ("train", "test", "all")
    }
    for split in ("train", "test", "all"):
        assert hashes["a", split] == hashes["b", split]
    assert len(set(hashes.values())) == 3


def test_one_file_has_no_split_and_finds_its_labels(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    file = folder / "t10k-images-idx3-ubyte.gz"
    source = open_source(SourceOptions(images=str(file)))
    assert not has_splits(SourceOptions(images=str(file)))
    assert source.describe()["split"] is None
    assert len(source.metadata()["label"]) == 12
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert dict(open_source(SourceOptions(images=str(file))).metadata()) == {}
    with pytest.raises(UserError, match="no train and test split"):
        open_source(SourceOptions(images=str(file), split="train"))


@pytest.mark.parametrize(
    ("name", "is_digits"),
    [("mnist", True), ("my-MNIST-copy", True), ("fashion-mnist", False), ("kmnist", False), ("x", False)],
)
def test_the_word_for_labels_is_used_only_for_digits(tmp_path: Path, name: str, is_digits: bool) -> None:
    folder = write_mnist(tmp_path / "sets" / name)
    words = open_source(SourceOptions(images=str(folder))).describe()["label_words"]
    assert words == ({"label": "digit"} if is_digits else {})


def damage(data: bytes, kind: str) -> bytes:
    return {
        "empty": b"",
        "magic": b"\x01\x02" + data[2:],
        "dtype": data[:2] + b"\x07" + data[3:],
        "header": data[:9],
        "short": data[:-7],
        "long": data + b"\0",
        "gzip-cut": gzip.compress(data)[:-20],
        "gzip-bad": gzip.compress(data)[:40] + b"\xff" * 40 + gzip.compress(data)[80:],
        "gzip-short": gzip.compress(data[:-7]),
        "text": b"hello, these are no images",
    }[kind]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("empty", "is empty"),
        ("magic", "starts with bytes 01 02 08 03"),
        ("dtype", "starts with bytes 00 00 07 03"),
        ("header", "ends within its header"),
        ("short", "600 bytes; found 593"),
        ("long", "600 bytes; found more"),
        ("gzip-cut", "gzip data is truncated or corrupt"),
        ("gzip-bad", "gzip data is truncated or corrupt"),
        ("gzip-short", "found 593"),
        ("text", "starts with bytes 68 65 6c 6c"),
    ],
)
def test_damaged_files_are_told_with_path_and_reason(tmp_path: Path, kind: str, says: str) -> None:
    whole = idx_bytes(np.random.default_rng(0).integers(0, 256, (20, 6, 5), dtype=np.uint8))
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(whole, kind))
    for images in (path, tmp_path):
        with pytest.raises(UserError, match=says) as caught:
            open_source(SourceOptions(images=str(images)))
        assert str(path) in caught.value.message
        assert caught.value.hint


def test_labels_of_another_length_and_labels_as_images(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.zeros(11, np.uint8))
    with pytest.raises(UserError, match="11 labels for 12 images"):
        open_source(SourceOptions(images=str(folder)))
    with pytest.raises(UserError, match="labels of shape"):
        open_source(SourceOptions(images=str(folder / "t10k-labels-idx1-ubyte.gz")))


def test_zero_images_and_splits_of_two_sizes(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    write_idx(folder / "t10k-images-idx3-ubyte.gz", np.zeros((0, 6, 5), np.uint8))
    with pytest.raises(UserError, match="holds no images"):
        open_source(SourceOptions(images=str(folder)))
    write_idx(folder / "t10k-images-idx3-ubyte.gz", np.zeros((12, 7, 5), np.uint8))
    with pytest.raises(UserError, match="expected one size"):
        open_source(SourceOptions(images=str(folder), split="all"))


def test_two_data_sets_in_one_folder_are_not_mixed(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    for file in list(tmp_path.iterdir()):
        file.with_name(f"emnist-{file.name}").write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="several data sets"):
        open_source(SourceOptions(images=str(tmp_path)))


def test_mnist_itself() -> None:
    folder = shared_data("mnist")
    test = open_source(SourceOptions(images=str(folder)))
    assert test.n_items == 10_000
    assert test.d_in == 784
    description = test.describe()
    assert description["label_words"] == {"label": "digit"}
    assert description["input_shape"] == [28, 28, 1]
    assert test.metadata()["label"].to_pylist()[:5] == ["7", "2", "1", "0", "4"]
    assert everything(test).mean() == pytest.approx(0.1325, abs=1e-4)  # the published mean of the test images


def test_an_array_packed_by_gzip_is_to_be_unpacked(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 4), np.uint8))
    path = tmp_path / "x.npy.gz"
    path.write_bytes(gzip.compress((tmp_path / "x.npy").read_bytes()))
    with pytest.raises(UserError, match=r"starts \(unpacked\) with bytes 93 4e 55 4d") as caught:
        open_source(SourceOptions(images=str(path)))
    assert "unpack it first" in str(caught.value.hint)
    path.write_bytes(bz2.compress((tmp_path / "x.npy").read_bytes()))
    with pytest.raises(UserError, match="is compressed by bzip2"):
        open_source(SourceOptions(images=str(path)))
