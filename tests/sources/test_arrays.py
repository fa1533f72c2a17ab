from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from saescope.sources import SourceOptions, has_splits, open_source
from saescope.store.errors import UserError


def saved(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


def everything(source) -> np.ndarray:
    return torch.cat([b.activations for b in source.batches()]).numpy()


def refused(path: str, **given) -> UserError:
    with pytest.raises(UserError) as caught:
        open_source(SourceOptions(images=path, **given))
    assert path in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("shape", "layout", "input_shape"),
    [
        ((5, 8, 6), None, [8, 6, 1]),
        ((5, 8, 6, 1), None, [8, 6, 1]),
        ((5, 8, 6, 3), None, [8, 6, 3]),
        ((5, 1, 8, 6), None, [8, 6, 1]),
        ((5, 3, 8, 6), None, [8, 6, 3]),
        ((5, 3, 8, 3), "nchw", [8, 3, 3]),
        ((5, 3, 8, 3), "nhwc", [3, 8, 3]),
        ((50, 20, 3), "nhw", [20, 3, 1]),
    ],
)
def test_layouts(tmp_path: Path, shape: tuple[int, ...], layout, input_shape: list[int]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    source = open_source(SourceOptions(images=saved(tmp_path / "x.npy", array), layout=layout))
    assert source.describe()["input_shape"] == input_shape
    images = np.moveaxis(array, 1, 3) if len(shape) == 4 and list(shape[2:]) == input_shape[:2] else array
    np.testing.assert_array_equal(everything(source)[:, 0] * 255, images.reshape(shape[0], -1).astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((5, 3, 8, 3), "fits both"),
        ((5, 8, 6, 4), "4 channels"),
        ((5, 8, 6, 2), "2 channels"),
        ((20, 64), "expected \\[n, H, W\\]"),
        ((7,), "expected \\[n, H, W\\]"),
        ((1, 2, 3, 4, 5), "expected \\[n, H, W\\]"),
        ((50, 20, 3), "one colour picture"),
        ((0, 8, 6), "holds no images"),
        ((4, 0, 6), "holds no images"),
    ],
)
def test_shapes_that_are_no_images_are_asked_about(tmp_path: Path, shape: tuple[int, ...], says: str) -> None:
    error = refused(saved(tmp_path / "x.npy", np.zeros(shape, np.uint8)))
    assert re.search(says, error.message)
    assert error.hint


@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        (np.array([0, 51, 255], np.uint8), None, [0, 0.2, 1]),
        (np.array([0, 51, 255], np.int64), None, [0, 0.2, 1]),
        (np.array([0, 51, 65535], np.uint16), None, [0, 51 / 65535, 1]),
        (np.array([0, 8, 16], np.uint8), (0, 16), [0, 0.5, 1]),
        (np.array([-128, 0, 127], np.int8), (-128, 127), [0, 128 / 255, 1]),
        (np.array([False, True, True]), None, [0, 1, 1]),
        (np.array([0, 0.25, 1], np.float64), None, [0, 0.25, 1]),
        (np.array([-1, 0, 3], np.float16), None, [-1, 0, 3]),
        (np.array([-1, 0, 1], np.float32), (-1, 1), [0, 0.5, 1]),
        (np.array([0, 0.25, 1], ">f4"), None, [0, 0.25, 1]),
    ],
)
def test_what_values_stand_for(tmp_path: Path, values: np.ndarray, value_range, expected: list[float]) -> None:
    path = saved(tmp_path / "x.npy", values.reshape(1, 1, 3))
    source = open_source(SourceOptions(images=path, value_range=value_range))
    np.testing.assert_allclose(everything(source).reshape(-1), expected, rtol=1e-6)
    low, high = min(expected), max(expected)
    assert source.describe()["value_range"] == [low, high]


def test_integers_beyond_a_byte_and_other_dtypes_are_asked_about(tmp_path: Path) -> None:
    assert "pixels from -3 to 5" in refused(saved(tmp_path / "x.npy", np.array([[[-3, 5]]]))).message
    assert "dtype complex64" in refused(saved(tmp_path / "x.npy", np.ones((1, 2, 2), np.complex64))).message
    assert "dtype <U1" in refused(saved(tmp_path / "x.npy", np.array([[["a"]]]))).message


