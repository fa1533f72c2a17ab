"""Activations in torch files, in tables, and in folders of shards."""

from __future__ import annotations

import gzip
import io
import pickle
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from saescope.sources import SourceOptions, open_source
from saescope.store.errors import UserError
from tests.sources.told import Told

MIB = 1 << 20


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAESCOPE_CACHE", str(tmp_path / "cache"))


def opened(path: Path, **given):
    return open_source(SourceOptions(activations=str(path), **given))


def refused(path: Path, **given) -> UserError:
    with pytest.raises(UserError) as caught:
        opened(path, **given)
    return caught.value


def everything(source, **given) -> np.ndarray:
    return torch.cat([b.activations for b in source.batches(**given)]).numpy()


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def expected_hash(tmp_path: Path, array: np.ndarray) -> str:
    np.save(tmp_path / "expected.npy", array)
    return opened(tmp_path / "expected.npy").data_sha256


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(9, 6), (9, 4, 6)])
def test_torch_files(tmp_path: Path, shape: tuple[int, ...], dtype: torch.dtype, zipped: bool) -> None:
    x = torch.from_numpy(values(*shape)).to(dtype)
    path = tmp_path / "x.pt"
    for number, content in enumerate(
        (x, {"activations": x, "layer": 3}, {"run": {"acts": x, "mean": x[0]}}, list(x.split(2)), {"z": [x]})
    ):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        source = opened(path)
        np.testing.assert_array_equal(everything(source), x.float().numpy().reshape(9, -1, 6), err_msg=str(number))
        assert source.describe()["format"] == "torch"
    torch.save([*x.reshape(-1, 6)], path)
    np.testing.assert_array_equal(everything(opened(path))[:, 0], x.float().numpy().reshape(-1, 6))
    assert opened(path).data_sha256 == expected_hash(tmp_path, x.float().numpy().reshape(-1, 6))


def test_torch_files_that_are_refused(tmp_path: Path) -> None:
    x = torch.ones(4, 3)
    path = tmp_path / "x.pt"
    torch.save({"a": x, "b": x, "labels": torch.arange(4)}, path)
    error = refused(path)
    assert "cannot tell which array holds the activations: a, b" in error.message
    assert "--data-key" in str(error.hint)
    assert opened(path, data_key="b").metadata()["label"].to_pylist() == ["0", "1", "2", "3"]
    torch.save({"layer": 3}, path)
    assert "which array holds the activations: none" in refused(path).message
    torch.save({"x": x.to_sparse()}, path)
    assert "sparse" in refused(path).message
    assert "torch.save(tensor.to_dense(), PATH)" in str(refused(path).hint)

    class Runs:
        def __reduce__(self):
            return print, ("this must not run",)

    torch.save({"x": Runs()}, path)
    error = refused(path)
    assert "would run code" in error.message or "cannot read" in error.message
    assert "torch.save(tensor" in str(error.hint)
    path.write_bytes(pickle.dumps({"x": np.ones((3, 2))}))
    assert str(path) in refused(path).message
    buffer = io.BytesIO()
    torch.save(x, buffer)
    path.write_bytes(buffer.getvalue()[:300])
    assert str(path) in refused(path).message


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "pt", "parquet", "arrow", "feather", "stream", "mixed"])
def test_a_folder_of_shards_is_one_source(tmp_path: Path, kind: str) -> None:
    array = values(33, 2, 5)
    folder = tmp_path / "shards"
    folder.mkdir()
    kinds = ["npy", "pt", "parquet", "arrow"]
    for number, (start, stop) in enumerate(((0, 3), (3, 10), (10, 12), (12, 33))):
        part = array[start:stop]
        one = kinds[number] if kind == "mixed" else kind
        path = folder / f"part_{(2, 9, 10, 11)[number]}.{'arrow' if one == 'stream' else one}"
        table = pa.table({"activations": part.tolist(), "label": [str(i) for i in range(start, stop)]})
        if one == "npy":
            np.save(path, part)
        elif one == "npz":
            np.savez(path, x=part, labels=np.arange(start, stop))
        elif one == "safetensors":
            save_file({"acts": torch.from_numpy(part)}, path)
        elif one == "pt":
            torch.save(torch.from_numpy(part), path)
        elif one == "parquet":
            pq.write_table(table, path, row_group_size=4)
        else:
            new = pa.ipc.new_stream if one == "stream" else pa.ipc.new_file
            with new(str(path), table.schema) as writer:
                writer.write_table(table, max_chunksize=4)
    (folder / "meta.json").write_text("{}")
    source = opened(folder)
    np.testing.assert_array_equal(everything(source), array)
    np.testing.assert_array_equal(everything(source, start_item=2, items_per_batch=9), array[2:])
    assert source.data_sha256 == expected_hash(tmp_path, array)
    rows = np.random.default_rng(1).integers(0, 66, 50)
    np.testing.assert_array_equal(source.table().rows(rows).numpy(), array.reshape(66, 5)[rows])
    chosen = np.arange(33) % 3 == 0
    np.testing.assert_array_equal(source.table(chosen).rows(np.arange(22)).numpy(), array[chosen].reshape(-1, 5))
    assert source.describe()["n_shards"] == 4
    if kind in ("npz", "parquet", "arrow", "stream"):
        assert source.metadata()["label"].to_pylist() == [str(i) for i in range(33)]


