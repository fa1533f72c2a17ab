"""Which column holds the documents, in the layouts that data sets have: texts, conversations, tokens made before."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from saescope.sources import SourceOptions, open_source
from saescope.sources.texts.finding import find_texts
from saescope.sources.texts.source import HookedTexts
from saescope.store.errors import UserError
from tests.sources.texts import small_model
from tests.sources.told import Told

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role') }}{% endif %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
)
TURNS = [
    [{"from": "human", "value": f"What is {i} plus {i}?"}, {"from": "gpt", "value": f"It is {2 * i}."}]
    for i in range(6)
]
WRITTEN = [f"[user]What is {i} plus {i}?\n[assistant]It is {2 * i}.\n" for i in range(6)]


@pytest.fixture(scope="session")
def chat_model(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = small_model.byte_level()
    tokenizer.chat_template = TEMPLATE
    return small_model.save_model(tmp_path_factory.mktemp("models") / "chat", tokenizer)


def opened(path: Path, model: Path, **options: object) -> tuple[HookedTexts, list[str]]:
    told = Told()
    given = {"texts": str(path), "model": str(model), "hook": "blocks.1.hook_resid_post", "context": 64, **options}
    source = open_source(SourceOptions(**given), progress=told)  # type: ignore[arg-type]
    assert isinstance(source, HookedTexts)
    return source, told.lines


def written(source: HookedTexts, model: Path) -> list[str]:
    """The documents, back as text."""
    corpus = source._corpus
    tokenizer = AutoTokenizer.from_pretrained(model)
    return [tokenizer.decode(corpus.tokens[a:b]) for a, b in zip(corpus.starts[:-1], corpus.starts[1:], strict=True)]


def test_a_list_of_turns_goes_through_the_chat_template(tmp_path: Path, chat_model: Path) -> None:
    path = tmp_path / "chat.parquet"
    pq.write_table(pa.table({"conversations": TURNS, "source": ["collected"] * 6}), path)
    source, told = opened(path, chat_model)
    assert written(source, chat_model) == WRITTEN
    assert any("column 'conversations' as conversations" in line for line in told)
    assert (source.describe()["text_column"], source.describe()["text_form"]) == ("conversations", "turns")
    assert source.metadata()["source"].to_pylist() == ["collected"] * source.n_items
    assert source.token_ids(*[pa.array([0]).to_numpy()] * 2).tolist() == [1]  # the beginning is not written twice


@pytest.mark.parametrize("layout", ["role", "parts", "record of lists", "strings", "unnamed"])
def test_layouts_of_conversations(tmp_path: Path, chat_model: Path, layout: str) -> None:
    roles = ("user", "assistant")
    texts = [[turn["value"] for turn in turns] for turns in TURNS]
    name = "messages" if layout != "unnamed" else "talk"
    values: list[object] = [[{"role": r, "content": t} for r, t in zip(roles, two, strict=True)] for two in texts]
    if layout == "parts":
        parts = [[[{"type": "text", "text": t}] for t in two] for two in texts]
        values = [[{"role": r, "content": t} for r, t in zip(roles, two, strict=True)] for two in parts]
    if layout == "record of lists":
        values = [{"role": list(roles), "content": two} for two in texts]
    if layout == "strings":
        values = list(texts)
    rows = [{name: value, "prompt": "a part", "id": "x"} for value in values]
    if layout == "unnamed":
        rows = [{name: row[name], "id": "x"} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    first, second = (opened(tmp_path / name, chat_model)[0] for name in ("a.parquet", "b.jsonl"))
    assert written(first, chat_model) == written(second, chat_model) == WRITTEN
    assert first.data_sha256 == second.data_sha256


def test_conversations_that_the_template_refuses_are_told(tmp_path: Path, chat_model: Path) -> None:
    rows = [{"messages": [{"role": role, "content": "hello"}]} for role in ("user", "critic", "critic")]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    for _ in range(2):  # also where the tokens come from the cache
        source, told = opened(path, chat_model)
        assert written(source, chat_model) == ["[user]hello\n"]
        assert any("2 conversations are passed over" in line and "unknown role" in line for line in told)
    path.write_text("\n".join(json.dumps(row) for row in rows[1:]))
    with pytest.raises(UserError, match="no conversation can be read"):
        opened(path, chat_model)


def test_conversations_need_a_chat_template_or_another_column(tmp_path: Path, model: Path, chat_model: Path) -> None:
    pq.write_table(pa.table({"conversations": TURNS, "source": ["collected"] * 6}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no chat template") as caught:
        opened(tmp_path / "a.parquet", model)
    assert "--text-key" in str(caught.value.hint)
    source, _ = opened(tmp_path / "a.parquet", model, text_key="source")
    assert written(source, model) == ["collected"] * 6
    (tmp_path / "b.jsonl").write_text('{"messages": [{"who": 1}]}')
    with pytest.raises(UserError, match="no column holds texts"):
        opened(tmp_path / "b.jsonl", model)
    (tmp_path / "c.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n{"messages": [{"who": 1}]}')
    with pytest.raises(UserError, match="line 2: 'messages' holds turns that cannot be told"):
        opened(tmp_path / "c.jsonl", chat_model)


def test_token_ids_are_taken_as_tokens(tmp_path: Path, model: Path) -> None:
    ids = [[(7 * i + j) % 390 + 5 for j in range(20)] for i in range(6)]
    padded = [[*row, 0, 0] for row in ids]
    mask = [[1] * 20 + [0, 0]] * 6
    table = {"source": ["page"] * 6, "input_ids": padded, "attention_mask": mask, "labels": padded}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"input_ids": [1, *row]}) for row in ids))
    for name in ("a.parquet", "b.jsonl"):
        source, told = opened(tmp_path / name, model)
        corpus = source._corpus
        found = [corpus.tokens[a:b].tolist() for a, b in zip(corpus.starts[:-1], corpus.starts[1:], strict=True)]
        assert found == ids
        assert source.describe()["text_form"] == "tokens"
        assert any("column 'input_ids' as tokens" in line for line in told)


def test_files_without_the_column_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,cat\n")
    (tmp_path / "b.csv").write_text("id,content\n2,dog\n")
    told = Told()
    found = find_texts(SourceOptions(texts=str(tmp_path), model="m", hook="h"))
    assert ["".join(document.parts) for document in found.read(None, told)] == ["cat", ""]
    assert told.lines == [f"{tmp_path}: nothing is read of files without 'text': b.csv"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"input_ids": [5, 6, 0], "attention_mask": [1, 1]}, "'attention_mask' is no list of 3 numbers"),
        ({"input_ids": [5, 6], "attention_mask": 1}, "'attention_mask' is no list of 2 numbers"),
        ({"input_ids": [5, 6], "attention_mask": [[1], [0, 1]]}, "'attention_mask' is no list of 2 numbers"),
        ({"input_ids": [[5], [6, 7]]}, "'input_ids' is no list of token ids"),
        ({"input_ids": 5}, "'input_ids' is no list of token ids"),
        ({"messages": 5}, "'messages' holds turns that cannot be told: 5"),
        ({"messages": {"role": "user", "content": "hi"}}, "'messages' holds turns that cannot be told: {'role'"),
        (
            {"messages": {"role": ["user"], "content": ["a", "b"]}},
            "'messages' holds turns that cannot be told: {'role'",
        ),
    ],
)
def test_rows_that_are_not_of_their_columns_kind_are_refused(tmp_path: Path, row: dict, says: str) -> None:
    first = {"input_ids": [5, 6]} if "input_ids" in row else {"messages": [{"role": "user", "content": "a"}]}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(first) + "\n" + json.dumps(row))
    with pytest.raises(UserError) as caught:
        list(find_texts(SourceOptions(texts=str(path), model="m", hook="h")).read(None))
    assert f"line 2: {says}" in caught.value.message


def test_token_ids_of_another_tokenizer_are_refused(tmp_path: Path, model: Path) -> None:
    for number, worst in enumerate((50_256, -1)):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"input_ids": [[5, 6], [7, worst]], "source": ["a", "b"]}), path)
        with pytest.raises(UserError, match="document 1") as caught:
            opened(path, model)
        assert f"{worst:,}" in caught.value.message
        assert "another tokenizer" in str(caught.value.hint)


def test_usual_names_of_texts_come_first_and_records_are_reached_by_a_dot(tmp_path: Path) -> None:
    table = pa.table({"meta": [{"body": "a", "url": "u"}], "tags": [["x"]], "n": [1]})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text(json.dumps(table.to_pylist()[0]))
    for name in ("a.parquet", "b.jsonl"):
        options = SourceOptions(texts=str(tmp_path / name), model="m", hook="h", text_key="meta.body")
        found = find_texts(options)
        assert ["".join(document.parts) for document in found.read(None)] == ["a"]
    pq.write_table(
        pa.table({"conversations": TURNS, "text": ["t"] * 6, "input_ids": [[1]] * 6}), tmp_path / "c.parquet"
    )
    found = find_texts(SourceOptions(texts=str(tmp_path / "c.parquet"), model="m", hook="h"))
    assert [d.parts for d in found.read(None)] == [("t",)] * 6
    assert any("conversations, input_ids" in note for note in found.notes())
