"""Labels are names with numbers beside them, also where an older version stored both as one sentence."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saescope.store import Entry, FeatureStore
from saescope.store.check.verification import verify
from saescope.store.format.hashing import hash_file
from saescope.store.format.paths import StorePaths
from saescope.store.labels import label_sentence
from saescope.store.read.export import export
from saescope.store.read.older_tables import modernised

TRICKY = [
    "fires on `: `",
    "fires on `: 3 % of firings, recall 4 %, base rate 5 %`",
    "label of firings: 3 % of firings, recall 4 %, base rate 5 %",
    "label two\nlines",
    "digit 8",
]
"""Names that hold what a sentence is made of."""


def test_a_sentence_tells_the_numbers_that_there_are() -> None:
    assert label_sentence("digit 7", 0.934, 0.0001, 0.9999) == (
        "digit 7: 93 % of firings, recall 0.01 %, base rate > 99.9 %"
    )
    assert label_sentence("digit 7", 0.934) == "digit 7: 93 % of firings"
    assert label_sentence("digit 7", None) == "digit 7"


def test_a_features_sentence_is_of_the_label_that_it_shows(digits_store: Path, tmp_path: Path) -> None:
    with FeatureStore(shutil.copytree(digits_store, tmp_path / "store")) as store:
        entry = store["digits-topk-k8"]
        labels = entry.table("features")["auto_label"].to_pylist()
        i = next(i for i, label in enumerate(labels) if label)
        feature = entry.feature(i)
        numbers = (feature.label_precision, feature.label_recall, feature.label_base_rate)
        assert feature.label_sentence == label_sentence(labels[i], *numbers) != labels[i]
        entry.label(i, "mine")
        assert entry.feature(i).label_sentence == "mine"


@pytest.fixture(scope="module")
def names(digits_store: Path) -> list[str | None]:
    """What the features of the older entry are called: those of the present one, the first few in a tricky way."""
    with FeatureStore(digits_store) as store:
        labels: list[str | None] = store["digits-topk-k8"].table("features")["auto_label"].to_pylist()
    labelled = [i for i, label in enumerate(labels) if label]
    for i, name in zip(labelled, TRICKY, strict=False):
        labels[i] = name
    return labels


def old_percent(fraction: float) -> str:
    """As saescope 0.1.0 wrote it."""
    value = 100 * fraction
    if 0 < value < 0.1:
        return "< 0.1 %"
    if value < 10 and round(value, 1) != round(value):
        return f"{value:.1f} %"
    return "> 99 %" if 99.5 <= value < 100 else f"{value:.0f} %"


@pytest.mark.parametrize("fraction", [0, 1e-5, 0.004, 0.03, 0.0951, 0.0999, 0.1, 0.934, 0.9949, 0.9951, 0.9999, 1])
def test_every_old_sentence_ends_in_what_is_taken_off(fraction: float) -> None:
    sentences = ["x: {0} of firings, recall {0}, base rate {0}".format(old_percent(fraction)), "x: 3 %, base rate 3 %"]
    rows = pa.table({"feature_id": [0, 1], "auto_label": sentences})
    assert modernised("features", rows, 1)["auto_label"].to_pylist() == ["x", sentences[1]]
    assert modernised("features", rows, 2) == rows
    assert modernised("metrics", rows, 1) == rows


@pytest.fixture(scope="module")
def older(digits_store: Path, names: list[str | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entry]:
    """An entry as saescope 0.1.0 wrote it: sentences as labels, no `tables_version`."""
    root = shutil.copytree(digits_store, tmp_path_factory.mktemp("older") / "store")
    with FeatureStore(root) as store:
        version = StorePaths(root).entry("digits-topk-k8").version(store["digits-topk-k8"].version)
    rows = pq.read_table(version.table("features"))
    sentences = []
    for name, row in zip(names, rows.to_pylist(), strict=True):
        p, r, b = (row[f"label_{column}"] for column in ("precision", "recall", "base_rate"))
        numbers = None if name is None else (old_percent(p), old_percent(r), old_percent(b))
        sentences.append(
            None if numbers is None else "{}: {} of firings, recall {}, base rate {}".format(name, *numbers)
        )
    at = rows.column_names.index("auto_label")
    for path in (version.table("features"), version.manifest, *version.root.glob("index-*")):
        path.unlink()
    pq.write_table(rows.set_column(at, rows.schema.field(at), pa.array(sentences)), version.table("features"))
    manifest = json.loads((digits_store / version.manifest.relative_to(root)).read_text())
    assert manifest.pop("tables_version") == 2
    manifest["files"]["features.parquet"] = hash_file(version.table("features"))
    version.manifest.write_text(json.dumps(manifest))
    with FeatureStore(root) as store:
        yield store["digits-topk-k8"]


def test_an_older_entry_is_sound_and_its_files_stay(older: Entry, names: list[str | None]) -> None:
    assert verify(older.paths.root.parents[2], older.sae_id) == []
    kept = pq.read_table(older.paths.table("features"))["auto_label"].to_pylist()
    assert all(label is None or label.endswith(" %") for label in kept)
    assert kept != names


def test_every_read_of_an_older_entry_gives_names(older: Entry, names: list[str | None]) -> None:
    assert older.table("features")["auto_label"].to_pylist() == names
    assert older.table("features", ["feature_id"]).column_names == ["feature_id"]
    assert older.table("features").schema == pq.read_schema(older.paths.table("features")).remove_metadata()
    assert [older.feature(i).auto_label for i in range(older.n_features)] == names
    page = older.features_page(sort="label", descending=False, page_size=1000).rows
    assert page["label"].to_pylist() == page["auto_label"].to_pylist()
    assert page["auto_label"].to_pylist() == [names[i] for i in page["feature_id"].to_pylist()]
    drawn = older.scatter("density", "n_firing").points
    assert drawn is not None
    assert drawn["label"].to_pylist() == [names[i] for i in drawn["feature_id"].to_pylist()]
    for i in range(older.n_features):
        assert all(n.auto_label == names[n.neighbour_id] for n in older.neighbours(i))
        assert all(c.auto_label == names[c.other_id] for c in older.coactivations(i))


def test_a_search_of_an_older_entry_finds_names_alone(older: Entry, names: list[str | None]) -> None:
    def found(query: str) -> list[int]:
        return sorted(feature.feature_id for feature in older.search(query, limit=1000))

    assert found('"digit 8"') == [i for i, name in enumerate(names) if name == "digit 8"]
    assert found("recall") == [i for i, name in enumerate(names) if name and "recall" in name] != []
    assert found("digit 9") == [i for i, name in enumerate(names) if name == "digit 9"]


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_an_older_entry_is_exported_as_names(
    older: Entry, names: list[str | None], format: str, tmp_path: Path
) -> None:
    export(older, format, tmp_path / "out")
    features = tmp_path / "out" / f"features.{format}"
    if format == "csv":
        with features.open(newline="", encoding="utf-8") as file:
            exported = [row["auto_label"] or None for row in csv.DictReader(file)]
    elif format == "jsonl":
        exported = [json.loads(line)["auto_label"] for line in features.read_text().splitlines()]
    else:
        exported = pq.read_table(features)["auto_label"].to_pylist()
    assert exported == names


def test_the_manifest_of_an_exported_older_entry_fits_its_files(older: Entry, tmp_path: Path) -> None:
    export(older, "parquet", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["tables_version"] == 2
    for table in older.tables:
        digest = hashlib.sha256((tmp_path / "out" / f"{table}.parquet").read_bytes()).hexdigest()
        assert manifest["files"][f"{table}.parquet"]["sha256"] == digest
