"""The store that version 0.1.0 made (`before/make.py`) opens, searches, shows, exports and verifies as one of today."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from saescope.cli.run import run
from saescope.store import FeatureStore
from saescope.store.check.verification import verify

BEFORE = Path(__file__).with_name("before") / "store"
DIGITS, TEXTS, PHOTOS = "digits-topk-k2", "texts", "photos"


def sentences(sae_id: str) -> list[str | None]:
    """Labels as the file holds them."""
    (path,) = (BEFORE / "saes" / sae_id).glob("*/features.parquet")
    column: list[str | None] = pq.read_table(path)["auto_label"].to_pylist()
    return column


def names(sae_id: str) -> list[str | None]:
    """What stands before the numbers: no name of this store holds a colon and a number."""
    return [None if text is None else text.split(" % of firings")[0].rpartition(": ")[0] for text in sentences(sae_id)]


def test_its_labels_are_sentences() -> None:
    for sae_id in (DIGITS, TEXTS):
        assert all(text is None or ", recall " in text for text in sentences(sae_id))
        assert any(names(sae_id))


def test_verify_finds_no_fault(older_store: Path) -> None:
    assert verify(older_store) == []


def test_it_holds_its_entries_sweep_and_curves(older_store: Path) -> None:
    with FeatureStore(older_store) as store:
        assert store.ids() == ["digits-relu-l1-0.3", DIGITS, PHOTOS, TEXTS]
        sweep = [entry.sae_id for each in store.sweeps() if each.name == "digits" for entry in each.entries]
        assert sorted(sweep) == ["digits-relu-l1-0.3", DIGITS]
        entry = store[DIGITS]
        assert entry.training_curve().num_rows > 0
        assert entry.baselines().num_rows > 0
        assert entry.atoms([0, 1]).shape == (2, 64)
        assert entry.manifest.constraint == ""  # it was not said


@pytest.mark.parametrize("sae_id", [DIGITS, PHOTOS, TEXTS])
def test_features_are_labelled_by_names(older_store: Path, sae_id: str) -> None:
    with FeatureStore(older_store) as store:
        entry = store[sae_id]
        assert [entry.feature(i).auto_label for i in range(entry.n_features)] == names(sae_id)
        assert entry.table("features")["auto_label"].to_pylist() == names(sae_id)


def test_a_search_for_a_label_finds_its_names_alone(older_store: Path) -> None:
    with FeatureStore(older_store) as store:
        entry = store[DIGITS]
        for name in {name for name in names(DIGITS) if name}:
            expected = {i for i, other in enumerate(names(DIGITS)) if other == name}
            labelled = {i for i in range(entry.n_features) if entry.feature(i).user_label}
            assert {found.feature_id for found in entry.search(f'"{name}"')} - labelled == expected - labelled
        assert not entry.search('"% of firings"')


def test_texts_are_searched_by_tokens_and_words(older_store: Path) -> None:
    with FeatureStore(older_store) as store:
        entry = store[TEXTS]
        top = entry.top_tokens(0)[0]
        assert 0 in {found.feature_id for found in entry.search(f'token:"{top.token}"')}
        raised = entry.top_logits(0, sign=1)[0]
        assert 0 in {found.feature_id for found in entry.search(f'raises:"{raised.token}"')}
        example = entry.examples(0, kind="top")[0]
        words = "".join(entry.item(example.item_id)["tokens"][:3]).strip()
        assert 0 in {found.feature_id for found in entry.search(f'text:"{words}"')}


def test_annotations_are_kept(older_store: Path) -> None:
    with FeatureStore(older_store) as store:
        entry = store[DIGITS]
        assert entry.feature(3).label == "a closed loop"
        assert [found.feature_id for found in entry.search("closed loop")] == [3]
        assert [found.feature_id for found in entry.search("starred")] == [4]
        assert [comment.value for comment in entry.annotation(3).comments] == ["zeros and sixes"]
        assert store.annotations.lists(entry.weights_sha256) == {"strokes": [4]}
        assert store[TEXTS].feature(0).label == "keywords"


def test_the_command_line_shows_and_exports_it(
    older_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", TEXTS, "0", "--store", str(older_store)]) == 0
    shown = capsys.readouterr().out
    assert "keywords" in shown
    assert run(["export", DIGITS, "--store", str(older_store), "--format", "csv", "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "features.csv").open(encoding="utf-8", newline="") as lines:
        assert [row["auto_label"] or None for row in csv.DictReader(lines)] == names(DIGITS)


def test_a_reader_changes_no_byte_of_it(older_store: Path) -> None:
    with FeatureStore(older_store) as store:
        store[DIGITS].search("digit")
    for path in sorted((BEFORE / "saes").rglob("*")):
        if path.is_file():
            assert (older_store / path.relative_to(BEFORE)).read_bytes() == path.read_bytes()


def test_a_build_of_today_stands_beside_it(older_store: Path, tmp_path: Path) -> None:
    root = shutil.copytree(older_store, tmp_path / "store")
    with FeatureStore(root) as store:
        checkpoint = store[PHOTOS].paths.root / "sae"
    built = ["build", checkpoint, "--images", "embedded:photos", "--patch", 8, "--stride", 16, "--image-mode", "grey"]
    assert run([str(word) for word in (*built, "--store", root, "--sae-id", "today", "--device", "cpu")]) == 0
    with FeatureStore(root) as store:
        assert store["today"].n_features == store[PHOTOS].n_features
    assert verify(root) == []
