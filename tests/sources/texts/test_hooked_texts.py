"""Texts through a model: the activations are the model's own, whatever way they are asked for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from saescope.sources import flat_positions, held_out_items
from saescope.sources.hooked import rows as streamed_rows
from saescope.sources.hooked import windows
from saescope.sources.texts.source import HookedTexts
from tests.sources.texts.conftest import Open
from tests.sources.texts.small_model import BEGIN, END, texts


def all_rows(source: HookedTexts, start: int = 0, size: int | None = None) -> torch.Tensor:
    return torch.cat([flat_positions(batch)[0] for batch in source.batches(start, size)])


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of a few items and batches of fewer, so that a small corpus has many."""
    monkeypatch.setattr(windows, "POSITIONS", {"cpu": (512, 200)})


def test_activations_are_those_of_a_plain_forward_pass(opened: Open, model: Path, folder: Path) -> None:
    source = opened(exclude_norm=None)
    tokenizer = AutoTokenizer.from_pretrained(model)
    plain = AutoModelForCausalLM.from_pretrained(model)
    begin = tokenizer.convert_tokens_to_ids(BEGIN)
    expected, tokens = [], []
    for text in texts():
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids), 31):
            item = [begin, *ids[start : start + 31]]
            with torch.no_grad():
                hidden = plain.model(torch.tensor([item]), output_hidden_states=True).hidden_states
            block = plain.model.layers[1]
            with torch.no_grad():
                position = torch.arange(len(item))[None]
                rotary = plain.model.rotary_emb(hidden[1], position)
                mask = torch.full((len(item), len(item)), -torch.inf).triu(1)[None, None]
                after = block(hidden[1], attention_mask=mask, position_embeddings=rotary, position_ids=position)
            expected.append((after if isinstance(after, torch.Tensor) else after[0])[0, 1:])
            tokens.append(item)
    assert source.n_items == len(tokens)
    torch.testing.assert_close(all_rows(source), torch.cat(expected), atol=1e-4, rtol=1e-4)
    item = 7
    assert source.token_ids(np.full(len(tokens[item]), item), np.arange(len(tokens[item]))).tolist() == tokens[item]
    ids, real, counts = source.contexts(np.array([item, 0]))
    assert ids[0][real[0]].tolist() == tokens[item]
    assert counts.tolist() == [[False, *row[1:]] for row in real.tolist()]


def test_bits_do_not_depend_on_where_a_run_begins(opened: Open) -> None:
    source = opened()
    whole = [(b.item_ids, flat_positions(b)) for b in source.batches()]
    values = torch.cat([rows for _, (rows, _, _) in whole])
    items = np.concatenate([items for _, (_, items, _) in whole])
    for start, size in ((0, 7), (1, None), (15, 1), (16, 16), (17, 64), (300, 5)):
        assert torch.equal(all_rows(source, start, size), values[torch.from_numpy(items >= start)])


def test_tables_hold_the_same_bits_from_the_disk(opened: Open, cache: Path) -> None:
    source = opened()
    expected = all_rows(source)
    chosen = held_out_items(source)
    table, part = source.table(), source.table(chosen)
    assert (cache / "activations").is_dir()
    items = np.concatenate([flat_positions(b)[1] for b in source.batches()])
    assert table.n_rows == len(expected)
    assert part.n_rows == int(chosen[items].sum())
    rng = np.random.default_rng(0)
    rows = rng.integers(0, table.n_rows, 500)
    assert torch.equal(table.rows(rows), expected[rows])
    rows = rng.integers(0, part.n_rows, 500)
    assert torch.equal(part.rows(rows), expected[torch.from_numpy(chosen[items])][rows])
    assert torch.equal(all_rows(opened()), expected)


