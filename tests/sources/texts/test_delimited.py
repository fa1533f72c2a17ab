"""Delimited text: quotation marks, delimiters and encodings as they are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from saescope.sources import SourceOptions
from saescope.sources.texts.finding import find_texts
from saescope.store.errors import UserError


def read(path: Path, text: str | bytes, **options: object) -> list[tuple[str, dict]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = find_texts(SourceOptions(texts=str(path), model="m", hook="h", **options))  # type: ignore[arg-type]
    return [("".join(d.parts), dict(d.values)) for d in found.read(None)]


def rows(delimiter: str, n: int = 60) -> list[str]:
    return [f"{i}{delimiter}The fox number {i} jumps." for i in range(n)]


@pytest.mark.parametrize("place", [2, 30, 59])
@pytest.mark.parametrize("other", [None, 45, 58])
def test_tabs_with_a_quotation_that_nothing_closes(tmp_path: Path, place: int, other: int | None) -> None:
    lines = rows("\t")
    lines[place] = f'{place}\t"Hurry, said the fox.'
    if other is not None and other != place:
        lines[other] = f'{other}\tHe said "no"'
    documents = read(tmp_path / "a.tsv", "id\ttext\n" + "\n".join(lines) + "\n")
    assert len(documents) == 60
    assert documents[place] == ('"Hurry, said the fox.', {"id": str(place)})
    if other is not None and other != place:
        assert documents[other][0] == 'He said "no"'
    assert documents[50] == ("The fox number 50 jumps.", {"id": "50"})


def test_tabs_with_quotations_that_close(tmp_path: Path) -> None:
    text = 'id\ttext\n1\t"two\nlines, ""quoted"""\n2\t5" long\n3\t"a"\n'
    assert [t for t, _ in read(tmp_path / "a.tsv", text)] == ['two\nlines, "quoted"', '5" long', "a"]
    inches = 'id\ttext\n1\t"5\n2\t6"\n3\tx\n'
    assert [t for t, _ in read(tmp_path / "b.tsv", inches)] == ['"5', '6"', "x"]


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
def test_elsewhere_the_line_of_the_quotation_is_named(tmp_path: Path, delimiter: str) -> None:
    lines = rows(delimiter)
    lines[7] = f'7{delimiter}"Hurry said the fox.'
    header = f"id{delimiter}text\n"
    for last in (None, f'40{delimiter}"He" said no'):
        if last is not None:
            lines[40] = last
        with pytest.raises(UserError, match="line 9 begins a quotation"):
            read(tmp_path / "a.csv", header + "\n".join(lines))


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_ends_of_lines_and_encodings(tmp_path: Path, delimiter: str, end: str, encoding: str) -> None:
    lines = [f'"id"{delimiter}text', f'1{delimiter}"a{delimiter} b"', "", f'2{delimiter}"é{end}c"', f"3{delimiter}d"]
    documents = read(tmp_path / "a.csv", end.join(lines).encode(encoding))
    assert documents == [(f"a{delimiter} b", {"id": "1"}), (f"é{end}c", {"id": "2"}), ("d", {"id": "3"})]


def test_the_header_tells_the_delimiter(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "text,a;b;c\nx;y,z\n") == [("x;y", {"a;b;c": "z"})]
    assert read(tmp_path / "b.csv", "long, name;text\nx;y, z\n") == [("y, z", {"long, name": "x"})]
    assert read(tmp_path / "c.csv", "sep=;\ntext;n\nx, y;1\n") == [("x, y", {"n": "1"})]
    assert read(tmp_path / "d.csv", "said;a, b, c\nx, y;1\n", text_key="said") == [("x, y", {"a, b, c": "1"})]
    assert read(tmp_path / "e.tsv", "text,n\nx,1\n") == [("x", {"n": "1"})]
