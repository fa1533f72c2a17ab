"""Tables through training, building and evaluation: columns are encoded as the checkpoint's training did."""

from __future__ import annotations

from pathlib import Path

from saescope.cli.run import run
from saescope.store import FeatureStore
from saescope.store.format.source import TableDescription


def test_a_checkpoint_brings_its_columns(tmp_path: Path) -> None:
    lines = [f"{i % 7},{'abc'[i % 3]},{i * i % 11}" for i in range(60)]
    (tmp_path / "train.csv").write_text("\n".join(["x,city,z", *lines]) + "\n")
    (tmp_path / "later.csv").write_text("x,city,z,extra\n100,b,3,1\n7,zz,4,2\n")
    small = ("--arch", "topk", "--n-features", 8, "--k", 2, "--steps", 20, "--batch-size", 16)
    sae, store = tmp_path / "sae", tmp_path / "store"
    for arguments in (
        ("train", "--table", tmp_path / "train.csv", *small, "--out", sae),
        ("build", sae, "--table", tmp_path / "later.csv", "--store", store, "--label-column", "extra"),
        ("evaluate", sae, "--table", tmp_path / "later.csv"),
        ("show", "sae", 0, "--store", store),
        ("verify", "--store", store),
    ):
        assert run([str(a) for a in arguments]) == 0
    with FeatureStore(store) as opened:
        described = opened["sae"].source
        assert isinstance(described, TableDescription)
        assert described.dimensions == ["x", "city = a", "city = b", "city = c", "z"]
        assert described.unseen == {"city": 1}
        assert described.left_out == {}
        assert opened["sae"].items([0]).to_pylist()[0]["x"] == 100
