from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saescope.sources import SourceOptions, has_splits, held_out, open_source
from saescope.store.errors import UserError


def opened(path: Path, **given):
    return open_source(SourceOptions(activations=str(path), **given))


def refused(path: Path, **given) -> UserError:
    with pytest.raises(UserError) as caught:
        opened(path, **given)
    assert str(path) in caught.value.message
    return caught.value


def everything(source, **given) -> np.ndarray:
    return torch.cat([b.activations for b in source.batches(**given)]).numpy()


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(9, 6), (9, 4, 6)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_npy(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    array = values(*shape).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    source = opened(tmp_path / "x.npy")
    expected = array.astype(np.float32).reshape(9, -1, 6)
    np.testing.assert_array_equal(everything(source), expected)
    np.testing.assert_array_equal(everything(source, start_item=4, items_per_batch=2), expected[4:])
    description = source.describe()
    assert description["n_positions"] == expected.shape[0] * expected.shape[1]
    assert description["value_range"] == [expected.min(), expected.max()]
    held = held_out(9)
    rows = np.arange(expected[~held].shape[0] * expected.shape[1])[::-1].copy()
    flat = expected[~held].reshape(-1, 6)
    np.testing.assert_array_equal(source.table(~held).rows(rows).numpy(), flat[::-1])
    assert source.item_table(np.array([3, 5])).to_pydict() == {"item_id": [3, 5], "label": [None, None]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_safetensors(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(values(5, 3, 4)).to(dtype)
    save_file({"acts": tensor, "scale": torch.ones(3)}, tmp_path / "x.safetensors")
    source = opened(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(everything(source), tensor.float().numpy())
    assert source.positions_per_item == 3


def test_the_same_values_have_the_same_hash(tmp_path: Path) -> None:
    array = values(9, 4)
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", array[:, None].astype(np.float64))
    np.savez_compressed(tmp_path / "c.npz", activations=array, labels=np.arange(9) % 2)
    save_file({"x": torch.from_numpy(array)}, tmp_path / "d.safetensors")
    sources = [opened(tmp_path / n) for n in ("a.npy", "b.npy", "c.npz", "d.safetensors")]
    assert len({s.data_sha256 for s in sources}) == 1
    assert sources[2].metadata()["label"].to_pylist() == [str(i % 2) for i in range(9)]
    np.save(tmp_path / "a.npy", array[:8])
    assert opened(tmp_path / "a.npy").data_sha256 != sources[0].data_sha256


def test_float32_is_mapped_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values(9, 4))
    source = opened(tmp_path / "x.npy")
    first, second = next(iter(source.batches())), next(iter(source.batches()))
    assert first.activations.data_ptr() == second.activations.data_ptr()


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_what_is_not_finite_is_located(tmp_path: Path, bad: float) -> None:
    array = values(9, 4, 6)
    array[7, 2, 5] = bad
    np.save(tmp_path / "x.npy", array)
    assert "item 7, position 2, dimension 5 is" in refused(tmp_path / "x.npy").message


@pytest.mark.parametrize("shape", [(5,), (2, 2, 2, 2), (0, 4), (3, 0), (3, 2, 0)])
def test_other_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    error = refused(tmp_path / "x.npy")
    assert str(list(shape)) in error.message
    assert "[item, d_in]" in str(error.hint)


def test_truncated_and_foreign_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values(50, 40))
    save_file({"x": torch.from_numpy(values(50, 40))}, tmp_path / "x.safetensors")
    np.savez(tmp_path / "x.npz", activations=values(50, 40))
    for name in ("x.npy", "x.safetensors", "x.npz"):
        data = (tmp_path / name).read_bytes()
        for keep in (len(data) - 5, len(data) // 2, 40):
            (tmp_path / name).write_bytes(data[:keep])
            error = refused(tmp_path / name)
            assert "truncated or corrupt" in error.message or "not a whole .safetensors file" in error.message
    (tmp_path / "x.txt").write_text("0.1 0.2")
    assert "not a known file of activations" in refused(tmp_path / "x.txt").message
    (tmp_path / "y.safetensors").write_bytes(b"junk that is long enough to be read")
    assert "not a whole .safetensors file" in refused(tmp_path / "y.safetensors").message


def test_dtypes_keys_labels_and_splits(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.complex64))
    assert "dtype complex64" in refused(tmp_path / "x.npy").message
    save_file({"a": torch.zeros(2, 3), "b": torch.ones(4, 3)}, tmp_path / "x.safetensors")
    assert "cannot tell which array holds the activations: a, b" in refused(tmp_path / "x.safetensors").message
    assert opened(tmp_path / "x.safetensors", data_key="b").n_items == 4
    assert "no array 'c'" in refused(tmp_path / "x.safetensors", data_key="c").message
    np.savez(tmp_path / "x.npz", acts=values(4, 3), labels=np.arange(3))
    assert "3 labels for 4 items" in refused(tmp_path / "x.npz").message
    assert "no array 'c' of labels" in refused(tmp_path / "x.npz", label_key="c").message
    np.save(tmp_path / "x.npy", values(4, 3))
    assert "data_key is given" in refused_key(tmp_path / "x.npy").message
    assert not has_splits(SourceOptions(activations=str(tmp_path / "x.npy")))
    assert "has no splits" in refused(tmp_path / "x.npy", split="test").message
    assert opened(tmp_path / "x.npy", split="all").n_items == 4


def refused_key(path: Path) -> UserError:
    return refused(path, data_key="x")
