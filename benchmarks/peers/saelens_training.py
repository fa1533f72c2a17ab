"""Trains with SAELens 6.54.12; runs in an environment of its own (benchmarks/training_speed.py has its install line).

    python saelens_training.py steps ARCHITECTURE WIDTH FEATURES BATCH SPARSITY START.npz
    python saelens_training.py run JOB.json

`steps` builds SAELens' trainer, then takes one optimiser step for each line on standard input and answers with wall
seconds, CPU seconds and L0. START.npz holds `x` [batch, d_in], the batch, and first weights: `W_enc`, `W_dec`, `b_enc`
and `threshold` (jumprelu), as in SAELens' checkpoints.

`run` trains one SAE by the settings of JOB.json (`architecture`, `sae` and `trainer` = fields of SAELens' configs,
`activations` = .npy [row, d_in], `seed`, `out`) and saves W_enc, b_enc, W_dec, b_dec, threshold, ... of the inference
SAE as an .npz, beside a printed JSON line with the CPU seconds.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.gated_sae import GatedTrainingSAE, GatedTrainingSAEConfig
from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
from sae_lens.saes.matryoshka_batchtopk_sae import (
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
)
from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.training.sae_trainer import SAETrainer

KINDS: dict[str, tuple[Any, Any]] = {
    "relu": (StandardTrainingSAE, StandardTrainingSAEConfig),
    "topk": (TopKTrainingSAE, TopKTrainingSAEConfig),
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig),
    "jumprelu": (JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig),
    "gated": (GatedTrainingSAE, GatedTrainingSAEConfig),
    "matryoshka": (MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig),
}


def new_trainer(kind: str, fields: dict[str, Any], trainer: dict[str, Any], data: Iterator[torch.Tensor]) -> Any:
    module, config = KINDS[kind]
    sae = module(config(**fields))
    trainer = {"lr_end": trainer.get("lr", 3e-4) / 10} | trainer  # the default of SAELens' runner
    logger = LoggingConfig(log_to_wandb=False)
    return SAETrainer(SAETrainerConfig(logger=logger, **trainer), sae, data)


def take_steps(kind: str, width: int, features: int, batch: int, sparsity: float, start: Path) -> None:
    own = {"relu": "l1_coefficient", "jumprelu": "l0_coefficient"}.get(kind, "k")
    setting: float = int(sparsity) if own == "k" else sparsity
    given = {name: torch.from_numpy(value) for name, value in np.load(start).items()}
    x = given.pop("x")
    trainer = new_trainer(
        kind,
        {"d_in": width, "d_sae": features, own: setting},
        {"total_training_samples": batch * 10_000, "train_batch_size_samples": batch},
        iter(()),
    )
    parameters = dict(trainer.sae.named_parameters())
    with torch.no_grad():
        for name, value in given.items():
            parameters[name].copy_(value)
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        output = trainer.step(x)
        trainer.n_training_steps += 1
        spent = time.perf_counter() - wall, time.process_time() - cpu
        l0 = float((output.feature_acts != 0).float().sum(1).mean())
        print(json.dumps([*spent, l0]), flush=True)


def batches(path: Path, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Endless epochs, each in an order of its own."""
    rows = np.load(path, mmap_mode="r")
    epoch = 0
    left = np.zeros(0, dtype=np.int64)
    while True:
        while len(left) < size:
            left = np.concatenate([left, np.random.default_rng([seed, epoch]).permutation(len(rows))])
            epoch += 1
        chosen, left = left[:size], left[size:]
        yield torch.from_numpy(np.asarray(rows[chosen], dtype=np.float32))


def run(job: dict[str, Any]) -> None:
    torch.manual_seed(job["seed"])
    data = batches(Path(job["activations"]), job["trainer"]["train_batch_size_samples"], job["seed"])
    trainer = new_trainer(job["architecture"], job["sae"], job["trainer"], data)
    if hasattr(trainer.sae, "initialize_decoder_bias") and job.get("first_b_dec") is not None:
        trainer.sae.b_dec.data.copy_(torch.tensor(job["first_b_dec"]))
    cpu = time.process_time()
    sae = trainer.fit()
    spent = time.process_time() - cpu
    tensors = {name: value.detach() for name, value in sae.state_dict().items()}
    threshold = getattr(sae, "topk_threshold", None)
    if threshold is not None:
        tensors["topk_threshold"] = threshold
    np.savez(job["out"], **{name: value.float().numpy() for name, value in tensors.items()})
    fields = {f.name for f in dataclasses.fields(sae.cfg)}
    kept = {name: getattr(sae.cfg, name) for name in ("apply_b_dec_to_input", "k") if name in fields}
    print(json.dumps({"cpu_s": spent, **kept}))


if __name__ == "__main__":
    if sys.argv[1] == "steps":
        width, features, batch = (int(v) for v in sys.argv[3:6])
        take_steps(sys.argv[2], width, features, batch, float(sys.argv[6]), Path(sys.argv[7]))
    else:
        run(json.loads(Path(sys.argv[2]).read_text()))
