"""Tables as sources: every kind of column, fitted on the rows trained on, against scikit-learn and NumPy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from saescope.sources import Source, SourceOptions, has_splits, held_out, open_source
from saescope.sources.options import Purpose
from saescope.sources.tables import reading, source
from saescope.store.errors import UserError
from saescope.store.format.source import TableDescription, read_source
from tests.sources.told import Told

CLINIC = """when,age,city,ok,split,label,const,stay
2020-01-01,10,a,true,train,x,1,2
2020-01-02,,b,false,train,y,1,4
2020-01-03,30,zz,true,test,x,1,9
2020-01-04,20,,true,train,x,1,6
"""


def rows(opened: Source) -> np.ndarray:
    return opened.table().rows(np.arange(opened.n_items)).numpy()


def opened(path: Path | str, purpose: Purpose = "evaluate", told: Told | None = None, **options: object) -> Source:
    return open_source(SourceOptions(table=str(path), **options), purpose, told or Told())


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    path = tmp_path / "clinic.csv"
    path.write_text(CLINIC)
    return path


def test_numbers_are_scaled_as_scikit_learn_does() -> None:
    data = load_breast_cancer().data
    found = opened("embedded:breast_cancer")
    kept = ~held_out(len(data))
    np.testing.assert_allclose(rows(found), StandardScaler().fit(data[kept]).transform(data), rtol=1e-5, atol=1e-5)
    described = found.describe()
    assert isinstance(described, TableDescription)
    assert described.dimensions == list(load_breast_cancer().feature_names)
    assert described.label_words == {"label": "diagnosis"}
    assert read_source(json.loads(json.dumps(described))) == described


def test_robust_and_no_scale() -> None:
    data = load_breast_cancer().data
    kept = data[~held_out(len(data))]
    lower, middle, upper = np.quantile(kept, [0.25, 0.5, 0.75], axis=0)
    robust = rows(opened("embedded:breast_cancer", scale_columns="robust"))
    np.testing.assert_allclose(robust, (data - middle) / (upper - lower) * 1.349, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(rows(opened("embedded:breast_cancer", scale_columns="none")), data.astype(np.float32))


def test_every_kind_of_column(clinic: Path) -> None:
    train, test = opened(clinic, "train"), opened(clinic)
    assert train.describe()["columns"][0] == {
        "name": "age", "kind": "number", "centre": 15.0, "scale": 5.0, "fill": 15.0, "categories": [],
        "indicator": False,
    }  # fmt: skip
    dimensions = ["age", "city = a", "city = b", "ok", "stay"]
    assert train.describe().dimensions == dimensions  # type: ignore[attr-defined]
    spread = np.std([2, 4, 6])
    np.testing.assert_allclose(
        rows(train), [[-1, 1, 0, 1, -2 / spread], [0, 0, 1, 0, 0], [1, 0, 0, 1, 2 / spread]], rtol=1e-6
    )
    np.testing.assert_allclose(rows(test), [[3, 0, 0, 1, 5 / spread]], rtol=1e-6)
    assert has_splits(SourceOptions(table=str(clinic)))
    assert test.describe().split == "test"
    item = test.item_table(np.array([0])).to_pylist()[0]
    assert (item["label"], item["age"], item["city"], item["const"]) == ("x", 30, "zz", 1)
    assert item["when"].startswith("2020-01-03")
    assert set(test.metadata()) == {"label", "when", "city", "ok", "const"}


def test_what_is_missing_unseen_and_left_out_is_told(clinic: Path) -> None:
    told = Told()
    described = opened(clinic, "train", told).describe()
    assert described["missing"] == {"age": 1, "city": 1}
    assert set(described["left_out"]) == {"when", "const"}
    said = "\n".join(told.lines)
    assert "column 'const' is no input: it is constant" in said
    assert "missing values, filled in with the training's median" in said
    told = Told()
    assert opened(clinic, told=told).describe()["unseen"] == {"city": 1}
    assert "none of the categories of training" in "\n".join(told.lines)


def test_categories_as_scikit_learn_does(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words, codes = random.choice(["red", "green", "blue"], 50), random.integers(0, 4, 50)
    pq.write_table(pa.table({"colour": pa.array(words).dictionary_encode(), "code": codes}), tmp_path / "a.parquet")
    found = rows(opened(tmp_path / "a.parquet", category_columns="code"))
    expected = OneHotEncoder(sparse_output=False).fit_transform(np.stack([words, codes.astype(str)], axis=1))
    np.testing.assert_array_equal(found, expected)


def test_an_indicator_of_what_is_missing(clinic: Path) -> None:
    found = opened(clinic, "train", missing_indicator=True)
    dimensions = ["age", "age is missing", "city = a", "city = b", "city is missing", "ok", "stay"]
    assert found.describe().dimensions == dimensions  # type: ignore[attr-defined]
    np.testing.assert_array_equal(rows(found)[:, [1, 4]], [[0, 0], [1, 0], [0, 1]])


def test_the_same_rows_are_the_same_source_whatever_the_file(clinic: Path, tmp_path: Path) -> None:
    table = reading.read_table([clinic])
    pq.write_table(table, tmp_path / "clinic.parquet")
    (tmp_path / "clinic.csv.gz").write_bytes(gzip.compress(CLINIC.replace(",", ";").encode()))
    (tmp_path / "parts").mkdir()
    pq.write_table(table.slice(0, 2).drop(["split"]), tmp_path / "parts" / "train-0.parquet")
    pq.write_table(table.slice(3, 1).drop(["split"]), tmp_path / "parts" / "train-1.parquet")
    pq.write_table(table.slice(2, 1).drop(["split"]), tmp_path / "parts" / "test.parquet")
    purposes: tuple[Purpose, ...] = ("train", "evaluate")
    for purpose in purposes:
        hashes = {
            opened(tmp_path / name, purpose).data_sha256
            for name in ("clinic.csv", "clinic.parquet", "clinic.csv.gz", "parts")
        }
        assert len(hashes) == 1


def test_rows_beyond_memory_are_held_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rows(opened("embedded:wine"))
    monkeypatch.setattr(source, "_IN_MEMORY", 0)
    monkeypatch.setattr(source, "_ROWS", 50)
    np.testing.assert_array_equal(rows(opened("embedded:wine")), expected)


def test_a_column_is_of_one_kind_by_all_of_its_values(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,z\n" + "1,2\n" * 5 + "1.5,b\n2,c\n" * 5)
    found = opened(tmp_path / "a.csv").describe()
    assert [(c["name"], c["kind"]) for c in found["columns"]] == [("x", "number"), ("z", "category")]


def test_choosing_by_label(clinic: Path) -> None:
    everything, benign = opened("embedded:breast_cancer"), opened("embedded:breast_cancer", only_labels="benign")
    assert benign.n_items == 357
    assert set(benign.metadata()["label"].to_pylist()) == {"benign"}
    assert opened("embedded:breast_cancer", without_labels="malignant").data_sha256 == benign.data_sha256
    assert benign.data_sha256 != everything.data_sha256
    assert benign.describe()["only_labels"] == "benign"
    assert "only_labels" not in everything.describe()


def test_images_by_label() -> None:
    every = open_source(SourceOptions(images="embedded:digits"))
    some = open_source(SourceOptions(images="embedded:digits", without_labels="7,8"))
    labels = np.array(every.metadata()["label"].to_pylist())
    kept = np.flatnonzero(~np.isin(labels, ["7", "8"]))
    assert some.n_items == len(kept)
    np.testing.assert_array_equal(rows(some), rows(every)[kept])
    batches = np.concatenate([b.activations.numpy()[:, 0] for b in some.batches(items_per_batch=100)])
    np.testing.assert_array_equal(batches, rows(some))
    assert some.item_table(np.array([3]))["image"] == every.item_table(kept[[3]])["image"]
    assert some.describe()["without_labels"] == "7,8"


def test_columns_of_another_training(clinic: Path, tmp_path: Path) -> None:
    record = tmp_path / "columns.json"
    record.write_text(json.dumps({"columns": opened(clinic, "train").describe()["columns"]}))
    later = tmp_path / "later.csv"
    later.write_text("city,age,ok,stay,extra\nb,25,false,4,1\n")
    np.testing.assert_allclose(rows(opened(later, columns_from=str(record))), [[2, 0, 1, 0, 0]])
    later.write_text("city,age\nb,25\n")
    with pytest.raises(UserError, match="lacks columns of the training: 'ok', 'stay'"):
        opened(later, columns_from=str(record))
    later.write_text("city,age,ok,stay\nb,old,false,4\n")
    with pytest.raises(UserError, match="column 'age' is string, but numbers in training"):
        opened(later, columns_from=str(record))


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("", {}, "is empty"),
        ("a,b\n", {}, "has no rows"),
        ("1,2\n3,4\n", {}, "first line holds numbers"),
        ("a,a\n1,2\n", {}, "more than one column is called 'a'"),
        ("a,A\n1,2\n3,4\n", {}, "differ in upper and lower case alone"),
        ("a,b\n1,2,3\n", {}, "not CSV that can be read"),
        ("a,b\n1,2\n1,2\n", {}, "no column can be an input .*constant"),
        ("a,b\n1,\n2,\n", {"label_column": "c"}, "no column 'c'"),
        ("a,b\n1,inf\n" + "2,3\n3,4\n" * 5, {}, "column 'b' is inf in row 0"),
        ("a,b\n1,\n" + "2,3\n3,4\n" * 5, {"missing_values": "refuse"}, "column 'b' has missing values"),
        ("a,b\n1,1e300\n" + "2,3\n3,4\n" * 5, {}, "column 'b' holds values that float32 cannot"),
        ("a,part\n1,x\n2,y\n", {"split_column": "parts"}, "no column 'parts'; did you mean 'part'"),
        ("a,part\n1,x\n2,y\n", {"split_column": "part"}, "does not say which split"),
        ("a,b\n1,2\n2,3\n", {"split": "test"}, "has no train and test split"),
        ("a,b\n1,2\n2,3\n", {"only_labels": "x"}, "have none"),
        ("a,y\n1,2\n2,3\n", {"only_labels": "4"}, "no item has the label '4'"),
        ("a,y\n1,2\n2,3\n", {"only_labels": "2", "without_labels": "2"}, "both name 2"),
        ("a,y\n1,2\n2,3\n", {"metadata_columns": "a,,"}, "separated by commas"),
        ("a,b\n1,2\n2,3\n", {"columns_from": "nowhere"}, "no columns of a table can be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str, options: dict[str, object], says: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UserError, match=says):
        opened(tmp_path / "a.csv", **options)


def test_columns_that_are_not_what_their_name_or_most_of_their_values_say_are_told(tmp_path: Path) -> None:
    body = "".join(f"{i},{i * 0.5 if i != 7 else 'broken'},{'train' if i % 2 else 'rest'}\n" for i in range(100))
    (tmp_path / "a.csv").write_text("x,z,split\n" + body)
    told = Told()
    assert opened(tmp_path / "a.csv", told=told).d_in == 3
    assert "column 'split' does not say train and test" in told.lines[0]
    assert "but for 'broken' these are numbers" in told.lines[1]
    (tmp_path / "b.csv").write_bytes(b"x,z\n1,\xe9\n")
    with pytest.raises(UserError) as caught:
        opened(tmp_path / "b.csv")
    assert caught.value.hint == "write it in UTF-8"


def test_a_column_that_was_an_input_in_training_stays_one(clinic: Path, tmp_path: Path) -> None:
    record = tmp_path / "columns.json"
    record.write_text(json.dumps({"columns": opened(clinic, "train").describe()["columns"]}))
    told = Told()
    found = opened(clinic, told=told, columns_from=str(record), metadata_columns="age")
    assert found.d_in == 5
    assert any("column 'age' is an input all the same" in line for line in told.lines)


def test_names_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        opened(tmp_path / "a.csv")
    with pytest.raises(UserError, match="no embedded table 'iris'"):
        opened("embedded:iris")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="neither a table"):
        opened(tmp_path / "a.csv")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="holds no tables"):
        opened(tmp_path / "b")
