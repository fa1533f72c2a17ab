from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from saescope.sources import SourceOptions, has_splits, open_source
from saescope.store.errors import UserError
from tests.sources.told import Told


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (5, 4), dtype=np.uint8)


def written(path: Path, n: int = 10, structs: bool = False, seed: int = 0, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = [png(noise(seed + i)) for i in range(n)]
    image = pa.array([{"bytes": d, "path": f"{i}.png"} for i, d in enumerate(data)]) if structs else pa.array(data)
    pq.write_table(pa.table({"image": image, **columns}), path, row_group_size=3)
    return path


def opened(path: Path, **given):
    return open_source(SourceOptions(images=str(path), **given))


def refused(path: Path, **given) -> UserError:
    with pytest.raises(UserError) as caught:
        opened(path, **given)
    assert str(path) in caught.value.message
    return caught.value


def everything(source) -> np.ndarray:
    return torch.cat([b.activations for b in source.batches()]).numpy()


def expected(n: int = 10, seed: int = 0) -> np.ndarray:
    return np.stack([noise(seed + i).reshape(-1) for i in range(n)])[:, None] / np.float32(255)


@pytest.mark.parametrize("structs", [False, True])
@pytest.mark.parametrize("eager", [True, False])
def test_bytes_and_structs(tmp_path: Path, structs: bool, eager: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not eager:
        monkeypatch.setattr("saescope.sources.images.pictures.EAGER_BYTES", 10)
    source = opened(written(tmp_path / "x.parquet", structs=structs, label=pa.array(range(10))))
    np.testing.assert_array_equal(everything(source), expected())
    rows = np.array([9, 0, 5, 5, 2])
    np.testing.assert_array_equal(source.table().rows(rows).numpy(), expected()[rows, 0])
    assert source.metadata()["label"].to_pylist() == [str(i) for i in range(10)]


def test_labels_by_class_names_and_further_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table(
        {
            "image": [png(noise(i)) for i in range(3)],
            "label": pa.array([1, -1, 0]),
            "writer": pa.array(["ann", None, "bob"]).dictionary_encode(),
            "fold": pa.array([0, 1, 1], pa.int8()),
            "blur": pa.array([0.5, 0.1, 0.2]),
            "tokens": pa.array([7, 8, 9]),
        }
    )
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)
    source = opened(path)
    assert {k: v.to_pylist() for k, v in source.metadata().items()} == {
        "label": ["dog", None, "cat"],
        "writer": ["ann", None, "bob"],
        "fold": [0, 1, 1],
        "source_tokens": [7, 8, 9],
    }
    items = source.item_table(np.array([0, 2]))
    assert items["blur"].to_pylist() == [0.5, 0.2]
    assert items["source_tokens"].to_pylist() == [7, 9]
    by_writer = opened(path, label_key="writer")
    assert by_writer.metadata()["label"].to_pylist() == ["ann", None, "bob"]


def test_a_folder_of_shards_with_splits(tmp_path: Path) -> None:
    for i in range(2):
        written(tmp_path / "data" / f"train-0000{i}-of-00002.parquet", 4, seed=4 * i)
    written(tmp_path / "data" / "test-00000-of-00001.parquet", 3, seed=50)
    options = SourceOptions(images=str(tmp_path))
    assert has_splits(options)
    np.testing.assert_array_equal(everything(open_source(options, "train")), expected(8))
    np.testing.assert_array_equal(everything(open_source(options)), expected(3, 50))
    assert opened(tmp_path, split="all").n_items == 11
    (tmp_path / "data" / "test-00000-of-00001.parquet").unlink()
    assert not has_splits(options)
    assert open_source(options).n_items == 8


def test_half_written_and_damaged_files(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", label=pa.array(range(10)))
    data = path.read_bytes()
    for keep in (4, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:keep])
        error = refused(path)
        assert "not a whole Parquet file" in error.message
        assert error.hint
    path.write_bytes(b"")
    assert "is empty" in refused(path).message
    path.write_bytes(data[:4] + bytes(200) + data[204:])
    assert "not a whole Parquet file" in refused(path).message


def test_parquet_without_images(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"doc": [1, 2], "text": ["a", "b"]}), path)
    error = refused(path)
    assert "holds no images" in error.message
    assert "doc (int64), text (string)" in error.message
    pq.write_table(pa.table({"image": [b"abc", b"def"]}), path)
    assert "column 'image', row 0: not a picture" in refused(path).message
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), path)
    assert "holds no pictures" in refused(path).message
    pq.write_table(pa.table({"image": [png(noise(0)), None]}), path)
    assert "row 1: is null" in refused(path).message
    pq.write_table(
        pa.table({"image": [{"bytes": None, "path": "/etc/passwd"}]}).cast(
            pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()})})
        ),
        path,
    )
    assert "row 0: is null or has no bytes" in refused(path).message


