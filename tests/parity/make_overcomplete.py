"""State dicts of Overcomplete's SAEs with linear encoders, their dictionaries' norms, and archetypal dictionaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.parity.cases import D_IN, N_FEATURES, absent, destination, fill, inputs, only_modules_of, write

absent("torchvision", "timm", "matplotlib", "cv2", "skimage", "sklearn")
only_modules_of("overcomplete")
from overcomplete.sae import SAE, BatchTopKSAE, JumpSAE, TopKSAE  # noqa: E402
from overcomplete.sae.rasae import RATopKSAE  # noqa: E402

K = 3


@torch.no_grad()
def save(model: Any, folder: Path, **assume: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    torch.save(model.state_dict(), folder / "sae.pt")
    x = inputs()
    _, codes = model.encode(x)
    write(folder, x, codes, model.decode(codes), "sae.pt", **assume)


def main() -> None:
    root = destination()
    relu, top = {"activation": "relu"}, {"activation": "topk", "k": K}
    save(fill(SAE(D_IN, N_FEATURES)), root / "SAE", **relu)
    for norm in ("max_l2", "l1", "max_l1", "identity"):
        made = SAE(D_IN, N_FEATURES, dictionary_params={"normalization": norm, "use_multiplier": True})
        save(fill(made), root / f"SAE-{norm}", decoder_norm=norm, **relu)
    save(fill(TopKSAE(D_IN, N_FEATURES, top_k=K)), root / "TopKSAE", **top)
    save(fill(JumpSAE(D_IN, N_FEATURES)), root / "JumpSAE")
    batch = fill(BatchTopKSAE(D_IN, N_FEATURES, top_k=K * 16))
    batch.running_threshold = torch.tensor(0.8)
    save(batch, root / "BatchTopKSAE", activation="batchtopk", k=K, threshold=0.8)
    points = torch.randn(20, D_IN, generator=torch.Generator().manual_seed(3))
    archetypal = RATopKSAE(D_IN, N_FEATURES, points=points, top_k=K)
    save(fill(archetypal), root / "RATopKSAE", **top)
    normed = fill(TopKSAE(D_IN, N_FEATURES, top_k=K, encoder_module="mlp_bn_1"))
    final = normed.encoder.final_block[1]
    final.running_mean.copy_(torch.linspace(-1, 1, N_FEATURES))
    final.running_var.copy_(torch.linspace(0.5, 2, N_FEATURES))
    save(normed, root / "TopKSAE-batch-norm", **top)


if __name__ == "__main__":
    main()