def test_batches_come_from_the_disk_where_all_are_there(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(exclude_norm=1.3)
    computed = [(b.activations[b.mask], b.mask) for b in source.batches(5, 7)]
    source.table()
    again = opened(exclude_norm=1.3)
    monkeypatch.setattr(again.hooked, "activations", None)
    kept = [(b.activations[b.mask], b.mask) for b in again.batches(5, 7)]
    for (values, mask), (other, other_mask) in zip(computed, kept, strict=True):
        assert torch.equal(values, other)
        assert torch.equal(mask, other_mask)
    assert again.describe() == source.describe()


def test_streamed_tables_hold_the_same_rows_in_chunks(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_rows, "CHUNK_VALUES", 16 * 32 * 100)
    cached = opened().table()
    table = opened(cache="off").table()
    assert isinstance(table, streamed_rows.StreamedRows)
    assert len(table.chunk_sizes) > 4
    rows = np.random.default_rng(0).integers(0, cached.n_rows, 700)
    torch.testing.assert_close(table.rows(rows), cached.rows(rows), atol=1e-4, rtol=1e-4)
    order = table.epoch_order(3, 1)
    everything = order[0 : table.n_rows]
    assert (np.sort(everything) == np.arange(table.n_rows)).all()
    assert (order[100:9000] == everything[100:9000]).all()
    assert (table.epoch_order(3, 2)[0:1000] != everything[:1000]).any()
    first = everything[: int(table.chunk_sizes.max())]
    documents = opened(cache="off").groups[np.searchsorted(table._starts, first, side="right") - 1]
    assert len(np.unique(documents)) > 20


def test_a_chunk_is_computed_once_while_it_is_read(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_rows, "CHUNK_VALUES", 16 * 32 * 100)
    source = opened(cache="off")
    table = source.table()
    computed: list[int] = []
    plain = table._computed
    monkeypatch.setattr(table, "_computed", lambda number: computed.append(number) or plain(number))
    order = table.epoch_order(0, 0)
    for start in range(0, table.n_rows, 128):
        table.rows(order[start : start + 128])
    assert sorted(computed) == list(range(len(table.chunk_sizes)))


def test_norms_out_of_proportion_do_not_count(opened: Open) -> None:
    everything = opened(exclude_norm=None)
    source = opened(exclude_norm=1.2)
    limit = source.describe()["excluded_norm"]
    first = next(iter(everything.batches()))
    norms = first.activations.norm(dim=-1)[first.mask]
    assert limit["n_measured"] == len(norms)
    assert limit["threshold"] == pytest.approx(1.2 * float(norms.double().median()))
    for batch, other in zip(source.batches(), everything.batches(), strict=True):
        expected = other.mask & (other.activations.norm(dim=-1) <= limit["threshold"])
        assert torch.equal(batch.mask, expected)
        assert torch.equal(source.usual(other.activations) & other.mask, expected)
        assert everything.usual(other.activations).all()
    kept = sum(int(b.mask.sum()) for b in source.batches())
    assert kept < everything.n_evaluated
    assert source.table().n_rows == kept
    streamed = opened(exclude_norm=1.2, cache="off").table()
    rows = streamed.rows(np.arange(streamed.n_rows))
    assert float(rows.norm(dim=1).max()) <= limit["threshold"] * 1.0001


def test_half_precision_on_disk_gives_the_same_bits_as_none(opened: Open) -> None:
    exact, source = opened(), opened(cache_dtype="float16")
    computed = all_rows(source)
    assert torch.equal(computed, all_rows(exact).half().float())
    assert torch.equal(source.table().rows(np.arange(len(computed))), computed)
    assert source.describe()["activations_key"] != exact.describe()["activations_key"]


def test_leftovers_of_killed_runs_go_and_files_of_other_processes_stay(opened: Open, cache: Path) -> None:
    source = opened()
    source.describe()
    folder = next((cache / "activations").iterdir())
    old, fresh = folder / ".00000.bin.tmp-1-00000000", folder / ".00001.bin.tmp-2-00000000"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    source.table()
    assert not old.exists()
    assert fresh.exists()


def test_held_out_stretches_of_a_single_document(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("\n".join(texts(5)))
    sources = [opened(texts=str(tmp_path / "one.txt"), context=context) for context in (9, 33)]
    held = []
    for source in sources:
        chosen = held_out_items(source)
        assert 0 < chosen.sum() < source.n_items
        tokens = np.zeros(source.describe()["n_tokens"], dtype=bool)
        first = source.item_table(np.arange(source.n_items))["context_start"].to_numpy()
        for item in np.flatnonzero(chosen):
            tokens[first[item] : first[item] + source.lengths(np.array([item]))[0] - 1] = True
        held.append(tokens)
    assert (held[0] & held[1]).sum() > 0.7 * min(held[0].sum(), held[1].sum())


def test_every_part_of_a_corpus_holds_the_same_documents_out(opened: Open) -> None:
    whole = opened()
    everything = dict(zip(whole.groups, held_out_items(whole, fraction=0.4), strict=True))
    for n_tokens in (5000, 12000):
        part = opened(max_tokens=n_tokens)
        assert part.n_evaluated == n_tokens
        for document, is_held in zip(part.groups, held_out_items(part, fraction=0.4), strict=True):
            assert everything[document] == is_held


def test_special_tokens_and_overlaps_do_not_count(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one<|begin|> two three four five six seven eight nine ten"}\n')
    source = opened(texts=str(tmp_path / "a.jsonl"), context=9, context_stride=5)
    ids, real, counts = source.contexts(np.arange(source.n_items))
    begin = source.vocabulary.index(BEGIN)
    assert not counts[ids == begin].any()
    assert (ids[:, 1:] == begin).sum() >= 1
    about = source.describe()
    assert counts.sum() == source.n_evaluated == about["n_positions"]
    assert counts.sum() + sum(about["excluded"].values()) == real.sum()
    assert set(about["excluded"]) == {
        "<|begin|> added to every item",
        "<|begin|> in the texts",
        "beginnings of items that an earlier item counts",
    }
    everything = opened(texts=str(tmp_path / "a.jsonl"), context=9, exclude_tokens="none")
    assert everything.n_evaluated == everything.contexts(np.arange(everything.n_items))[1].sum()


def test_packed_documents_are_joined_by_end_tokens(opened: Open) -> None:
    pieces, packed = opened(), opened(packing="packed")
    n_documents = packed.describe()["n_documents"]
    assert packed.describe()["n_tokens"] == pieces.describe()["n_tokens"] + n_documents
    assert packed.n_evaluated == pieces.n_evaluated
    ids, real, counts = packed.contexts(np.arange(packed.n_items))
    assert real[:-1].all()
    end = packed.vocabulary.index(END)
    assert (ids[real] == end).sum() == n_documents
    assert not counts[ids == end].any()
    plain, _, plain_counts = pieces.contexts(np.arange(pieces.n_items))
    assert ids[counts].tolist() == plain[plain_counts].tolist()
    assert packed.data_sha256 == pieces.data_sha256
    assert sum(int(b.mask.sum()) for b in packed.batches() if b.mask is not None) == packed.n_evaluated