def test_columns_are_asked_for_where_they_are_unclear(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"left": [png(noise(0))], "right": [png(noise(1))], "n": [0.5]}), path)
    assert "cannot tell which column holds the images: left, right" in refused(path).message
    np.testing.assert_array_equal(everything(opened(path, data_key="right")), expected(1, 1))
    assert "no column 'up'" in refused(path, data_key="up").message
    assert "column 'n' is double" in refused(path, data_key="n").message
    assert "no column 'up' for labels" in refused(path, data_key="left", label_key="up").message
    assert "expected labels as strings" in refused(path, data_key="left", label_key="n").message


def test_only_what_is_read_must_agree_between_shards(tmp_path: Path) -> None:
    written(tmp_path / "a.parquet", 2, score=pa.array([1, 2]), key=pa.array([1, 2]))
    written(tmp_path / "b.parquet", 2, structs=True, label=pa.array(["x", "y"]), score=[0.5, 1.5], key=["k", "l"])
    source = opened(tmp_path)
    assert source.metadata()["label"].to_pylist() == [None, None, "x", "y"]
    assert source.item_table(np.arange(4))["score"].to_pylist() == [1.0, 2.0, 0.5, 1.5]
    assert "key" not in source.item_table(np.arange(4)).column_names
    pq.write_table(pa.table({"image": [1, 2]}), tmp_path / "c.parquet")
    with pytest.raises(UserError, match=r"c\.parquet: columns differ .* column 'image' is int64"):
        opened(tmp_path)


def test_decimals_are_kept_and_what_is_not_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", 2, price=[Decimal("1.25"), None], boxes=[[1], [2]], nothing=pa.nulls(2))
    told = Told()
    source = open_source(SourceOptions(images=str(path)), progress=told)
    assert source.item_table(np.arange(2))["price"].to_pylist() == [1.25, None]
    assert told.lines == ["columns that hold no plain values are not kept: boxes, nothing"]


def test_columns_that_widening_would_break(tmp_path: Path) -> None:
    written(tmp_path / "a.parquet", 1, count=pa.array([2**63 + 1], pa.uint64()), score=pa.array([2**60 + 1]))
    written(tmp_path / "b.parquet", 1, count=pa.array([-1]), score=[0.5])
    table = opened(tmp_path).item_table(np.arange(2))
    assert "count" not in table.column_names
    assert table["score"].to_pylist() == [float(2**60), 0.5]
    pq.write_table(pa.table([pa.array([png(noise(0))]), [1], [2]], names=["image", "a", "a"]), tmp_path / "c.parquet")
    with pytest.raises(UserError, match="more than one column is called 'a'"):
        opened(tmp_path / "c.parquet")


def test_times_are_kept_as_text_and_label_nothing(tmp_path: Path) -> None:
    seconds = pa.array([1_700_000_000, None, *range(8)], pa.int64())
    nanoseconds = pc.add(pc.multiply(seconds, 10**9), 123_456_789)
    columns = {
        "plain": nanoseconds.cast(pa.timestamp("ns")),
        "zoned": nanoseconds.cast(pa.timestamp("ns", "Europe/Berlin")),
        "of_day": pa.array(range(10), pa.int64()).cast(pa.time64("ns")),
        "lasted": nanoseconds.cast(pa.duration("ns")),
        "day": pa.array([19_675, *range(9)], pa.int32()).cast(pa.date32()),
        "label": seconds.cast(pa.timestamp("s")),
        "late": pa.array([2**55, *range(9)], pa.int64()).cast(pa.timestamp("ms")),
    }
    path = written(tmp_path / "x.parquet", **columns)
    told = Told()
    source = open_source(SourceOptions(images=str(path)), progress=told)
    assert [line for line in told.lines if "outside the years" in line] == [
        "column 'late': 1 times lie outside the years 1 to 9999 and are left empty"
    ]
    assert list(source.metadata()) == []
    first, second = source.item_table(np.array([0, 1])).to_pylist()
    assert (first["plain"], second["plain"]) == ("2023-11-14 22:13:20.123456789", None)
    assert first["zoned"] == "2023-11-14 23:13:20.123456789+01:00"
    assert (second["of_day"], first["day"]) == ("00:00:00.000000001", "2023-11-14")
    assert (first["lasted"], first["source_label"]) == ("19675 days, 22:13:20.123456789", "2023-11-14 22:13:20")
    assert first["late"] is None


def test_a_column_of_times_in_one_file_and_of_texts_in_another(tmp_path: Path) -> None:
    written(tmp_path / "a.parquet", 2, when=pa.array([0, 1], pa.timestamp("ns")))
    written(tmp_path / "b.parquet", 2, when=pa.array(["noon", None]))
    table = opened(tmp_path).item_table(np.arange(4))
    assert table["when"].to_pylist() == ["1970-01-01 00:00:00", "1970-01-01 00:00:00.000000001", "noon", None]
