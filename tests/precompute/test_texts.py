"""Tables and metrics that only texts have, against plain PyTorch and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.evaluation import evaluate
from saescope.metrics import cross_entropy
from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.summary import choose_contexts
from saescope.precompute.tables.labels import quoted
from saescope.precompute.tables.logit_effects import logit_effects
from saescope.sources.split import held_out_items
from saescope.store import Entry, FeatureStore
from tests.precompute.small_builds import codes_seen, make_sae, save_sae
from tests.precompute.small_texts import VOCABULARY, MemoryTexts

OPTIONS = BuildOptions(n_top=4, n_samples=2, n_top_tokens=6, n_top_logits=5, n_ce_positions=500, n_sample_items=4)
FAMILIES = ("llama", "gpt2", "gemma2")


class Built:
    def __init__(self, family: str, folder: Path) -> None:
        self.source = MemoryTexts(family=family)
        self.sae = make_sae("jumprelu", self.source)
        self.checkpoint = save_sae(self.sae, folder / "sae")
        build_entry(self.checkpoint, self.source, folder / "store", sae_id="it", options=OPTIONS)
        self.entry: Entry = FeatureStore(folder / "store")["it"]
        self.codes, self.x, self.items, self.positions = codes_seen(self.sae, self.source)


@pytest.fixture(scope="module", params=FAMILIES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(request.param, tmp_path_factory.mktemp("built"))


def test_top_tokens(built: Built) -> None:
    tokens = built.source.token_ids(built.items, built.positions)
    rows = built.entry.table("top_tokens").to_pylist()
    n_cut = 0
    for feature in range(built.sae.n_features):
        fires = built.codes[:, feature] > 0
        counts = [(-int((fires & (tokens == t)).sum()), int(t)) for t in set(tokens[fires])]
        n_cut += len(counts) > OPTIONS.n_top_tokens
        mine = [row for row in rows if row["feature_id"] == feature]
        assert [row["rank"] for row in mine] == list(range(len(mine)))
        for row, (count, token) in zip(mine, sorted(counts)[: OPTIONS.n_top_tokens], strict=True):
            there = tokens == token
            assert (row["token_id"], row["token"]) == (token, VOCABULARY[token])
            assert (row["n_firing"], row["n_token"]) == (-count, there.sum())
            values = built.codes[fires & there, feature].astype(np.float64)
            assert row["mean_activation"] == pytest.approx(values.mean(), rel=1e-12)
            share = (fires & there).sum() / fires.sum()
            assert row["lift"] == pytest.approx(share / there.mean(), rel=1e-12)
    assert n_cut


def test_top_logits(built: Built) -> None:
    """The change of the logits along an atom, with the norm's own division undone: read off the model itself."""
    model = built.source.hooked.loaded.model
    unembedding = built.source.hooked.unembedding()
    x = torch.from_numpy(built.x[:1]).double()
    atoms = built.sae.atoms.double()
    centred = x - x.mean() if unembedding.centres else x
    length = torch.sqrt(centred.square().mean() + unembedding.eps)
    gain, weight = unembedding.gain.double(), model.get_output_embeddings().weight.double()
    if unembedding.centres:
        atoms = atoms - atoms.mean(1, keepdim=True)
    # with the length held fixed, the final norm is linear
    base = (centred / length * gain) @ weight.T
    effects = ((((centred + atoms) / length) * gain) @ weight.T - base) * length
    rows = built.entry.table("top_logits").to_pylist()
    assert len(rows) == built.sae.n_features * 2 * OPTIONS.n_top_logits
    for feature in range(built.sae.n_features):
        for sign in (-1, 1):
            mine = [row for row in rows if row["feature_id"] == feature and row["sign"] == sign]
            values, ids = torch.sort(sign * effects[feature], descending=True, stable=True)
            np.testing.assert_allclose([r["logit"] for r in mine], sign * values[:5].numpy(), rtol=1e-4, atol=1e-4)
            if float(values.diff().abs().min()) > 1e-4:
                assert [r["token_id"] for r in mine] == ids[:5].tolist()
            assert [r["token"] for r in mine] == [VOCABULARY[r["token_id"]] for r in mine]
            assert [r["rank"] for r in mine] == list(range(5))


