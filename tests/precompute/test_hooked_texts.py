"""A build over texts as a user names them: files, a model's folder, its tokenizer; activations from model or disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.summary import choose_contexts
from saescope.sources import SourceOptions, open_source
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from tests.precompute.small_builds import codes_seen, make_sae, save_sae
from tests.precompute.test_cut_and_resumed import CutError, CutIn, assert_equal, tables_of
from tests.sources.texts.small_model import save_model, texts

OPTIONS = BuildOptions(n_top=5, n_samples=2, block_rows=100, save_every_s=0.0, n_ce_positions=200, n_sample_items=8)


class Named:
    """Texts of two lengths, a model, and an SAE on it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "texts.jsonl"
        lines = [json.dumps({"text": t[:500], "kind": "long" if len(t) > 1500 else "short"}) for t in texts()]
        path.write_text("\n".join(lines))
        model = save_model(folder / "model")
        self.options = SourceOptions(
            texts=str(path),
            model=str(model),
            hook="blocks.0.hook_resid_post",
            context=24,
            exclude_norm=1.2,
            exclude_tokens="special,Ġthe",
            device="cpu",
            cache="off",
        )
        self.sae = make_sae("jumprelu", self.source())
        self.checkpoint = save_sae(self.sae, folder / "sae")

    def source(self, **changes: Any) -> Any:
        return open_source(replace(self.options, **changes))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAESCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def named(cache: None, tmp_path_factory: pytest.TempPathFactory) -> Named:
    return Named(tmp_path_factory.mktemp("named"))


@pytest.fixture(scope="module")
def whole(named: Named, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("whole") / "store"
    build_entry(named.checkpoint, named.source(), store, sae_id="it", options=OPTIONS)
    return store


def test_statistics_are_those_of_the_positions_that_count(named: Named, whole: Path) -> None:
    source, entry = named.source(), FeatureStore(whole)["it"]
    codes, x, items, positions = codes_seen(named.sae, source)
    norms = np.linalg.norm(x, axis=1)
    limit = source.describe()["excluded_norm"]["threshold"]
    assert norms.max() <= limit
    assert entry.n_positions == len(x) < source.describe()["n_positions"]  # some are left out for their norm
    table = entry.table("features").to_pydict()
    assert table["n_firing"] == (codes > 0).sum(0).tolist()
    tokens = source.token_ids(items, positions)
    excluded = {source.vocabulary.index(t) for t in ("<|begin|>", "<|endoftext|>", " the")}
    assert not excluded & set(tokens.tolist())
    assert sum(entry.table("top_tokens")["n_firing"].to_pylist()) <= (codes > 0).sum()
    assert verify(whole) == []


def test_codes_equal_a_direct_forward_pass(named: Named) -> None:
    """Whole items one at a time, through the model without hooks of ours."""
    source = named.source()
    codes, _, items, positions = codes_seen(named.sae, source)
    model = source.hooked.loaded.model
    for item in range(0, source.n_items, 17):
        ids, real, _ = source.contexts(np.array([item]))
        assert real.all()
        with torch.no_grad():
            hidden = model(torch.from_numpy(ids), output_hidden_states=True).hidden_states[1][0]
        direct = named.sae.encode(hidden).numpy()
        mine = items == item
        np.testing.assert_allclose(codes[mine], direct[positions[mine]], rtol=1e-4, atol=1e-4)


def test_windows_are_whole_contexts(named: Named, whole: Path) -> None:
    source, entry = named.source(), FeatureStore(whole)["it"]
    tokens = {row["item_id"]: row["tokens"] for row in entry.table("items").to_pylist()}
    for row in entry.table("examples").to_pylist():
        assert row["window_start"] == 0
        assert len(row["window_activations"]) == len(tokens[row["item_id"]])
        assert row["window_activations"][row["position"]] == row["activation"]
    assert max(len(t) for t in tokens.values()) == source.positions_per_item == 24


def test_cross_entropy_equals_whole_forward_passes(named: Named, whole: Path) -> None:
    source, metrics = named.source(), FeatureStore(whole)["it"].metrics
    model, items = source.hooked.loaded.model, choose_contexts(source, None, OPTIONS.n_ce_positions)
    counts, activations = {}, []
    for batch in source.batches():
        counts |= {int(i): mask for i, mask in zip(batch.item_ids, batch.mask, strict=True)}
        activations.append(batch.activations[batch.mask])
    mean = torch.cat(activations).double().mean(0).float()
    ways = {
        "ce_clean": lambda x: x,
        "ce_sae": lambda x: named.sae(x).reconstruction,
        "ce_zero": torch.zeros_like,
        "ce_mean": lambda x: mean.expand_as(x),
    }
    nats: dict[str, list[Tensor]] = {name: [] for name in ways} | {"kl": []}
    n_kept = 0
    for item in items:
        ids = torch.from_numpy(source.contexts(np.array([item]))[0])
        replaced = counts[int(item)][: ids.shape[1]]
        n_kept += int((~replaced).sum())
        logs = {}
        for name, way in ways.items():

            def edit(_m: Any, _i: Any, out: Tensor, way: Any = way, replaced: Tensor = replaced) -> Tensor:
                return torch.where(replaced[:, None], way(out[0]), out[0])[None]

            handle = model.model.layers[0].register_forward_hook(edit)
            with torch.no_grad():
                logs[name] = model(ids).logits[0, :-1].double().log_softmax(-1)
            handle.remove()
            nats[name].append(-logs[name].gather(1, ids[0, 1:, None])[:, 0])
        nats["kl"].append((logs["ce_clean"].exp() * (logs["ce_clean"] - logs["ce_sae"])).sum(1))
    assert n_kept > 2 * len(items)  # more than BOS alone keeps its activation
    for name, parts in nats.items():
        assert metrics[name] == pytest.approx(float(torch.cat(parts).mean()), rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize("stage", ["encoding", "cross-entropy", "tokens", "logit effects"])
def test_a_cut_build_ends_in_the_same_tables(named: Named, whole: Path, tmp_path: Path, stage: str) -> None:
    for n in (1, 3):
        cut = CutIn(stage, n)
        try:
            build_entry(named.checkpoint, named.source(), tmp_path, sae_id="it", options=OPTIONS, progress=cut)
        except CutError:
            continue
    build_entry(named.checkpoint, named.source(), tmp_path, sae_id="it", options=OPTIONS)
    assert_equal(tables_of(whole), tables_of(tmp_path))


def test_activations_from_the_disk_give_the_same_tables(named: Named, whole: Path, tmp_path: Path) -> None:
    source = named.source(cache="on")
    source.table()  # as training does
    build_entry(named.checkpoint, named.source(cache="on"), tmp_path, sae_id="it", options=OPTIONS)
    assert_equal(tables_of(whole), tables_of(tmp_path))