@pytest.mark.parametrize("kind", [pa.list_(pa.float16(), 5), pa.list_(pa.float64()), pa.large_list(pa.float32())])
def test_columns_of_vectors(tmp_path: Path, kind: pa.DataType) -> None:
    array = values(7, 5).astype(np.float16)
    table = pa.table({"embedding": pa.array(list(array), kind), "tags": [["a"]] * 7, "text": ["t"] * 7})
    pq.write_table(table, tmp_path / "x.parquet")
    for _ in range(2):
        np.testing.assert_array_equal(everything(opened(tmp_path / "x.parquet"))[:, 0], array.astype(np.float32))
    pq.write_table(pa.table({"x": [[1.0, 2.0], [1.0]]}), tmp_path / "y.parquet")
    assert "lists of unequal length" in refused(tmp_path / "y.parquet").message
    pq.write_table(pa.table({"x": [[1.0, 2.0], None]}), tmp_path / "y.parquet")
    assert "or nulls" in refused(tmp_path / "y.parquet").message


def test_shards_that_do_not_go_together(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "readme.txt").write_text("x")
    assert "without activations (found readme.txt)" in refused(folder).message
    np.save(folder / "a.npy", values(3, 4))
    np.save(folder / "b.npy", values(3, 5))
    message = refused(folder).message
    assert "b.npy" in message
    assert "a.npy has 1 of width 4" in message
    bad = values(3, 4)
    bad[1, 2] = np.nan
    np.save(folder / "b.npy", bad)
    assert "item 4, position 0, dimension 2" in refused(folder).message


def test_memory_does_not_grow_with_shards(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(8):
        np.lib.format.open_memmap(folder / f"{number}.npy", "w+", np.dtype("<f4"), (16 * MIB // 1024, 256)).flush()
    before = psutil.Process().memory_info().rss
    source = opened(folder)
    for _ in source.batches():
        pass
    assert psutil.Process().memory_info().rss - before < 64 * MIB


def test_shards_of_sub_folders_are_named_with_them(tmp_path: Path) -> None:
    told = Told()
    for part in ("test", "train"):
        (tmp_path / "x" / part).mkdir(parents=True)
        np.save(tmp_path / "x" / part / "0.npy", values(2, 3))
    open_source(SourceOptions(activations=str(tmp_path / "x")), progress=told)
    assert any("from test/0.npy to train/0.npy" in line for line in told.lines)


def test_tables_of_tensors_keep_their_axes(tmp_path: Path) -> None:
    x = values(6, 4, 3)
    pq.write_table(pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x)}), tmp_path / "x.parquet")
    np.testing.assert_array_equal(everything(opened(tmp_path / "x.parquet")), x)


def test_a_lazily_negated_tensor(tmp_path: Path) -> None:
    x = torch.from_numpy(values(6, 3))
    torch.save(torch._neg_view(x), tmp_path / "x.pt")
    np.testing.assert_array_equal(everything(opened(tmp_path / "x.pt"))[:, 0], -x.numpy())


def test_labels_of_some_shards(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", x=values(2, 3), labels=np.array(["a", "b"]))
    np.savez(tmp_path / "1.npz", x=values(2, 3))
    assert opened(tmp_path).metadata()["label"].to_pylist() == ["a", "b", None, None]


def test_compressed_arrays_are_refused_as_such(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values(6, 3))
    path = tmp_path / "x.npy.gz"
    path.write_bytes(gzip.compress((tmp_path / "x.npy").read_bytes()))
    error = refused(path)
    assert "is compressed by gzip" in error.message
    assert "unpack it first" in str(error.hint)


def test_no_split_is_passed_over(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values(6, 3))
    assert "has no splits" in refused(tmp_path / "x.npy", split="validation").message
    assert opened(tmp_path / "x.npy", split="all").n_items == 6