@pytest.mark.parametrize("at_once", [(1000, 1000), (7, 10), (1, 1)])
def test_logit_effects_do_not_depend_on_how_they_are_cut(
    built: Built, at_once: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    unembedding = replace(built.source.hooked.unembedding(), weight=torch.randint(-2, 3, (41, 16)).float())
    atoms = torch.randint(-1, 2, (9, 16)).float()  # whole numbers: many ties
    gain = torch.ones(16)
    unembedding = replace(unembedding, gain=gain, norm="rms")
    monkeypatch.setattr("saescope.precompute.tables.logit_effects.FEATURES_AT_ONCE", at_once[0])
    monkeypatch.setattr("saescope.precompute.tables.logit_effects.TOKENS_AT_ONCE", at_once[1])
    found = logit_effects(atoms, unembedding, 38, 6)
    effects = (atoms @ unembedding.weight[:38].T * unembedding.scale).numpy()
    for feature, row in enumerate(effects):
        lowest, highest = np.lexsort((np.arange(38), row))[:6], np.lexsort((np.arange(38), -row))[:6]
        assert found.raised.column[feature].tolist() == highest.tolist()
        assert found.lowered.column[feature].tolist() == lowest.tolist()
        assert found.raised.value[feature].tolist() == row[highest].tolist()
        assert found.lowered.value[feature].tolist() == row[lowest].tolist()


def spliced_logits(source: MemoryTexts, ids: Tensor, real: Tensor, edit: Callable[[Tensor], Tensor] | None) -> Tensor:
    """A whole forward pass with a plain hook in the place of the source's."""
    model = source.hooked.loaded.model
    block = model.get_submodule(source.hooked.hook.module)

    def replaced(_module: object, _given: object, output: Tensor) -> Tensor:
        return output if edit is None else edit(output)

    handle = block.register_forward_hook(replaced)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=real.long()).logits.double()
    handle.remove()
    return logits


def direct_cross_entropy(sae: Autoencoder, source: MemoryTexts, items: np.ndarray, mean: Tensor) -> dict[str, float]:
    """One context at a time, in float64 from the logits on."""
    totals = dict.fromkeys(("ce_clean", "ce_sae", "ce_zero", "ce_mean", "kl", "kl_zero"), 0.0)
    n = 0
    for item in items:
        ids, real, evaluated = (torch.from_numpy(a) for a in source.contexts(np.array([item])))

        def edit(new: Callable[[Tensor], Tensor], keep: Tensor = evaluated) -> Callable[[Tensor], Tensor]:
            return lambda x: torch.where((keep & source.usual(x))[..., None], new(x), x)

        edits = {
            "ce_clean": None,
            "ce_sae": edit(lambda x: sae(x.reshape(-1, x.shape[-1])).reconstruction.reshape(x.shape)),
            "ce_zero": edit(torch.zeros_like),
            "ce_mean": edit(lambda x: mean.expand_as(x)),
        }
        logs = {n: spliced_logits(source, ids, real, e).log_softmax(-1)[0, :-1] for n, e in edits.items()}
        targets = ids[0, 1:]
        n += len(targets)
        for name, log in logs.items():
            totals[name] -= float(log.gather(1, targets[:, None]).sum())
        clean = logs["ce_clean"]
        totals["kl"] += float((clean.exp() * (clean - logs["ce_sae"])).sum())
        totals["kl_zero"] += float((clean.exp() * (clean - logs["ce_zero"])).sum())
    return {name: total / n for name, total in totals.items()} | {"n": n}


@pytest.fixture(scope="module")
def direct(built: Built) -> dict[str, float]:
    items = choose_contexts(built.source, None, OPTIONS.n_ce_positions)
    return direct_cross_entropy(built.sae, built.source, items, torch.from_numpy(built.x).double().mean(0).float())


def test_cross_entropy(built: Built, direct: dict[str, float]) -> None:
    metrics = built.entry.metrics
    for name in ("ce_clean", "ce_sae", "ce_zero", "ce_mean", "kl", "kl_zero"):
        assert metrics[name] == pytest.approx(direct[name], rel=1e-4, abs=1e-4), name
    assert metrics["kl"] > 0.01
    assert metrics["kl_recovered"] == pytest.approx(1 - direct["kl"] / direct["kl_zero"], rel=1e-3, abs=1e-3)
    clean, sae, zero, mean = (direct[f"ce_{name}"] for name in ("clean", "sae", "zero", "mean"))
    assert len({round(v, 3) for v in (clean, sae, zero, mean)}) == 4
    assert metrics["ce_recovered"] == pytest.approx((zero - sae) / (zero - clean), rel=1e-3, abs=1e-3)
    assert metrics["ce_recovered_mean"] == pytest.approx((mean - sae) / (mean - clean), rel=1e-3, abs=1e-3)
    rows = {row["name"]: row for row in built.entry.table("metrics").to_pylist()}
    assert rows["kl"]["n_positions"] == rows["ce_sae"]["n_positions"] == direct["n"]
    assert rows["fvu"]["n_positions"] == len(built.x)


