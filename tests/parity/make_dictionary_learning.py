"""Checkpoints of every dict_class of dictionary-learning, with the config.json that its training writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.parity.cases import D_IN, N_FEATURES, absent, destination, fill, inputs, write

absent("nnsight", "wandb")
from dictionary_learning.dictionary import (  # noqa: E402
    AutoEncoder,
    AutoEncoderNew,
    GatedAutoEncoder,
    JumpReluAutoEncoder,
)
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE  # noqa: E402
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE  # noqa: E402
from dictionary_learning.trainers.top_k import AutoEncoderTopK  # noqa: E402

K = 3


@torch.no_grad()
def save(model: Any, folder: Path, **config: Any) -> None:
    """Weights and config as training saves them; expected is what the library computes after loading them again."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "ae.pt")
    trainer = {
        "dict_class": type(model).__name__,
        "activation_dim": D_IN,
        "dict_size": N_FEATURES,
        "layer": 3,
        "lm_name": "EleutherAI/pythia-70m-deduped",
        "submodule_name": "resid_post_layer_3",
        **config,
    }
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}) + "\n")
    again = type(model).from_pretrained(str(folder / "ae.pt"))
    x = inputs()
    codes = again.encode(x)
    write(folder, x, codes, again.decode(codes), "ae.pt")


def main() -> None:
    root = destination()
    unit = fill(AutoEncoder(D_IN, N_FEATURES))
    unit.decoder.weight.data /= unit.decoder.weight.norm(dim=0, keepdim=True)
    save(unit, root / "AutoEncoder")
    save(fill(AutoEncoderNew(D_IN, N_FEATURES)), root / "AutoEncoderNew")
    save(fill(GatedAutoEncoder(D_IN, N_FEATURES)), root / "GatedAutoEncoder")
    jump = fill(JumpReluAutoEncoder(D_IN, N_FEATURES))
    jump.threshold.data.abs_()
    save(jump, root / "JumpReluAutoEncoder")
    top = fill(AutoEncoderTopK(D_IN, N_FEATURES, k=K))
    top.threshold.fill_(0.4)
    save(top, root / "AutoEncoderTopK", k=K)
    batch = fill(BatchTopKSAE(D_IN, N_FEATURES, k=K))
    batch.threshold.fill_(0.8)
    save(batch, root / "BatchTopKSAE", k=K)
    nested = fill(MatryoshkaBatchTopKSAE(D_IN, N_FEATURES, k=K, group_sizes=[4, N_FEATURES - 4]))
    nested.threshold.fill_(0.8)
    save(nested, root / "MatryoshkaBatchTopKSAE", k=K, group_sizes=[4, N_FEATURES - 4])


if __name__ == "__main__":
    main()