def test_a_float64_too_large_for_float32_is_located(tmp_path: Path) -> None:
    images = np.zeros((2, 2, 2))
    images[1, 0, 1] = 1e300
    assert "item 1, row 0, column 1, channel 0 is inf" in refused(saved(tmp_path / "x.npy", images)).message


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    np.save(tmp_path / "x.npy", np.array([[[Trap()]]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", images=np.array([[[Trap()]]], dtype=object))
    for name in ("x.npy", "x.npz"):
        assert "holds Python objects" in refused(str(tmp_path / name)).message
    with pytest.raises(UserError, match="holds Python objects"):
        open_source(SourceOptions(activations=str(tmp_path / "x.npy")))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("keep", [8, 60, 0.5, 0.99])
def test_truncated_files(tmp_path: Path, name: str, keep: float) -> None:
    array = np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8)
    path = tmp_path / name
    np.save(path, array) if name == "x.npy" else np.savez_compressed(path, images=array)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    assert "truncated or corrupt" in refused(str(path)).message


def test_a_corrupt_member_of_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8))
    data = bytearray(path.read_bytes())
    data[800:900] = bytes(100)
    path.write_bytes(bytes(data))
    assert "array 'images': truncated or corrupt" in refused(str(path)).message


def test_npz_with_splits_as_keras_writes_mnist(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x_train, x_test = (rng.integers(0, 256, (n, 4, 4), dtype=np.uint8) for n in (9, 5))
    y_train, y_test = (rng.integers(0, 10, n, dtype=np.uint8) for n in (9, 5))
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=x_train, x_test=x_test, y_train=y_train, y_test=y_test)
    options = SourceOptions(images=str(path))
    assert has_splits(options)
    assert open_source(options, "train").n_items == 9
    assert open_source(options).metadata()["label"].to_pylist() == [str(v) for v in y_test]
    everything_ = open_source(SourceOptions(images=str(path), split="all"))
    assert everything_.metadata()["label"].to_pylist() == [str(v) for v in np.concatenate([y_train, y_test])]


def test_splits_of_an_npz_that_are_not_alike(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    bytes_, fractions = np.full((2, 4, 4), 255, np.uint8), np.ones((3, 4, 4), np.float32)
    np.savez(path, x_train=bytes_, x_test=fractions, y_train=np.array([5, 6]))
    assert "unlike kinds: 'x_train' is uint8, 'x_test' is float32" in refused(str(path), split="all").message
    assert "label_key is given, but it means nothing" in refused(str(path), label_key="y_train").message
    np.savez(path, x_train=bytes_, x_test=bytes_.astype(np.int64), y_train=np.array([5, 6]))
    together = open_source(SourceOptions(images=str(path), split="all"))
    assert together.metadata()["label"].to_pylist() == ["5", "6", None, None]


def test_arrays_of_an_npz_are_found_or_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    images, others = np.zeros((3, 4, 4), np.uint8), np.ones((2, 4, 4), np.uint8)
    np.savez(path, first=images, second=others, names=np.array(["u", "v"]))
    assert "cannot tell which of its arrays" in refused(str(path)).message
    assert "no array 'third'" in refused(str(path), data_key="third").message
    assert "no array 'third'" in refused(str(path), data_key="second", label_key="third").message
    chosen = open_source(SourceOptions(images=str(path), data_key="second", label_key="names"))
    assert chosen.n_items == 2
    assert chosen.metadata()["label"].to_pylist() == ["u", "v"]
    np.savez(path, only=images)
    assert open_source(SourceOptions(images=str(path))).n_items == 3
    np.savez(path)
    assert "it has none" in refused(str(path)).message


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.arange(4), "4 labels for 3 images"),
        (np.array([0.5, 1, 2]), "fractions"),
        (np.array([np.nan, 1, 2]), "fractions"),
        (np.zeros((3, 2)), "labels of shape [3, 2]"),
        (np.zeros(3, np.complex64), "labels of dtype complex64"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: np.ndarray, says: str) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((3, 4, 4), np.uint8), labels=labels)
    assert says in refused(str(path)).message


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([[1], [2], [3]]), ["1", "2", "3"]),
        (np.array([1.0, 2.0, 0.0]), ["1", "2", "0"]),
        (np.array([b"cat", b"dog", b"cat"]), ["cat", "dog", "cat"]),
    ],
)
def test_labels_become_strings(tmp_path: Path, labels: np.ndarray, expected: list[str]) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((3, 4, 4), np.uint8), labels=labels)
    assert open_source(SourceOptions(images=str(path))).metadata()["label"].to_pylist() == expected


def test_npy_is_mapped_and_never_written(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((4, 3, 3), dtype=np.float32)
    path = saved(tmp_path / "x.npy", array)
    Path(path).chmod(0o444)
    source = open_source(SourceOptions(images=path))
    next(iter(source.batches())).activations.add_(1)  # a consumer that should not, but does
    np.testing.assert_array_equal(np.load(path), array)
