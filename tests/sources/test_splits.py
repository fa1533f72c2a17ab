"""Splits that names tell: all of the data is in 'all', and what belongs to none is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from saescope.sources import SourceOptions, open_source
from saescope.sources.splits import by_name
from saescope.sources.texts.finding import find_texts
from saescope.store.errors import UserError
from tests.sources.told import Told


def counted(names: list[str], **given: bool) -> dict[str, int]:
    return {split: len(found) for split, found in by_name(names, **given).items()}


def test_names_of_splits() -> None:
    shards = ["train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001", "test-00000-of-00001"]
    assert counted(shards) == counted([f"data/{name}" for name in shards]) == {"train": 2, "validation": 1, "test": 1}
    assert counted([f"{name}-a09b74b3ef9c3b56" for name in shards], strictly=True)["train"] == 2
    assert counted(["Train", "Dev"]) == {"train": 1, "validation": 1}
    assert counted(["wiki.train", "wiki.valid", "wiki.test", "about"], strictly=True) == {
        "train": 1, "validation": 1, "test": 1, "rest": 1,
    }  # fmt: skip
    assert counted(["de/train/a", "de/test/a", "fr/train/b"]) == {"train": 2, "test": 1}
    for names in (["training/a", "tests/a", "src/a"], ["train", "more"], ["trained", "latest"], ["train/a", "x/test"]):
        assert counted(names) == {}
    code = ["src/a", "test/a", "training/a"]
    assert counted(code, strictly=True) == counted([f"Lib/{name}" for name in code], strictly=True) == {}
    assert counted(["lib/train_model", "lib/test_helpers"], strictly=True) == {}
    assert counted(["train/a", "test/b"], strictly=True) == {"train": 1, "test": 1}


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_texts_with_three_splits_and_something_else(tmp_path: Path, kind: str) -> None:
    for name, n in (("train", 30), ("val", 10), ("test", 10), ("extra", 5)):
        texts = [f"the {name} document {i}" for i in range(n)]
        path = tmp_path / f"{name}.{kind}"
        if kind == "jsonl":
            path.write_text("\n".join(json.dumps({"text": t}) for t in texts))
        elif kind == "csv":
            path.write_text("\n".join(["text", *texts]))
        else:
            pq.write_table(pa.table({"text": texts}), path)
    found = find_texts(SourceOptions(texts=str(tmp_path), model="m", hook="h"))
    assert tuple(found.splits) == ("train", "test", "validation")
    sizes = {split: len(list(found.read(split))) for split in ("train", "validation", "test", "all")}  # type: ignore[arg-type]
    assert sizes == {"train": 30, "validation": 10, "test": 10, "all": 55}
    assert any("of no split" in note and f"extra.{kind}" in note for note in found.notes())
    (tmp_path / f"val.{kind}").unlink()
    found = find_texts(SourceOptions(texts=str(tmp_path), model="m", hook="h"))
    with pytest.raises(UserError, match="has no validation split"):
        list(found.read("validation"))


@pytest.mark.parametrize("folders", ["src tests training", "src test training", "src train dev"])
def test_code_is_not_divided_by_its_folders(tmp_path: Path, folders: str) -> None:
    for part in folders.split():
        (tmp_path / part).mkdir()
        for i in range(4):
            (tmp_path / part / f"m{i}.py").write_text(f"def {part}_{i}(x):\n    return x\n")
    found = find_texts(SourceOptions(texts=str(tmp_path), model="m", hook="h"))
    assert tuple(found.splits) == ()
    assert len(list(found.read("all"))) == 12


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


def test_pictures_arrays_and_tables_of_pictures(tmp_path: Path) -> None:
    folder, tables = tmp_path / "pictures", tmp_path / "tables"
    tables.mkdir()
    arrays: dict[str, np.ndarray] = {"x_extra": np.zeros((2, 4, 4), np.uint8)}
    for split, n in (("train", 4), ("val", 3), ("test", 2)):
        for i in range(n):
            picture(folder / split / "xy"[i % 2] / f"{i}.png", i)
        data = (folder / "train/x/0.png").read_bytes()
        pq.write_table(pa.table({"image": [data] * n}), tables / f"{split}-00000-of-00001.parquet")
        arrays |= {f"x_{split}": np.zeros((n, 4, 4), np.uint8), f"y_{split}": np.arange(n)}
    picture(folder / "unlabeled" / "0.png", 9)
    picture(folder / "stray.png", 9)
    np.savez(tmp_path / "arrays.npz", **arrays)
    for path, n_all in ((folder, 11), (tables, 9), (tmp_path / "arrays.npz", 9)):
        told = Told()
        sizes = {}
        for split in ("train", "validation", "test", "all"):
            sizes[split] = open_source(SourceOptions(images=str(path), split=split), progress=told).n_items
        assert sizes == {"train": 4, "validation": 3, "test": 2, "all": n_all}
        if path != tables:
            unread = "stray.png, unlabeled" if path == folder else "x_extra"
            assert any(unread in line for line in told.lines)
        assert any("read is split 'train'" in line for line in told.lines)


def test_where_there_is_no_test_split_validation_stands_for_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=np.zeros((4, 3, 3)), x_val=np.ones((2, 3, 3)))
    given = SourceOptions(images=str(tmp_path / "x.npz"))
    assert open_source(given).describe()["split"] == "test"
    assert open_source(given).n_items == 2
    assert open_source(SourceOptions(images=str(tmp_path / "x.npz"), split="validation")).n_items == 2
    with pytest.raises(UserError, match="no train and test split"):
        open_source(SourceOptions(images="embedded:digits", split="validation"))
