"""A whole feature store against SAEDashboard's data, on the same SAE, model and tokens.

    python -m venv peer
    peer/bin/pip install torch==2.13.0 sae-dashboard==0.8.0 'pyarrow<20'
    peer/bin/pip uninstall -y torchvision torchaudio     # they do not fit a CPU build of torch
    saescope train --texts embedded:python --model embedded:smollm2 --hook blocks.15.hook_resid_post \\
        --max-tokens 60000 --arch topk --k 32 --n-features 8192 --batch-size 1024 --steps 1000 --out sae
    python benchmarks/against_sae_dashboard.py --peer-python peer/bin/python --checkpoint sae

SmolLM2-135M, layer 15, 16,384 tokens of Python's own library in contexts of 128, a trained TopK SAE of 8,192 features
with k = 32 (without --checkpoint one of random atoms, many of which never fire, which spares SAEDashboard work). Ours
is `build_entry` for all features: the model's forward pass, the one pass, logit effects, neighbours, co-activations,
writing and publishing; it runs before SAEDashboard and after it, and the mean counts. SAEDashboard runs in its cached
mode, for all features too. Loading the model, cross-entropy and HTML are counted on neither side; nor is SAEDashboard's
saving.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from saescope.autoencoders.protocol import Autoencoder
from saescope.autoencoders.topk.module import TopkAutoencoder, TopkConfig
from saescope.checkpoints import load_sae
from saescope.checkpoints.formats import native
from saescope.models.packed_linear import plain
from saescope.precompute import BuildOptions, build_entry
from saescope.sources import SourceOptions, open_source
from saescope.sources.protocol import Source, flat_positions

PEER = Path(__file__).parent / "peers" / "sae_dashboard_run.py"
EXPECTED = 8.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", required=True, help="Python of the environment that has SAEDashboard")
    parser.add_argument("--checkpoint", type=Path, help="a topk SAE; without it, one of random atoms is made")
    parser.add_argument("--features", type=int, default=8192, help="of the random atoms")
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--model", default="embedded:smollm2")
    parser.add_argument("--layer", type=int, default=15)
    arguments = parser.parse_args()
    hook = f"blocks.{arguments.layer}.hook_resid_post"
    options = SourceOptions(
        texts="embedded:python",
        model=arguments.model,
        hook=hook,
        packing="packed",
        max_tokens=arguments.tokens - arguments.tokens // 128,  # with the BOS of each context
        split="all",
    )
    source = open_source(options)
    model = source.hooked.loaded.model  # type: ignore[attr-defined]
    x, _, _ = flat_positions(next(iter(source.batches(0, 32))))
    if arguments.checkpoint is None:
        sae = random_sae(arguments.features, arguments.k, x)
    else:
        sae = with_unit_atoms(load_sae(arguments.checkpoint))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = folder / "native"
        native.save(sae, checkpoint)
        n_tokens = prepare_peer(folder, sae, source, model, hook)
        warm = open_source(SourceOptions(activations=str(warm_up(folder, x))))
        build_entry(checkpoint, warm, folder / "warm", sae_id="warm")
        ours = [build_timed(checkpoint, source, folder / "before")]
        command = [arguments.peer_python, str(PEER), str(folder), "--features", str(sae.n_features)]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        theirs = json.loads(run.stdout.splitlines()[-1])["timed"][str(sae.n_features)]
        ours.append(build_timed(checkpoint, source, folder / "after"))
    n_positions = source.describe()["n_positions"]
    for wall, cpu in ours:
        print(f"saescope, {n_positions:,} positions: {wall:.1f} s for {sae.n_features:,} features ({cpu:.1f} s CPU)")
    wall, cpu = (sum(seconds) / len(ours) for seconds in zip(*ours, strict=True))
    print(
        f"SAEDashboard, {n_tokens:,} tokens: {theirs['wall']:.1f} s ({theirs['cpu']:.1f} s CPU); "
        f"{theirs['wall'] / wall:.1f} times the wall time, {theirs['cpu'] / cpu:.1f} times the CPU time"
    )
    return int(theirs["wall"] / wall < EXPECTED)


def build_timed(checkpoint: Path, source: Source, store: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a whole build."""
    wall, cpu = time.perf_counter(), time.process_time()
    build_entry(checkpoint, source, store, sae_id="it", options=BuildOptions(n_ce_positions=0))
    return time.perf_counter() - wall, time.process_time() - cpu


def random_sae(n_features: int, k: int, x: torch.Tensor) -> TopkAutoencoder:
    """Atoms of norm 1 along random positions of `x`, half and half with noise, so that features differ in how often
    they fire."""
    generator = torch.Generator().manual_seed(0)
    mean = x.mean(0)
    atoms = (x - mean)[torch.randint(len(x), (n_features,), generator=generator)]
    atoms = torch.nn.functional.normalize(atoms, dim=1)
    atoms = torch.nn.functional.normalize(
        atoms + torch.nn.functional.normalize(torch.randn(atoms.shape, generator=generator), dim=1), dim=1
    )
    sae = TopkAutoencoder(TopkConfig(d_in=x.shape[1], n_features=n_features, k=k))
    with torch.no_grad():
        sae.encoder.copy_(atoms)
        sae.W_dec.copy_(atoms)
        sae.b_dec.copy_(mean)
        sae.b_enc.copy_(-mean @ atoms.T)
    return sae.eval().requires_grad_(False)


def with_unit_atoms(sae: Autoencoder) -> TopkAutoencoder:
    """The same SAE with atoms of norm 1, as SAEDashboard wants them. All atoms of a trained one are equally long, so
    the same features stay the largest."""
    assert isinstance(sae, TopkAutoencoder), "SAEDashboard is compared on a topk SAE"
    norms = torch.linalg.vector_norm(sae.W_dec, dim=1)
    with torch.no_grad():
        sae.encoder.mul_(norms.unsqueeze(1))
        sae.b_enc.mul_(norms)
        sae.W_dec.div_(norms.unsqueeze(1))
    return sae


def warm_up(folder: Path, x: torch.Tensor) -> Path:
    """A small file of activations: building on it compiles the loops before anything is timed."""
    np.save(folder / "warm.npy", x[:512].numpy().reshape(4, 128, -1))
    return folder / "warm.npy"


def prepare_peer(folder: Path, sae: TopkAutoencoder, source, model, hook: str) -> int:  # type: ignore[no-untyped-def]
    """Write what SAEDashboard reads; the number of its tokens (a last context that is short is left out)."""
    ids, real, _ = source.contexts(np.arange(source.n_items))
    tokens = ids[real.all(1)]
    np.save(folder / "tokens.npy", tokens)
    config = model.config.to_dict()
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    names += ("vocab_size", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings")
    theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    (folder / "model.json").write_text(json.dumps({name: config[name] for name in names} | {"rope_theta": theta}))
    kept = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file({name: plain(tensor).contiguous().clone() for name, tensor in kept.items()}, folder / "model.safetensors")
    weights = {"W_enc": sae.encoder.T, "W_dec": sae.W_dec, "b_enc": sae.b_enc, "b_dec": sae.b_dec}
    np.savez(folder / "sae.npz", **{name: tensor.detach().numpy() for name, tensor in weights.items()})
    (folder / "sae.json").write_text(json.dumps({"k": sae.config.k, "hook": hook}))
    return int(tokens.size)


if __name__ == "__main__":
    raise SystemExit(main())