def test_evaluating_gives_the_metrics_of_the_build(built: Built) -> None:
    assert evaluate(built.sae, built.source, n_ce_positions=OPTIONS.n_ce_positions).metrics == built.entry.metrics


def test_batches_of_contexts_do_not_matter(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "POSITIONS_AT_ONCE", 1)
    monkeypatch.setattr(cross_entropy, "LOGITS_AT_ONCE", 1)
    one_by_one = evaluate(built.sae, built.source, n_ce_positions=60).metrics
    monkeypatch.undo()
    for name, value in evaluate(built.sae, built.source, n_ce_positions=60).metrics.items():
        assert value == pytest.approx(one_by_one[name], rel=1e-5, abs=1e-6), name


def test_contexts_hold_as_many_predictions_as_are_asked_for() -> None:
    source = MemoryTexts()
    predictions = np.array([len(row) - 1 for row in source.rows])
    every = choose_contexts(source, None, 10**6)
    assert every.tolist() == list(range(source.n_items))
    for wanted in (1, 50, 500):
        chosen = choose_contexts(source, None, wanted)
        assert predictions[chosen].sum() >= wanted
        assert predictions[chosen].sum() < wanted + predictions.max()
        assert set(chosen) <= set(choose_contexts(source, None, 2 * wanted))
    allowed = np.zeros(source.n_items, bool)
    allowed[::7] = True
    assert choose_contexts(source, allowed, 10**6).tolist() == list(range(0, source.n_items, 7))
    assert allowed[choose_contexts(source, allowed, 40)].all()


def test_held_out_contexts_alone_are_measured_on_training_data(built: Built) -> None:
    source = built.source
    config = {"training": {"data_sha256": source.data_sha256, "held_out": {"seed": 0, "fraction": 0.2}}}
    found = evaluate(built.sae, source, config, n_ce_positions=10**6)
    items = np.flatnonzero(held_out_items(source, 0, 0.2))
    kept = np.isin(built.items, items)
    expected = direct_cross_entropy(built.sae, source, items, torch.from_numpy(built.x[kept]).double().mean(0).float())
    assert found.n_predictions == expected["n"]
    assert found.metrics["ce_mean"] == pytest.approx(expected["ce_mean"], rel=1e-4)
    assert found.metrics["ce_sae"] == pytest.approx(expected["ce_sae"], rel=1e-4)


def test_no_cross_entropy_where_none_is_wanted(built: Built) -> None:
    assert not [n for n in evaluate(built.sae, built.source, n_ce_positions=0).metrics if n.startswith(("ce_", "kl"))]


def test_no_logit_effects_away_from_the_residual_stream(tmp_path: Path) -> None:
    source = MemoryTexts(n_items=60, hook="blocks.1.attn.hook_z")
    assert source.hooked.width == source.hooked.loaded.d_model
    checkpoint = save_sae(make_sae("topk", source), tmp_path / "sae")
    build_entry(checkpoint, source, tmp_path / "store", sae_id="it", options=OPTIONS)
    entry = FeatureStore(tmp_path / "store")["it"]
    assert not entry.has_table("top_logits")
    assert entry.has_table("top_tokens")
    assert entry.metrics["ce_sae"] is not None


def test_encoders_have_neither_logits_nor_cross_entropy(tmp_path: Path) -> None:
    source = MemoryTexts(n_items=60)
    hooked = source.hooked
    hooked.loaded = replace(hooked.loaded, kind="encoder")
    checkpoint = save_sae(make_sae("topk", source), tmp_path / "sae")
    build_entry(checkpoint, source, tmp_path / "store", sae_id="it", options=OPTIONS)
    entry = FeatureStore(tmp_path / "store")["it"]
    assert not entry.has_table("top_logits")
    assert not [name for name in entry.metrics if name.startswith(("ce_", "kl"))]


def test_tokens_are_quoted_so_that_every_character_is_seen() -> None:
    assert quoted(" def") == "` def`"
    assert quoted("\n\t\u200b\x00") == "`\\n\\t\\u200b\\x00`"
    assert quoted("漢שé") == "`漢שé`"


def test_what_is_recovered_is_undefined_where_an_ablation_does_no_harm() -> None:
    metrics = cross_entropy.CrossEntropy(n=4, clean=8.0, sae=9.0, zero=16.0, mean=8.0, kl=0.5).metrics()
    assert metrics["ce_recovered"] == (4 - 2.25) / (4 - 2)
    assert metrics["ce_recovered_mean"] is None
    assert cross_entropy.CrossEntropy().metrics() == {}
