"""Tables whose files differ in what is not read, and columns of times as pandas and data warehouses leave them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from saescope.sources import SourceOptions
from saescope.sources.tables.values import python_values
from saescope.sources.texts.finding import find_texts
from saescope.store.errors import UserError

DOCS = [f"The fox number {i} jumps." for i in range(60)]


def found(path: Path, **options: object):
    return find_texts(SourceOptions(texts=str(path), model="m", hook="h", **options))  # type: ignore[arg-type]


def read(path: Path) -> list[tuple[str, dict]]:
    return [("".join(d.parts), dict(d.values)) for d in found(path).read(None)]


@pytest.mark.parametrize("kind", ["parquet", "feather", "mixed"])
def test_only_the_column_that_is_read_must_agree(tmp_path: Path, kind: str) -> None:
    tables = [
        pa.table({"text": DOCS[:30], "score": pa.array(range(30), pa.int64()), "key": range(30)}),
        pa.table(
            {
                "text": pa.array(DOCS[30:], pa.large_string()).dictionary_encode(),
                "score": pa.array([None] + [0.5] * 29, pa.float64()),
                "url": ["u"] * 30,
                "key": ["k"] * 30,
            }
        ),
    ]
    for number, table in enumerate(tables):
        if kind == "feather" or (kind == "mixed" and number):
            pyarrow.feather.write_feather(table, tmp_path / f"part-{number}.feather")
        else:
            pq.write_table(table, tmp_path / f"part-{number}.parquet")
    documents = read(tmp_path)
    assert [text for text, _ in documents] == DOCS
    assert documents[3][1] == {"score": 3.0, "url": None}
    assert documents[31][1] == {"score": 0.5, "url": "u"}
    assert dict(found(tmp_path).columns()) == {"score": pa.float64(), "url": pa.string()}
    assert any("column 'key' is left out: it is int64 in part-0" in note for note in found(tmp_path).notes())


def test_a_refusal_names_file_column_and_both_types(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": DOCS}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": range(60)}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet.*'text' is int64 here, string there"):
        read(tmp_path)
    pq.write_table(pa.table({"texts": DOCS}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet.*no column 'text' here, string there"):
        read(tmp_path)


def test_whole_numbers_that_no_type_holds_together_are_left_out(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "n": pa.array([2**63 + 1], pa.uint64())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["b"], "n": pa.array([-1], pa.int64())}), tmp_path / "b.parquet")
    assert [text for text, _ in read(tmp_path)] == ["a", "b"]
    assert "column 'n' is left out: it is uint64 in a.parquet and int64 in b.parquet" in found(tmp_path).notes()


def test_a_column_of_nulls_in_one_file_is_that_of_the_others(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "c": pa.nulls(1), "d": pa.nulls(1)}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["b"], "c": ["x"]}), tmp_path / "b.parquet")
    assert read(tmp_path) == [("a", {"c": None}), ("b", {"c": "x"})]
    assert "columns that hold no plain values are not kept: d" in found(tmp_path).notes()


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([pa.array(["a"])] * 2, names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: more than one column is called 'text'"):
        read(tmp_path / "a.parquet")


def moments(unit: str, zone: str | None, *values: int | None) -> list[object]:
    return python_values(pa.array(values, pa.int64()).cast(pa.timestamp(unit, zone)))


def test_times_become_text_with_and_without_pandas() -> None:
    ns = 1_700_000_000_123_456_789
    assert moments("ns", None, ns, None, ns - 789, 1_700_000_000 * 10**9) == [
        "2023-11-14 22:13:20.123456789", None, "2023-11-14 22:13:20.123456", "2023-11-14 22:13:20",
    ]  # fmt: skip
    assert moments("ns", "America/New_York", ns) == ["2023-11-14 17:13:20.123456789-05:00"]
    assert moments("ns", None, -1) == ["1969-12-31 23:59:59.999999999"]
    for unit, factor in (("s", 1), ("ms", 10**3), ("us", 10**6)):
        assert moments(unit, None, 1_700_000_000 * factor) == ["2023-11-14 22:13:20"]
        assert moments(unit, "Asia/Tokyo", 1_700_000_000 * factor) == ["2023-11-15 07:13:20+09:00"]
    end = int((dt.datetime(9999, 12, 31, 23, 59, 59) - dt.datetime(1970, 1, 1)).total_seconds())
    assert moments("us", "Asia/Tokyo", end * 10**6) == ["9999-12-31 23:59:59+00:00"]
    assert moments("s", None, end + 1) == moments("s", "Asia/Tokyo", end + 86400) == [None]
    assert moments("us", "Mars/Phobos", 0) == ["1970-01-01 00:00:00+00:00"]
    assert python_values(pa.array([1, 3_723_000_000_001], pa.time64("ns"))) == [
        "00:00:00.000000001",
        "01:02:03.000000001",
    ]
    durations = [1_000_000_001, 1_000_000_000, -1, 86_400_000_001_002]
    assert python_values(pa.array(durations, pa.duration("ns"))) == [
        "0:00:01.000000001", "0:00:01", "-1 day, 23:59:59.999999999", "1 day, 0:00:00.000001002",
    ]  # fmt: skip
    assert python_values(pa.array([2**31 - 1, 0], pa.date32())) == [None, "1970-01-01"]


def test_metadata_of_every_type_is_kept_or_passed_over(tmp_path: Path) -> None:
    import decimal

    table = pa.table(
        {
            "text": DOCS[:2],
            "price": pa.array([decimal.Decimal("1.25"), None], pa.decimal128(9, 2)),
            "half": pa.array([1.5, 2.5], pa.float16()),
            "view": pa.array(["a", "b"], pa.string_view()),
            "state": pa.array(["x", "y"], pa.large_string()).dictionary_encode(),
            "late": pa.array([2**62, 0], pa.int64()).cast(pa.timestamp("s")),
            "tags": [["a"], []],
            "meta": [{"a": 1}, {"a": 2}],
            "raw": [b"a", b"b"],
            "nothing": pa.nulls(2),
        }
    )
    pyarrow.feather.write_feather(table, tmp_path / "a.feather")
    first, second = read(tmp_path / "a.feather")
    assert first[1] == {"price": 1.25, "half": 1.5, "view": "a", "state": "x", "late": None}
    assert second[1]["late"] == "1970-01-01 00:00:00"
    notes = " ".join(found(tmp_path / "a.feather").notes())
    assert "not kept: tags, meta, raw, nothing" in notes
