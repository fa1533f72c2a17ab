"""Building and publishing: what appears, when, and what is refused."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saescope.store import FeatureStore, StoreError, UserError
from saescope.store.check.verification import verify
from saescope.store.format.manifest import Manifest
from saescope.store.format.marker import create_store
from saescope.store.format.paths import StorePaths
from saescope.store.format.schema import TABLES, schema_of
from saescope.store.format.tables import read_parquet
from saescope.store.write.writer import EntryWriter
from tests.store.tiny import SAE_ID, publish, table_of, write_parts


def test_a_published_version_is_whole_hashed_and_read_only(tmp_path: Path, parts: list[Path]) -> None:
    name = publish(tmp_path, parts[0], "one")
    paths = StorePaths(tmp_path).entry(SAE_ID)
    assert paths.current.read_text() == name + "\n"
    version = paths.version(name)
    manifest = Manifest.read(version.manifest)
    assert (manifest.sae_id, manifest.version, manifest.build_key) == (SAE_ID, name, "one")
    assert manifest.weights_sha256 == hashlib.sha256(version.weights.read_bytes()).hexdigest()
    files = {p.relative_to(version.root).as_posix(): p for p in version.root.rglob("*") if p.is_file()}
    index = [n for n in files if n.startswith("index-")]
    assert len(index) == 1
    assert set(files) == {*manifest.files, "manifest.json", *index}
    for file, entry in manifest.files.items():
        data = files[file].read_bytes()
        assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o444 for p in files.values())
    assert list(paths.leftovers()) == []
    for table in manifest.files:
        if table.endswith(".parquet"):
            metadata = pq.read_metadata(files[table])
            codecs = {metadata.row_group(0).column(i).compression for i in range(metadata.num_columns)}
            assert codecs == {"ZSTD"}


def test_the_same_key_is_not_built_again(tmp_path: Path, parts: list[Path]) -> None:
    first = publish(tmp_path, parts[0], "one")
    with EntryWriter(tmp_path, SAE_ID, "one") as writer:
        assert writer.published == first
    with EntryWriter(tmp_path, SAE_ID, "two") as writer:
        assert writer.published is None
    assert publish(tmp_path, parts[0], "one") == first


def test_the_version_before_stays_and_older_ones_go(tmp_path: Path, parts: list[Path]) -> None:
    names = [publish(tmp_path, parts[i % 2], f"k{i}") for i in range(4)]
    assert len(set(names)) == 4
    assert sorted(names[2:]) == StorePaths(tmp_path).entry(SAE_ID).versions()
    assert FeatureStore(tmp_path)[SAE_ID].version == names[3]
    assert verify(tmp_path) == []


def test_a_build_is_resumed_under_its_key(tmp_path: Path, parts: list[Path]) -> None:
    with EntryWriter(tmp_path, SAE_ID, "one") as writer:
        assert not writer.has("features")
        writer.write_table("features", table_of(parts[0], "features"))
        writer.state_path("pass.bin").write_bytes(b"x")
    assert SAE_ID not in FeatureStore(tmp_path)
    with EntryWriter(tmp_path, SAE_ID, "other") as writer:
        assert not writer.has("features")
    with EntryWriter(tmp_path, SAE_ID, "one") as writer:
        assert writer.has("features")
        assert not writer.has_checkpoint()
        assert writer.state_path("pass.bin").read_bytes() == b"x"
        writer.publish(write_parts(writer, parts[0]))
    entry = FeatureStore(tmp_path)[SAE_ID]
    assert not any("state" in p.name for p in entry.paths.root.iterdir())
    assert verify(tmp_path) == []


def test_discard_leaves_what_is_published(tmp_path: Path, parts: list[Path]) -> None:
    name = publish(tmp_path, parts[0], "one")
    writer = EntryWriter(tmp_path, SAE_ID, "two")
    writer.write_table("features", table_of(parts[1], "features"))
    writer.discard()
    assert not writer.paths.root.exists()
    assert FeatureStore(tmp_path)[SAE_ID].version == name


def test_publishing_half_a_build_is_refused(tmp_path: Path, parts: list[Path]) -> None:
    with EntryWriter(tmp_path, SAE_ID, "one") as writer:
        writer.write_table("features", table_of(parts[0], "features"))
        with pytest.raises(
            StoreError, match=r"examples.parquet, items.parquet, metrics.parquet, sae/cfg.json, sae/sae"
        ):
            writer.publish(Manifest.read(parts[0] / "manifest.json"))
    assert StorePaths(tmp_path).entry(SAE_ID).versions() == []


def test_a_checkpoint_without_its_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt" / "cfg.json").write_text("{}")
    with (
        EntryWriter(tmp_path / "store", SAE_ID, "one") as writer,
        pytest.raises(StoreError, match=r"no sae.safetensors"),
    ):
        writer.write_checkpoint(tmp_path / "ckpt")


def test_two_writers_of_one_entry_exclude_each_other(tmp_path: Path, parts: list[Path]) -> None:
    with EntryWriter(tmp_path, SAE_ID, "one") as writer:
        with pytest.raises(StoreError, match="being built by another process"):
            EntryWriter(tmp_path, SAE_ID, "two")
        EntryWriter(tmp_path, "another", "two").close()
        writer.publish(write_parts(writer, parts[0]))
        EntryWriter(tmp_path, SAE_ID, "two").close()


@pytest.mark.parametrize("sae_id", ["../x", "a/b", "", ".hidden", "Upper", "a" * 101, "x\n", "a b"])
def test_a_bad_sae_id_is_refused(tmp_path: Path, sae_id: str) -> None:
    with pytest.raises(StoreError, match="not a valid sae_id"):
        EntryWriter(tmp_path / "store", sae_id, "key")
    assert [p.name for p in tmp_path.rglob("*") if p.is_dir()] == ["store", "saes"]


@pytest.mark.parametrize("key", ["../x", "", "A", "a.b"])
def test_a_bad_key_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(StoreError, match="not a valid build key"):
        EntryWriter(tmp_path, SAE_ID, key)


def test_a_store_is_made_only_where_nothing_else_is(tmp_path: Path) -> None:
    create_store(tmp_path / "a" / "b")
    assert json.loads((tmp_path / "a" / "b" / "store.json").read_text()) == {
        "format": "saescope-store",
        "format_version": 1,
    }
    create_store(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file, expected the folder of a store"):
        create_store(tmp_path / "file")
    with pytest.raises(UserError, match="a file is where a folder should be"):
        create_store(tmp_path / "file" / "below")
    with pytest.raises(StoreError, match="not empty"):
        create_store(tmp_path / "a")
    (tmp_path / "a" / "b" / "store.json").write_text('{"format": "saescope-store", "format_version": 2}')
    with pytest.raises(StoreError, match="has format 2; this saescope reads formats up to 1"):
        create_store(tmp_path / "a" / "b")
    with pytest.raises(StoreError, match="install a newer saescope"):
        FeatureStore(tmp_path / "a" / "b")


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"format": "other"}', '{"format": "saescope-store", "format_version": "1"}', "\xff", "[" * 100_000],
)
def test_a_foreign_marker_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content, encoding="latin-1")
    for opening in (create_store, FeatureStore):
        with pytest.raises(StoreError, match=r"store\.json"):
            opening(tmp_path)


def metrics_rows(n: int = 3) -> pa.Table:
    names = [f"m{i}" for i in range(n)]
    return pa.table({"name": names, "value": np.arange(n, dtype=float), "n_positions": [5] * n, "formula": names})


def test_rows_are_sorted_typed_and_completed(tmp_path: Path) -> None:
    with EntryWriter(tmp_path, SAE_ID, "one") as writer:
        writer.write_table("metrics", metrics_rows().take([2, 0, 1]))
        table = read_parquet(writer.paths.table("metrics"))
        assert table["name"].to_pylist() == ["m0", "m1", "m2"]
        assert table.schema == schema_of("metrics")
        items = pa.table({"item_id": [3, 1], "label": ["c", "a"], "page": pa.array([30, 10], pa.int16())})
        writer.write_table("items", items)
        table = read_parquet(writer.paths.table("items"))
        assert table.column_names == ["item_id", "token_ids", "tokens", "image", "label", "page"]
        assert table["page"].to_pylist() == [10, 30]
        assert table["image"].null_count == 2


def test_batches_stream_and_must_be_in_order(tmp_path: Path) -> None:
    rows = metrics_rows(4)
    with EntryWriter(tmp_path, SAE_ID, "one") as writer:
        writer.write_table("metrics", iter(rows.to_batches(max_chunksize=1)))
        assert read_parquet(writer.paths.table("metrics"))["name"].to_pylist() == ["m0", "m1", "m2", "m3"]
        writer.write_table("training", iter([]))
        assert read_parquet(writer.paths.table("training")).num_rows == 0
        with pytest.raises(ValueError, match="batches must come sorted by name"):
            writer.write_table("metrics", iter(rows.take([1, 0]).to_batches(max_chunksize=1)))
        assert read_parquet(writer.paths.table("metrics")).num_rows == 4
        assert [p.name for p in writer.paths.root.glob(".*.tmp-*")] == []


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (metrics_rows().drop_columns("value").drop_columns("formula"), "formula is missing"),
        (metrics_rows().append_column("more", pa.array([1, 2, 3])), r"unknown columns \['more'\]"),
        (metrics_rows().set_column(0, "name", pa.array(["a", None, "b"])), "name has 1 nulls"),
        (
            metrics_rows().set_column(2, "n_positions", pa.array(["a", "b", "c"])),
            "n_positions is string, expected int64",
        ),
        (metrics_rows().set_column(2, "n_positions", pa.array([0.5, 1, 2])), "n_positions is double, expected int64"),
        (pa.concat_tables([metrics_rows(), metrics_rows()]), "3 rows repeat the key name"),
        (metrics_rows().append_column("NAME", pa.array([1, 2, 3])), "differ at most in case"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, rows: pa.Table, words: str) -> None:
    with EntryWriter(tmp_path, SAE_ID, "one") as writer:
        with pytest.raises(ValueError, match=words):
            writer.write_table("metrics", rows)
        assert not writer.has("metrics")
        with pytest.raises(ValueError, match="no table 'other'"):
            writer.write_table("other", rows)


def test_order_of_text_and_null_keys(tmp_path: Path, parts: list[Path]) -> None:
    """Shuffled examples come back in the schema's order: nulls (of top) are a group of their own."""
    table = table_of(parts[0], "examples")
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    with EntryWriter(tmp_path, SAE_ID, "one") as writer:
        writer.write_table("examples", shuffled)
        written = read_parquet(writer.paths.table("examples"))
    assert written.equals(table)
    keys = [
        tuple(-1 if v is None else v for v in row.values())
        for row in written.select(TABLES["examples"].sorted_by).to_pylist()
    ]
    assert keys == sorted(keys)


def test_a_manifest_survives_json(parts: list[Path]) -> None:
    manifest = Manifest.read(parts[0] / "manifest.json")
    assert Manifest.from_json(manifest.to_json()) == manifest
    nan = Manifest.from_json(
        Manifest(
            **{**vars(manifest), "metrics": {"l0": float("nan"), "fvu": np.float32(0.5)}, "config": {"p": Path("a")}}
        ).to_json()
    )
    assert nan.metrics == {"l0": None, "fvu": 0.5}
    assert nan.config == {"p": "a"}
