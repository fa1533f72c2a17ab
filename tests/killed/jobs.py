"""Work that tests kill: each job runs in a process of its own, made from a server that has the libraries loaded."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch

from saescope.metrics import cross_entropy
from saescope.precompute import BuildOptions, build_entry
from saescope.sources import DataOptions, SourceOptions
from saescope.sources.hooked import activation_cache, rows, windows
from saescope.sources.hooked.options import Cache
from saescope.training import TrainingConfig, train, trainer
from saescope.workflows.divided_source import open_to_train
from saescope.workflows.sweep import SweepPlan, sweep
from tests.precompute.small_builds import digits, make_sae, save_sae
from tests.precompute.small_texts import MemoryTexts
from tests.sources.texts import small_model

BUILD = BuildOptions(n_top=5, n_samples=2, n_sample_items=8, block_rows=100)
PLAN = SweepPlan(
    "it",
    SourceOptions(images="embedded:digits"),
    {"architecture": "topk", "n_features": 48, "steps": 60, "batch_size": 128, "seed": 0},
    (2.0, 4.0),
    BUILD,
)


def make_checkpoint(folder: Path) -> None:
    save_sae(make_sae("relu", digits(4)), folder / "sae")


def _begin(started: Path | None) -> None:
    torch.set_num_threads(1)
    trainer.STATE_SECONDS = 0.02
    if started is not None:
        started.touch()


def train_job(folder: Path, started: Path | None = None) -> None:
    """One training run."""
    data = open_to_train(PLAN.source)
    _begin(started)
    config = TrainingConfig(architecture="topk", k=4, n_features=48, steps=600, batch_size=128, seed=0)
    train(data.table, config, folder / "trained", description=data.description)


def build_job(folder: Path, started: Path | None = None) -> None:
    """One build into the store."""
    _begin(started)
    build_entry(folder / "sae", digits(4), folder / "store", sae_id="it", options=BUILD)


def texts_job(folder: Path, started: Path | None = None) -> None:
    """One build over texts, its parts small enough to be cut between."""
    source = MemoryTexts()
    save_sae(make_sae("jumprelu", source), folder / "texts-sae")
    cross_entropy.POSITIONS_AT_ONCE = 60
    _begin(started)
    options = replace(BUILD, n_ce_positions=1000, save_every_s=0.0)
    build_entry(folder / "texts-sae", source, folder / "store", sae_id="it", options=options)


def sweep_job(folder: Path, started: Path | None = None) -> None:
    """A sweep of two SAEs: train, build, publish."""
    _begin(started)
    sweep(PLAN, folder / "store")


def make_texts(root: Path) -> None:
    """A small model and texts that it reads, for the jobs in folders below `root`."""
    small_model.save_model(root / "model")
    (root / "texts").mkdir()
    for number, text in enumerate(small_model.texts(20)):
        (root / "texts" / f"{number:02}.txt").write_text(text, encoding="utf-8")


def _texts(folder: Path, cache: Cache) -> DataOptions:
    """The texts beside `folder`, with a cache inside it, in small windows and many shards."""
    os.environ["SAESCOPE_CACHE"] = str(folder / "cache")
    windows.POSITIONS = {"cpu": (512, 200)}
    activation_cache.SHARD_VALUES = rows.CHUNK_VALUES = 2 * 512 * 16
    return SourceOptions(
        texts=str(folder.parent / "texts"),
        model=str(folder.parent / "model"),
        hook="blocks.1.hook_resid_post",
        context=32,
        exclude_norm=1.5,
        cache=cache,
    )


def cache_job(folder: Path, started: Path | None = None) -> None:
    """Tokenising texts and keeping a model's activations over them."""
    options = _texts(folder, "on")
    _begin(started)
    open_to_train(options)


def streamed_job(folder: Path, started: Path | None = None) -> None:
    """A training run on activations that are computed as they are needed."""
    data = open_to_train(_texts(folder, "off"))
    _begin(started)
    config = TrainingConfig(architecture="topk", k=4, n_features=48, steps=120, batch_size=128, seed=0)
    train(data.table, config, folder / "trained", description=data.description)


def full_disk_job(folder: Path, limit: int) -> None:
    """A build that may write files of at most `limit` bytes. Exits with 7 where it ends in a message to the user."""
    import resource
    import signal

    from saescope.store.errors import UserError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    try:
        build_entry(folder / "sae", digits(4), folder / "store", sae_id="it", options=BUILD)
    except UserError:
        os._exit(7)
