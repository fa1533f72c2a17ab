"""Verify finds each kind of damage, names it, and reports all damage at once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saescope.store import FeatureStore, StoreError, UnknownEntry
from saescope.store.check.verification import verify
from saescope.store.format.paths import StorePaths, VersionPaths

ENTRY = "digits-patches"


@pytest.fixture
def version(digits_store: Path, tmp_path: Path) -> VersionPaths:
    """The live version of one entry in a copy of the store that holds it alone, files writable."""
    root = tmp_path / "store"
    source = StorePaths(digits_store)
    shutil.copytree(source.entry(ENTRY).root, StorePaths(root).entry(ENTRY).root)
    shutil.copy(source.marker, root)
    paths = FeatureStore(root)[ENTRY].paths
    for path in paths.root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return paths


def root_of(version: VersionPaths) -> Path:
    return version.root.parents[2]


def problems(version: VersionPaths) -> list[str]:
    return [str(f) for f in verify(root_of(version))]


def edit_manifest(version: VersionPaths, **changes: Any) -> None:
    content = json.loads(version.manifest.read_text())
    version.manifest.write_text(json.dumps(content | changes))


def rewrite(version: VersionPaths, name: str, table: pa.Table) -> None:
    """Replace a table and make the manifest agree with the new file, so that only its content is wrong."""
    pq.write_table(table, version.table(name))
    data = version.table(name).read_bytes()
    content = json.loads(version.manifest.read_text())
    content["files"][f"{name}.parquet"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    version.manifest.write_text(json.dumps(content))


def test_a_sound_store_has_no_faults(digits_store: Path, version: VersionPaths) -> None:
    assert verify(digits_store) == []
    assert verify(root_of(version), ENTRY) == []


Edit = Callable[[list[dict[str, Any]]], None]


def first(change: Callable[[dict[str, Any]], None], where: Callable[[dict[str, Any]], bool] = lambda r: True) -> Edit:
    def edit(rows: list[dict[str, Any]]) -> None:
        change(next(r for r in rows if where(r)))

    return edit


def put(where: Callable[[dict[str, Any]], bool] = lambda r: True, **values: Any) -> Edit:
    return first(lambda r: r.update(values), where)


def top(row: dict[str, Any]) -> bool:
    return row["kind"] == "top"


def sampled(row: dict[str, Any]) -> bool:
    return row["kind"] == "interval"


def shift_histogram(row: dict[str, Any]) -> None:
    row["hist_counts"][10] += 1


def drop_window_value(row: dict[str, Any]) -> None:
    row["window_activations"][row["position"]] = 0.0


@pytest.mark.parametrize(
    ("table", "edit", "words"),
    [
        ("features", lambda rows: rows.pop(), "63 rows, the manifest says 64"),
        ("features", lambda rows: rows.reverse(), "not sorted by feature_id"),
        ("features", put(feature_id=1), "repeat the key feature_id"),
        ("features", put(n_firing=10**9), "n_firing is not within"),
        ("features", put(density=0.5), "density != n_firing / N"),
        ("features", put(is_dead=True), "is_dead contradicts"),
        ("features", put(is_dense=True), "is_dense contradicts"),
        ("features", put(mean_activation=None), "mean_activation must be null for dead features alone"),
        ("features", put(mean_activation=1e9), "mean_activation exceeds"),
        ("features", put(max_activation=float("nan")), "max_activation has 1 values that are not finite"),
        ("features", put(std_activation=-1.0), "std_activation is negative"),
        ("features", first(shift_histogram), "hist_counts does not sum to n_firing in 1 row (first: row 0)"),
        ("features", put(hist_counts=[1, 2]), "hist_counts does not fit"),
        ("features", put(interval_counts=[0]), "interval_lower and interval_counts differ in length"),
        ("features", first(lambda r: r["interval_lower"].reverse()), "interval_lower does not descend"),
        ("examples", put(feature_id=-1), "feature_id is not within"),
        ("examples", lambda rows: rows[-1].update(feature_id=64), "feature_id is not within 0 to 63"),
        ("examples", put(kind="best"), "kind is neither"),
        ("examples", lambda rows: rows[-1].update(interval=0), "interval must be null for top alone"),
        ("examples", put(position=-1), "position is negative"),
        ("examples", put(activation=0.0), "not above the firing threshold"),
        ("examples", put(lambda r: r["interval"] == 1, activation=1e-5), "outside its interval"),
        ("examples", put(activation=1e6), "activation exceeds max_activation"),
        ("examples", put(top, activation=1e6), "the top example is not max_activation"),
        ("examples", put(lambda r: r["rank"] == 1, rank=7), "not sorted by feature_id, kind, interval, rank"),
        ("examples", lambda rows: rows.remove(next(r for r in rows if r["rank"] == 0)), "ranks do not count from 0"),
        ("examples", put(lambda r: top(r) and r["rank"] == 2, activation=1e6), "stronger than that of the rank before"),
        ("examples", put(window_start=None), "must be null together"),
        ("examples", put(position=40), "position is outside the window"),
        ("examples", first(drop_window_value), "window_activations differs"),
        ("items", put(item_id=5000), "not sorted by item_id"),
        ("items", lambda rows: rows[-1].update(item_id=99_999), "item_id is not within 0 to 1796"),
        ("neighbours", put(neighbour_id=64), "not within 0 to 63"),
        ("neighbours", put(neighbour_id=0), "paired with itself"),
        ("neighbours", put(cosine=1.5), "cosine is not within"),
        ("neighbours", put(cosine=-1.0), "cosine rises with the rank"),
        ("coactivations", put(n_both=0), "n_both is not possible"),
        ("coactivations", put(jaccard=0.99), "jaccard is not n_both / either"),
        ("item_codes", put(activations=[1.0]), "feature_ids and activations differ in length"),
        ("item_codes", put(item_id=-5), "item_id is not in items"),
        ("reconstructions", put(reconstruction=[0.0]), "has not the 64 values of input_shape"),
        ("metrics", put(value=17.0), "the manifest says"),
        ("metrics", lambda rows: rows.pop(), "is None, the manifest says"),
    ],
)  # fmt: skip
def test_a_wrong_number_is_found(version: VersionPaths, table: str, edit: Edit, words: str) -> None:
    original = pq.read_table(version.table(table))
    rows = original.to_pylist()
    edit(rows)
    rewrite(version, table, pa.Table.from_pylist(rows, schema=original.schema))
    found = [p for p in problems(version) if f"{table}.parquet" in p]
    assert any(words in p for p in found), found


def test_an_example_of_an_item_that_is_not_kept_is_found(version: VersionPaths) -> None:
    examples = pq.read_table(version.table("examples"))
    kept = set(pq.read_table(version.table("items"))["item_id"].to_pylist())
    rows = examples.to_pylist()
    put(top, item_id=next(i for i in range(1797) if i not in kept))(rows)
    rewrite(version, "examples", pa.Table.from_pylist(rows, schema=examples.schema))
    assert any("examples.parquet" in p and "item_id is not in items" in p for p in problems(version))


def test_a_wrong_schema_is_found(version: VersionPaths) -> None:
    features = pq.read_table(version.table("features"))
    features = features.drop_columns("density").append_column("surplus", pa.nulls(64, pa.int8()))
    at = features.schema.get_field_index("n_firing")
    features = features.set_column(at, "n_firing", features["n_firing"].cast(pa.int32()))
    rewrite(version, "features", features)
    found = "\n".join(problems(version))
    for words in ("column density is missing", "column n_firing is int32, expected int64", "unknown columns surplus"):
        assert words in found


def test_files_are_held_against_the_manifest(version: VersionPaths) -> None:
    data = bytearray(version.table("examples").read_bytes())
    data[len(data) // 2] ^= 1
    version.table("examples").write_bytes(data)
    version.table("items").unlink()
    half = version.table("neighbours").read_bytes()
    version.table("neighbours").write_bytes(half[: len(half) // 2])
    (version.root / "notes.txt").write_text("mine")
    (version.checkpoint / "old.pt").write_text("mine")
    (version.root.parent / "stray").write_text("mine")
    (root_of(version) / "saes" / "Not An Entry").mkdir()
    found = "\n".join(problems(version))
    for words in (
        f"{ENTRY}/examples.parquet: its sha256 is not the manifest's",
        f"{ENTRY}/items.parquet: missing",
        f"{ENTRY}/neighbours.parquet: has {len(half) // 2:,} bytes, the manifest says {len(half):,}",
        f"{ENTRY}/notes.txt: extra file",
        f"{ENTRY}/sae/old.pt: extra file",
        f"{ENTRY}/stray: extra file",
        "Not An Entry/saes/: not the folder of an entry",
    ):
        assert words in found
    assert len(problems(version)) == 7


def test_a_truncated_table_with_a_matching_hash_is_found(version: VersionPaths) -> None:
    data = version.table("neighbours").read_bytes()[:-100]
    version.table("neighbours").write_bytes(data)
    content = json.loads(version.manifest.read_text())
    content["files"]["neighbours.parquet"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    version.manifest.write_text(json.dumps(content))
    assert any("neighbours.parquet" in p and "is damaged" in p for p in problems(version))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sae_id": "other"}, "sae_id is 'other', expected 'digits-patches'"),
        ({"n_features": "many"}, "n_features is 'many', expected a whole number"),
        ({"n_positions": 5}, "n_firing is not within 0 to 5"),
        ({"weights_sha256": "0" * 64}, "weights_sha256 is not the sha256 of sae/sae.safetensors"),
        ({"d_in": 3}, "W_enc has shape [16, 64], expected [3, 64]"),
        ({"architecture": "kl"}, "architecture is 'topk', the manifest says 'kl'"),
        ({"histogram_edges": [1.0, 0.5]}, "histogram_edges must ascend from 0"),
        ({"files": {"../../x": {"sha256": "", "bytes": 1}}}, "not a valid file name"),
        ({"files": {}}, "features.parquet: required, but not in the manifest"),
    ],
)
def test_a_wrong_manifest_is_found(version: VersionPaths, changes: dict[str, Any], words: str) -> None:
    edit_manifest(version, **changes)
    assert any(words in p for p in problems(version)), problems(version)


def test_every_fault_of_a_manifest_is_told(version: VersionPaths) -> None:
    content = json.loads(version.manifest.read_text())
    del content["source"]
    version.manifest.write_text(json.dumps(content | {"seed": "x", "metrics": {"l0": "high"}}))
    found = problems(version)
    assert len(found) == 3
    for words in ("source is missing", "seed is 'x', expected", "metrics is {'l0': 'high'}, expected"):
        assert any(words in p for p in found), found
    version.manifest.write_text("{")
    assert any("is not JSON" in p for p in problems(version))


HUGE = 10**400


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_positions": -1}, "n_positions is -1, expected a whole number of at least 0"),
        ({"n_features": HUGE}, "n_features is 1000"),
        ({"n_features": True}, "n_features is True, expected a whole number of at least 0"),
        ({"metrics": {"l0": HUGE}}, "expected finite numbers or null by name"),
        ({"firing_threshold": "0"}, "firing_threshold is '0', expected a number"),
        ({"sweep": {"name": "s", "value": 4}}, "sweep.parameter is missing"),
        ({"sweep": {"name": "s", "parameter": "k", "value": "4"}}, "sweep.value is '4', expected a number"),
        ({"sweep": []}, "sweep is [], expected an object or null"),
        ({"files": {"a.parquet": {"sha256": "", "bytes": "9"}}}, "files.a.parquet.bytes is '9', expected a whole"),
        ({"files": {"a.parquet": {"bytes": 9}}}, "files.a.parquet.sha256 is missing"),
        ({"files": {"a.parquet": 9}}, "files is {'a.parquet': 9}, expected an object"),
        ({"tables_version": 0}, "tables_version is 0, expected a whole number of at least 1"),
    ],
)
def test_a_manifest_that_no_build_writes_is_told_and_not_opened(
    version: VersionPaths, changes: dict[str, Any], words: str
) -> None:
    edit_manifest(version, **changes)
    assert any(words in p for p in problems(version)), problems(version)
    with pytest.raises(StoreError), FeatureStore(root_of(version)) as store:
        store[ENTRY]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, '{"d_in": NaN}', '{"d_in": 1e999}', "[]", "", "\xff"]
)
@pytest.mark.parametrize("file", ["manifest", "config"])
def test_json_that_cannot_be_parsed_is_a_fault(version: VersionPaths, file: str, text: str) -> None:
    path: Path = getattr(version, file)
    path.write_text(text, encoding="latin-1")
    if file == "config":
        data = path.read_bytes()
        files = json.loads(version.manifest.read_text())["files"]
        files["sae/cfg.json"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        edit_manifest(version, files=files)
    found = problems(version)
    assert any("JSON" in p or "cannot read" in p for p in found), found


def test_values_that_no_run_gives_are_found(version: VersionPaths) -> None:
    training = pq.read_table(version.table("training"))
    rewrite(version, "training", training.append_column("odd", pa.array([float("inf")] * training.num_rows)))
    codes = pq.read_table(version.table("item_codes"))
    positions = codes["position"].to_pylist()
    at = codes.schema.get_field_index("position")
    rewrite(
        version,
        "item_codes",
        codes.set_column(at, codes.schema.field(at), pa.array([*positions[:-1], 2**31 - 1], pa.int32())),
    )
    edit_manifest(version, source=json.loads(version.manifest.read_text())["source"] | {"positions_per_item": 9})
    found = problems(version)
    assert any("position is behind an item's last, 8 in" in p for p in found), found
    assert any("values that are infinite" in p for p in found), found


def test_a_column_that_stands_twice_is_told(version: VersionPaths) -> None:
    table = pq.read_table(version.table("metrics"))
    rewrite(version, "metrics", table.append_column("value", table["value"]))
    assert any("stand in it more than once: value" in p for p in problems(version))


def test_a_damaged_checkpoint_is_found(version: VersionPaths) -> None:
    data = version.weights.read_bytes()[:-64]
    version.weights.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    content = json.loads(version.manifest.read_text())
    content["files"]["sae/sae.safetensors"] = {"sha256": digest, "bytes": len(data)}
    edit_manifest(version, files=content["files"], weights_sha256=digest)
    assert any("does not fit the file" in p for p in problems(version))


@pytest.mark.parametrize("content", ["", "../../etc", "20990101t000000z-00000000", "\xff"])
def test_a_wrong_current_is_found(version: VersionPaths, content: str) -> None:
    (version.root.parent / "CURRENT").write_text(content, encoding="latin-1")
    assert any(p.startswith(f"{ENTRY}/CURRENT") for p in problems(version))


def test_an_older_version_is_verified_too(version: VersionPaths) -> None:
    older = version.root.with_name("20200101t000000z-00000000")
    shutil.copytree(version.root, older)
    VersionPaths(older).table("metrics").unlink()
    found = problems(version)
    assert any(f"{older.name}/metrics.parquet: missing" in p for p in found)
    assert any(f"{older.name}/manifest.json: version is" in p for p in found)


def test_what_is_no_store_is_refused(tmp_path: Path, version: VersionPaths) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        verify(tmp_path / "nowhere")
    with pytest.raises(UnknownEntry, match="no entry 'other'"):
        verify(root_of(version), "other")
    with pytest.raises(StoreError, match="not a valid sae_id"):
        verify(root_of(version), "../x")


def test_the_tables_of_the_checks_can_be_empty(version: VersionPaths) -> None:
    """A store in which everything is dead: empty tables break no check by themselves."""
    features = pq.read_table(version.table("features"))
    n = features.num_rows
    dead: dict[str, Any] = {
        "n_firing": np.zeros(n, np.int64),
        "density": np.zeros(n),
        "mean_activation": pa.nulls(n, pa.float64()),
        "std_activation": pa.nulls(n, pa.float64()),
        "max_activation": pa.nulls(n, pa.float32()),
        "is_dead": np.ones(n, bool),
        "is_dense": np.zeros(n, bool),
        "hist_counts": pa.array([[0] * len(features["hist_counts"][0])] * n, pa.list_(pa.int64())),
        "interval_lower": pa.array([[]] * n, pa.list_(pa.float32())),
        "interval_counts": pa.array([[]] * n, pa.list_(pa.int64())),
    }
    for name, values in dead.items():
        field = features.schema.field(name)
        features = features.set_column(features.schema.get_field_index(name), field, pa.array(values, field.type))
    rewrite(version, "features", features)
    for name in ("examples", "coactivations", "item_codes", "reconstructions"):
        rewrite(version, name, pq.read_table(version.table(name)).slice(0, 0))
    edit_manifest(
        version, metrics=json.loads(version.manifest.read_text())["metrics"] | {"n_dead": n, "n_dense": 0, "l0": 0.0}
    )
    metrics = pq.read_table(version.table("metrics")).to_pylist()
    for row in metrics:
        row["value"] = {"n_dead": float(n), "n_dense": 0.0, "l0": 0.0}.get(row["name"], row["value"])
    rewrite(version, "metrics", pa.Table.from_pylist(metrics, schema=pq.read_schema(version.table("metrics"))))
    assert problems(version) == []
