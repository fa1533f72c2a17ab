"""show and search over a small real store of texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from saescope.cli.show_texts import CLOSE, OPEN, _cells, around
from saescope.store import FeatureStore
from saescope.store.search.query import quoted
from saescope.store.token_text import visible
from tests.cli.conftest import Saescope
from tests.small_stores.reading import most_moved, with_line_end

SAE = "texts-topk-k4"


def test_show_prints_tokens_logits_and_examples_in_their_context(
    saescope: Saescope, texts_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    entry = FeatureStore(texts_store)[SAE]
    out = saescope("show", SAE, 20, "--store", texts_store, "--examples", 5).out
    lines = out.splitlines()
    for title, token in (
        ("fires on", entry.top_tokens(20)[0].token),
        ("raises", entry.top_logits(20, 1)[0].token),
        ("lowers", entry.top_logits(20, -1)[0].token),
    ):
        row = next(line for line in lines if line.startswith(title))
        assert row.split(maxsplit=2 if title == "fires on" else 1)[-1].startswith(visible(token, edges=True))
    examples = entry.examples(20, "top")[:5]
    strips = lines[-5:]
    for strip, example in zip(strips, examples, strict=True):
        tokens = entry.item(example.item_id).tokens
        assert tokens is not None
        _, token, _ = around(tokens, example.position)
        assert f"{OPEN}{token}{CLOSE}" in strip
    assert len({_cells(strip.partition(OPEN)[0]) for strip in strips}) == 1
    assert max(map(_cells, strips)) <= 120


def test_show_as_json_has_tokens_and_logits(saescope: Saescope, texts_store: Path) -> None:
    content = saescope("show", SAE, 20, "--store", texts_store, "--json").json
    entry = FeatureStore(texts_store)[SAE]
    assert [t["token"] for t in content["top_tokens"]] == [t.token for t in entry.top_tokens(20)]
    assert [t["logit"] for t in content["top_logits"]] == [t.logit for t in entry.top_logits(20)]


def test_a_token_spelled_by_bytes_is_shown_as_its_character() -> None:
    assert around(["a", "<0xE4>", "<0xBD>", "<0xA0>", "\n"], 2) == ("a", "你", "↵")


@pytest.mark.parametrize("query", ['token:" the"', "raises:RAISED", "text:尊严"])
def test_search_finds_by_token_and_text(saescope: Saescope, texts_store: Path, query: str) -> None:
    entry = FeatureStore(texts_store)[SAE]
    query = query.replace("RAISED", quoted(most_moved(entry, 1)))
    found = saescope("search", query, "--store", texts_store, "--sae-id", SAE, "--json").json["features"]
    assert [f["feature_id"] for f in found] == [f.feature_id for f in entry.search(query)]
    assert found


def test_labels_with_line_ends_stay_on_their_line(saescope: Saescope, texts_store: Path) -> None:
    entry = FeatureStore(texts_store)[SAE]
    holder = with_line_end(entry)
    done = saescope("search", "#1 or of rights", "--store", texts_store, "--sae-id", SAE)
    assert holder in {f.feature_id for f in entry.search("#1 or of rights")}
    assert len(done.out.splitlines()) == 1 + len(entry.search("#1 or of rights"))
