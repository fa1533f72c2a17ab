"""ls, show, search, verify and export over a small real store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from saescope.store import FeatureStore
from tests.cli.conftest import Saescope

SAE = "digits-topk-k4"


def test_ls_has_a_line_for_each_entry(saescope: Saescope, store: Path) -> None:
    done = saescope("ls", "--store", store)
    assert done.code == 0
    names = [line.split()[0] for line in done.out.splitlines()[1:]]
    assert names == [e.sae_id for e in FeatureStore(store).entries()]


def test_ls_as_json_tells_metrics_and_provenance(saescope: Saescope, store: Path) -> None:
    entries = {e["sae_id"]: e for e in saescope("ls", "--store", store, "--json").json["entries"]}
    entry = FeatureStore(store)[SAE]
    assert entries[SAE]["metrics"] == entry.metrics
    assert entries[SAE]["n_features"] == 64
    assert entries[SAE]["source"]["data_sha256"] == entry.manifest.source["data_sha256"]


def test_show_prints_every_metric_with_its_formula(saescope: Saescope, store: Path) -> None:
    out = saescope("show", SAE, "--store", store).out
    for row in FeatureStore(store)[SAE].table("metrics").to_pylist():
        assert row["name"] in out
        assert row["formula"] in out


def test_show_prints_a_feature_and_its_strongest_examples(saescope: Saescope, store: Path) -> None:
    entry = FeatureStore(store)[SAE]
    feature = max(range(entry.n_features), key=lambda i: entry.feature(i).n_firing)
    done = saescope("show", SAE, feature, "--store", store, "--examples", 3)
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{SAE} #{feature}")
    header = next(i for i, line in enumerate(lines) if line.lstrip().startswith("rank"))
    shown = [int(line.split()[2].replace(",", "")) for line in lines[header + 1 :]]
    assert shown == [e.item_id for e in entry.examples(feature, kind="top")[:3]]


def test_show_a_feature_as_json(saescope: Saescope, store: Path) -> None:
    content = saescope("show", SAE, 1, "--store", store, "--json").json
    entry = FeatureStore(store)[SAE]
    assert content["feature"]["n_firing"] == entry.feature(1).n_firing
    assert [e["item_id"] for e in content["examples"]] == [e.item_id for e in entry.examples(1, kind="top")[:10]]
    assert [n["neighbour_id"] for n in content["neighbours"]] == [n.neighbour_id for n in entry.neighbours(1)]


def test_search_finds_what_the_store_finds(saescope: Saescope, store: Path) -> None:
    query = "density > 0.05 and max_activation >= 0.5"
    found = saescope("search", query, "--store", store, "--sae-id", SAE, "--json").json["features"]
    assert [f["feature_id"] for f in found] == [f.feature_id for f in FeatureStore(store)[SAE].search(query)]
    assert found
    assert all(f["density"] > 0.05 and f["max_activation"] >= 0.5 for f in found)


def test_search_over_all_entries_names_the_entry(saescope: Saescope, store: Path) -> None:
    done = saescope("search", "#3", "--store", store)
    owners = [line.split()[0] for line in done.out.splitlines()[1:]]
    assert owners == [e.sae_id for e in FeatureStore(store).entries()]


def test_search_without_a_match_says_so(saescope: Saescope, store: Path) -> None:
    done = saescope("search", "density > 2", "--store", store)
    assert (done.code, done.out) == (0, "no feature matches 'density > 2'\n")


def test_a_damaged_entry_is_named_and_the_others_are_shown(saescope: Saescope, store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    others = [sae_id for sae_id in FeatureStore(copy).ids() if sae_id != SAE]
    FeatureStore(copy)[SAE].paths.manifest.write_text("{")
    for command in (("ls",), ("search", "#3")):
        done = saescope(*command, "--store", copy)
        assert done.code == 0
        assert [line.split()[0] for line in done.out.splitlines()[1:]] == others
        assert done.err.startswith("note: left out, as ")
        assert SAE in done.err
    for sae_id in others:
        FeatureStore(copy)[sae_id].paths.manifest.write_text("{")
    done = saescope("ls", "--store", copy)
    assert (done.code, done.out) == (2, "")


def test_verify_of_a_sound_store(saescope: Saescope, store: Path) -> None:
    done = saescope("verify", "--store", store)
    assert (done.code, done.err) == (0, "")
    assert saescope("verify", "--store", store, SAE, "--json").json["faults"] == []


def test_verify_reports_all_faults_and_ends_with_1(saescope: Saescope, store: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(store, broken)
    entry = FeatureStore(broken)[SAE]
    for name in ("features", "examples"):
        path = entry.paths.table(name)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-10])
    done = saescope("verify", "--store", broken)
    assert done.code == 1
    assert "features.parquet" in done.out
    assert "examples.parquet" in done.out
    other = saescope("verify", "--store", broken, "digits-topk-k8")
    assert other.code == 0


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_export_writes_every_table(saescope: Saescope, store: Path, tmp_path: Path, kind: str) -> None:
    done = saescope("export", SAE, "--store", store, "--format", kind, "--out", tmp_path / "out")
    assert done.code == 0
    entry = FeatureStore(store)[SAE]
    written = {Path(line).name for line in done.out.splitlines()}
    assert {f"{table}.{kind}" for table in entry.tables} <= written


def test_export_of_one_table(saescope: Saescope, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    saescope("export", SAE, "--store", store, "--format", "parquet", "--table", "features", "--out", out)
    entry = FeatureStore(store)[SAE]
    assert pq.read_table(out / "features.parquet").equals(entry.table("features"))
    saescope("export", SAE, "--store", store, "--format", "jsonl", "--table", "features", "--out", tmp_path / "lines")
    rows = [json.loads(row) for row in (tmp_path / "lines" / "features.jsonl").read_text().splitlines()]
    assert [r["n_firing"] for r in rows] == entry.table("features")["n_firing"].to_pylist()
