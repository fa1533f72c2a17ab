"""A transcoder's entry: metrics of its target by brute force, cross-entropy by plain hooks at the target."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saescope.checkpoints import load_sae
from saescope.evaluation import evaluate
from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.summary import choose_contexts
from saescope.sources import SourceOptions, flat_positions, open_source
from saescope.sources.targets import flat_targets
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train
from tests import reference
from tests.sources.texts.small_model import save_model, texts

OPTIONS = BuildOptions(n_top=5, n_samples=2, block_rows=100, n_ce_positions=200, n_sample_items=8)


class Trained:
    """A transcoder of an MLP, from its input to its output, in a random language model."""

    def __init__(self, folder: Path, skip: bool) -> None:
        path = folder / "texts.jsonl"
        path.write_text("\n".join(json.dumps({"text": t[:600]}) for t in texts()))
        self.options = SourceOptions(
            texts=str(path),
            model=str(save_model(folder / "model")),
            hook="model.layers.0.mlp.input",
            hook_out="blocks.0.hook_mlp_out",
            context=24,
            exclude_norm=3.0,
            device="cpu",
        )
        self.source: Any = open_source(self.options)
        config = TrainingConfig("topk", n_features=128, k=10, steps=800, batch_size=256, skip=skip)
        self.checkpoint = train(
            self.source.table(),
            config,
            folder / "sae",
            description={**self.source.describe(), "held_out": None},
            device="cpu",
        )
        self.sae = load_sae(self.checkpoint)
        build_entry(self.checkpoint, self.source, folder / "store", sae_id="it", options=OPTIONS)
        self.store = folder / "store"
        self.entry = FeatureStore(self.store)["it"]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "skip"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAESCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Trained(tmp_path_factory.mktemp("trained"), request.param)


def seen(source: Any) -> tuple[Tensor, Tensor]:
    batches = list(source.batches())
    targets = [flat_targets(b) for b in batches]
    return torch.cat([flat_positions(b)[0] for b in batches]), torch.cat([t for t in targets if t is not None])


def test_metrics_are_those_of_the_target(trained: Trained) -> None:
    x, y = seen(trained.source)
    out = trained.sae(x)
    expected = reference.metrics(out.codes.numpy(), y.numpy(), out.reconstruction.numpy())
    for name, value in expected.items():
        assert trained.entry.metrics[name] == pytest.approx(value, rel=1e-4), name
    assert expected["fvu"] is not None
    assert expected["fvu"] < 0.35  # the mean has 1
    manifest = trained.entry.manifest
    assert (manifest.d_in, manifest.d_out, manifest.source["hook_out"]) == (16, 16, "blocks.0.hook_mlp_out")
    assert trained.entry.atoms().shape == (128, 16)
    assert verify(trained.store) == []


def test_evaluation_says_the_same(trained: Trained) -> None:
    found = evaluate(trained.sae, trained.source, n_ce_positions=OPTIONS.n_ce_positions).metrics
    for name in ("fvu", "mse", "cosine", "ce_sae", "ce_mean", "kl"):
        assert found[name] == pytest.approx(trained.entry.metrics[name], rel=1e-5), name


def test_cross_entropy_equals_whole_forward_passes_edited_at_the_target(trained: Trained) -> None:
    source, metrics = trained.source, trained.entry.metrics
    model, items = source.hooked.loaded.model, choose_contexts(source, None, OPTIONS.n_ce_positions)
    counts = {int(i): mask for b in source.batches() for i, mask in zip(b.item_ids, b.mask, strict=True)}
    mean = seen(source)[1].double().mean(0).float()
    ways = {
        "ce_clean": lambda x, y: y,
        "ce_sae": lambda x, y: trained.sae(x).reconstruction,
        "ce_zero": lambda x, y: torch.zeros_like(y),
        "ce_mean": lambda x, y: mean.expand_as(y),
    }
    nats: dict[str, list[Tensor]] = {name: [] for name in ways} | {"kl": []}
    for item in items:
        ids = torch.from_numpy(source.contexts(np.array([item]))[0])
        replaced = counts[int(item)][: ids.shape[1]]
        logs = {}
        for name, way in ways.items():

            def edit(_m: Any, given: Any, out: Tensor, way: Any = way, replaced: Tensor = replaced) -> Tensor:
                return torch.where(replaced[:, None], way(given[0][0], out[0]), out[0])[None]

            handle = model.model.layers[0].mlp.register_forward_hook(edit)
            with torch.no_grad():
                logs[name] = model(ids).logits[0, :-1].double().log_softmax(-1)
            handle.remove()
            nats[name].append(-logs[name].gather(1, ids[0, 1:, None])[:, 0])
        nats["kl"].append((logs["ce_clean"].exp() * (logs["ce_clean"] - logs["ce_sae"])).sum(1))
    for name, parts in nats.items():
        assert metrics[name] == pytest.approx(float(torch.cat(parts).mean()), rel=1e-4, abs=1e-4), name
    assert abs(metrics["ce_sae"] - metrics["ce_clean"]) < abs(metrics["ce_mean"] - metrics["ce_clean"])


def test_atoms_reach_the_logits_from_the_target(trained: Trained) -> None:
    """The input's hook is the inside of a norm; what the MLP adds goes to the residual stream."""
    assert not trained.source.hooked.hook.is_residual
    assert trained.entry.table("top_logits").num_rows == 128 * 2 * 10


def test_sources_that_do_not_fit_are_refused(trained: Trained, tmp_path: Path) -> None:
    def built(**changes: Any) -> None:
        build_entry(trained.checkpoint, open_source(replace(trained.options, **changes)), tmp_path, sae_id="it")

    with pytest.raises(UserError, match="is a transcoder, but the source has no targets"):
        built(hook_out=None)
    with pytest.raises(UserError, match="targets have 32 dimensions, but the SAE gives 16"):
        built(hook_out="blocks.0.mlp.hook_post")
    config = TrainingConfig("topk", n_features=20, k=3, steps=5)
    plain_source = open_source(replace(trained.options, hook_out=None))
    plain = train(
        plain_source.table(),
        config,
        tmp_path / "sae",
        description={**plain_source.describe(), "held_out": None},
        device="cpu",
    )
    with pytest.raises(UserError, match="the SAE reconstructs its input"):
        build_entry(plain, trained.source, tmp_path / "store", sae_id="it")
