"""Corpora as tokens, and how they are cut into items."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saescope.sources import SourceOptions
from saescope.sources.texts import corpus as corpus_module
from saescope.sources.texts import tokenising
from saescope.sources.texts.corpus import Corpus, open_corpus
from saescope.sources.texts.finding import find_texts
from saescope.sources.texts.framing import Frame
from saescope.sources.texts.items import cut_into_items
from saescope.store.errors import UserError
from tests.sources.texts.small_model import byte_level, texts


def tokenised(path: Path, **options: object) -> Corpus:
    given = {"split": None, "separator": None, "max_tokens": None, **options}
    found = find_texts(SourceOptions(texts=str(path), model="m", hook="h"))
    return open_corpus(found, byte_level(), subject=str(path), **given)  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Real texts with two empty ones among them."""
    rows = [{"text": t, "n": i} for i, t in enumerate(["", *texts(12), ""])]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "corpus.parquet", row_group_size=3)
    return tmp_path / "corpus.parquet"


def test_tokens_of_all_documents_that_have_some(table: Path) -> None:
    corpus = tokenised(table)
    expected = [byte_level()(t, add_special_tokens=False)["input_ids"] for t in texts(12)]
    assert corpus.tokens.tolist() == [i for ids in expected for i in ids]
    assert corpus.starts.tolist() == [0, *np.cumsum([len(ids) for ids in expected])]
    assert corpus.counts.tolist() == np.bincount(corpus.tokens, minlength=400).tolist()
    assert corpus.documents().to_pydict() == {"document_id": [*range(1, 13)], "n": [*range(1, 13)]}
    assert corpus.about["n_empty"] == 2
    assert corpus.tokens.dtype == np.uint16


def test_it_is_tokenised_once(table: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tokenised(table)
    monkeypatch.setattr(corpus_module, "tokenised", None)
    assert tokenised(table).folder == first.folder
    assert [p.name for p in first.folder.parent.iterdir()] == [first.folder.name]


def test_the_hash_is_of_the_texts_whatever_file_they_come_from(table: Path, tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"body": t}) + "\n" for t in texts(12)))
    assert tokenised(path).data_sha256 == tokenised(table).data_sha256
    path.write_text("".join(json.dumps({"body": t}) + "\n" for t in reversed(texts(12))))
    assert tokenised(path).data_sha256 != tokenised(table).data_sha256


def test_a_changed_file_is_read_anew(table: Path) -> None:
    before = tokenised(table).data_sha256
    pq.write_table(pa.table({"text": ["another text"]}), table)
    corpus = tokenised(table)
    assert corpus.data_sha256 != before
    assert corpus.n_documents == 1


def test_long_documents_are_tokenised_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(f"line {i} of the document\n" for i in range(400))
    (tmp_path / "long.txt").write_text(lines + "x" * 3000)
    whole = tokenised(tmp_path / "long.txt")
    monkeypatch.setattr(tokenising, "LONGEST", 700)
    monkeypatch.setattr(tokenising, "AT_ONCE", 500)
    monkeypatch.setattr(corpus_module, "VERSION", 99)
    parts = tokenised(tmp_path / "long.txt")
    assert parts.folder != whole.folder
    assert parts.data_sha256 == whole.data_sha256
    assert byte_level().decode(parts.tokens.tolist()) == byte_level().decode(whole.tokens.tolist())
    n_lines = len(byte_level()(lines, add_special_tokens=False)["input_ids"])
    assert (parts.tokens[:n_lines] == whole.tokens[:n_lines]).all()


def test_a_document_of_a_megabyte(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_text("word " * 250_000)
    corpus = tokenised(tmp_path / "big.txt")
    assert corpus.n_documents == 1
    assert corpus.n_tokens > 250_000


@pytest.mark.parametrize("content", ["", " \n\n ", "<|endoftext|>\f"])
def test_corpora_without_text(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": content.strip()}) + '\n{"text": null}\n')
    if not content.strip():
        with pytest.raises(UserError, match="holds no text"):
            tokenised(tmp_path / "a.jsonl")
    (tmp_path / "b.txt").write_text(content)
    if content and not content.strip():
        assert tokenised(tmp_path / "b.txt").n_tokens > 0  # white space is text
    else:
        with pytest.raises(UserError):
            tokenised(tmp_path / "b.txt")


def test_nothing_is_left_of_a_corpus_that_cannot_be_read(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": 2}\n')
    with pytest.raises(UserError, match="line 2"):
        tokenised(tmp_path / "a.jsonl")
    assert list((cache / "texts").iterdir()) == []


def test_so_many_tokens_of_documents_chosen_by_a_hash(table: Path) -> None:
    whole = tokenised(table)
    by_document = {
        int(d): whole.tokens[whole.starts[i] : whole.starts[i + 1]].tolist()
        for i, d in enumerate(whole.documents()["document_id"].to_pylist())
    }
    chosen: list[set[int]] = []
    for wanted in (1, 500, 2500, 7000):
        corpus = tokenised(table, max_tokens=wanted)
        assert corpus.n_tokens == wanted
        ids = corpus.documents()["document_id"].to_pylist()
        assert ids == sorted(ids)
        parts = [corpus.tokens[a:b].tolist() for a, b in zip(corpus.starts[:-1], corpus.starts[1:], strict=True)]
        cut = [d for d, part in zip(ids, parts, strict=True) if part != by_document[d]]
        assert len(cut) <= 1
        assert all(by_document[d][: len(part)] == part for d, part in zip(ids, parts, strict=True))
        chosen.append(set(ids))
    assert all(small <= large for small, large in itertools.pairwise(chosen))
    assert tokenised(table, max_tokens=10**9).data_sha256 == whole.data_sha256
    hashes = {tokenised(table, max_tokens=n).data_sha256 for n in (500, 501, 2500)}
    assert len(hashes) == 3


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    content=st.integers(1, 12),
    stride=st.integers(1, 12),
    before=st.integers(0, 2),
    after=st.integers(0, 1),
    packed=st.booleans(),
)
def test_every_token_counts_once(
    sizes: list[int], content: int, stride: int, before: int, after: int, packed: bool
) -> None:
    stride = min(stride, content)
    tokens = np.arange(100, 100 + sum(sizes), dtype=np.uint16)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    frame = Frame(tuple(range(1, 1 + before)), tuple(range(50, 50 + after)))
    items = cut_into_items(tokens, starts, frame, content, stride, "packed" if packed else "pieces")
    excluded = np.zeros(100 + sum(sizes), dtype=bool)
    excluded[:100] = True
    every = np.arange(items.n_items)
    ids, real, counts = items.contexts(every, excluded)
    assert sorted(ids[counts].tolist()) == tokens.tolist()
    assert (items.lengths(every) == real.sum(axis=1)).all()
    for item in every:
        row = ids[item][real[item]].tolist()
        assert row[:before] == [*frame.before]
        assert row[len(row) - after :] == [*frame.after]
        inner = row[before : len(row) - after]
        assert inner == list(range(inner[0], inner[0] + len(inner)))
        assert 1 <= len(inner) <= content
        document = int(items.document[item])
        assert starts[document] + items.offset[item] == inner[0] - 100
        if not packed:
            assert inner[-1] - 100 < starts[document + 1]
        assert not ids[item][~real[item]].any()
    item, position = np.nonzero(real)
    assert (items.token_ids(item, position) == ids[item, position]).all()
