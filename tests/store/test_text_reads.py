"""Reads and searches of an entry of texts, against a plain Python evaluation of its tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saescope.store import FeatureStore, QueryError
from saescope.store.check.verification import verify
from saescope.store.read.entry import Entry
from saescope.store.search import query as q
from saescope.store.search.condition import is_ranked
from saescope.store.token_text import text_of
from tests.small_stores.reading import most_moved


@pytest.fixture
def entry(texts_store: Path) -> Iterator[Entry]:
    with FeatureStore(texts_store) as store:
        yield store["texts-topk-k4"]


def ids(entry: Entry, query: str) -> set[int]:
    return {f.feature_id for f in entry.search(query, limit=1000)}


def listing(entry: Entry, table: str, holds: Callable[[dict[str, object]], bool]) -> set[int]:
    return {row["feature_id"] for row in entry.table(table).to_pylist() if holds(row)}


def test_the_store_is_sound(texts_store: Path) -> None:
    assert verify(texts_store) == []


def test_tokens_and_logits_of_a_feature_come_in_order(entry: Entry) -> None:
    tokens = [r for r in entry.table("top_tokens").to_pylist() if r["feature_id"] == 7]
    assert [t.as_dict() for t in entry.top_tokens(7)] == tokens
    assert [t.n_firing for t in entry.top_tokens(7)] == sorted((t["n_firing"] for t in tokens), reverse=True)
    raised, lowered = entry.top_logits(7, 1), entry.top_logits(7, -1)
    assert entry.top_logits(7) == raised + lowered
    assert [x.rank for x in raised] == list(range(len(raised)))
    assert raised[0].logit > 0 > lowered[0].logit
    assert entry.first_tokens([7, 3]) == {i: entry.top_tokens(i)[0].token for i in (7, 3)}


@pytest.mark.parametrize(
    ("query", "table", "holds"),
    [
        ("token:the", "top_tokens", lambda r: r["token"].strip(" \n\r\t").lower() == "the"),
        ("token:THE", "top_tokens", lambda r: r["token"].strip(" \n\r\t").lower() == "the"),
        ('token:" the"', "top_tokens", lambda r: r["token"] == " the"),
        ('token:"the"', "top_tokens", lambda r: r["token"] == "the"),
        ("token:␣the", "top_tokens", lambda r: r["token"] == " the"),
        ('token:"\\n"', "top_tokens", lambda r: r["token"] == "\n"),
        ("token:↵", "top_tokens", lambda r: r["token"] == "\n"),
        ("token:<0xE5>", "top_tokens", lambda r: r["token"] == "<0xE5>"),
        ('token:"("', "top_tokens", lambda r: r["token"] == "("),
        ('token:"\\""', "top_tokens", lambda r: r["token"] == '"'),
        ("TOKEN:and", "top_tokens", lambda r: r["token"].strip().lower() == "and"),
        ("raises:class", "top_logits", lambda r: r["sign"] == 1 and r["token"].strip().lower() == "class"),
        ("lowers:class", "top_logits", lambda r: r["sign"] == -1 and r["token"].strip().lower() == "class"),
        ("token:'", "top_tokens", lambda r: r["token"].strip() == "'"),
    ],
)
def test_features_are_found_by_token(entry: Entry, query: str, table: str, holds: Callable[..., bool]) -> None:
    assert ids(entry, query) == listing(entry, table, holds)


def test_some_of_these_searches_find_something(entry: Entry) -> None:
    for query in ("token:the", 'token:" the"', "token:↵", 'token:"("'):
        assert 0 < len(ids(entry, query)) < 96, query


def test_every_token_of_the_tables_is_found(entry: Entry) -> None:
    tokens = sorted({row["token"] for row in entry.table("top_tokens").to_pylist()})
    spelled_by_bytes = [token for token in tokens if "<0x" in token]
    for token in [*tokens[::20], *spelled_by_bytes[:5]]:
        found = ids(entry, f"token:{q.quoted(token)}")
        assert found == listing(entry, "top_tokens", lambda row, token=token: row["token"] == token) != set()
    assert spelled_by_bytes
    for field, sign in (("raises", 1), ("lowers", -1)):
        for row in entry.table("top_logits").to_pylist()[::100]:
            same = listing(entry, "top_logits", lambda r, t=row["token"], s=sign: (r["token"], r["sign"]) == (t, s))
            assert ids(entry, f"{field}:{q.quoted(row['token'])}") == same


def test_items_keep_their_metadata(entry: Entry) -> None:
    kept = entry.table("items").to_pylist()
    item = entry.item(kept[3]["item_id"])
    assert item.metadata == {n: kept[3][n] for n in ("context_start", "document_id", "kind", "name", "language")}
    assert (item.token_ids, item.tokens) == (kept[3]["token_ids"], kept[3]["tokens"])


@pytest.mark.parametrize(
    ("query", "pattern"),
    [
        ("text:class", "class"),
        ('text:"HUMAN beings"', r"human\s+beings"),
        ('text:"statements are"', r"statements\s+are"),
        ("text:尊严", "尊严"),  # spelled by bytes in part
        ("text:🦉", "🦉"),
        ("text:بروح", "بروح"),
        ('text:"</script>"', "</script>"),
        ("text:nothing_has_this", "nothing_has_this"),
    ],
)
def test_features_are_found_by_text_inside_examples(entry: Entry, query: str, pattern: str) -> None:
    items = {
        row["item_id"]
        for row in entry.table("items").to_pylist()
        if re.search(pattern, text_of(row["tokens"]), re.IGNORECASE)
    }
    assert ids(entry, query) == listing(entry, "examples", lambda row: row["item_id"] in items)
    assert bool(items) == ("nothing" not in query)


def test_fields_combine_with_everything_else(entry: Entry) -> None:
    both = ids(entry, "token:the and density > 0.02")
    assert both == ids(entry, "token:the") & ids(entry, "density > 0.02")
    assert ids(entry, "not token:the") == set(range(96)) - ids(entry, "token:the")
    assert ids(entry, "token:the or raises:class") == ids(entry, "token:the") | ids(entry, "raises:class")
    assert entry.features_page("token:the").total == len(ids(entry, "token:the"))


@pytest.mark.parametrize("text", ["'; DROP TABLE features; --", "$q1", "[a-z", "(?i)", "\\E", "\x00", "%"])
def test_searched_text_is_data(entry: Entry, text: str) -> None:
    for name in ("token", "raises", "text"):
        assert len(ids(entry, f"{name}:{q.quoted(text)}")) <= 96
    assert entry.features_page().total == 96


def test_an_entry_without_tokens_has_none(store: FeatureStore) -> None:
    entry = store["digits-topk-k4"]
    for query in ("token:the", "raises:the", "lowers:the", "text:the"):
        assert entry.search(query) == []
    assert (entry.top_tokens(3), entry.top_logits(3), entry.first_tokens([3])) == ([], [], {})


@pytest.mark.parametrize("text", ["a", " a ", 'say "no"', "back\\slash", "\n\t\r", "\\n", "(or)"])
def test_quoted_text_is_read_back(text: str) -> None:
    assert q.parse(f"token:{q.quoted(text)}") == q.Field("token", text, exact=True)


def test_an_empty_field_is_told(entry: Entry) -> None:
    with pytest.raises(QueryError, match="nothing after token:"):
        entry.search('token:""')


def test_the_best_matches_come_first(entry: Entry) -> None:
    found = entry.search("token:the", limit=1000)

    def share(feature_id: int) -> float:
        same = [t for t in entry.top_tokens(feature_id) if t.token.strip().lower() == "the"]
        return max(t.n_firing for t in same) / entry.feature(feature_id).n_firing

    shares = [share(f.feature_id) for f in found]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) > 5
    token = most_moved(entry, 1)
    effects = [
        max(x.logit for x in entry.top_logits(f.feature_id, 1) if x.token == token)
        for f in entry.search(f"raises:{q.quoted(token)}")
    ]
    assert len(effects) > 3
    assert effects == sorted(effects, reverse=True)
    items = {row["item_id"] for row in entry.table("items").to_pylist() if "class" in text_of(row["tokens"]).lower()}
    fits = []
    for f in entry.search("text:class and not token:the", limit=1000):
        examples = entry.examples(f.feature_id)
        fits.append(sum(e.item_id in items for e in examples) / len(examples))
    assert fits == sorted(fits, reverse=True)
    page = entry.features_page("token:the", sort="relevance").rows["feature_id"].to_pylist()
    assert [share(i) for i in page] == shares
    assert entry.features_page("density > 0", sort="relevance").rows["feature_id"].to_pylist() == sorted(
        i for i in range(96) if entry.feature(i).n_firing
    )


def test_queries_that_rank_their_matches() -> None:
    assert is_ranked("not (token:a or dog)")
    assert is_ranked("density > 0.1 text:dog")
    assert not is_ranked("dog is:dead")
    assert not is_ranked(" ")
