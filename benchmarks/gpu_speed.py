"""The checks of `on_gpu` that ask how long things take, and what bounds them."""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llm_pass import Contexts, encode, make_sae
from small_inputs import NOUNS, VERBS, small_tokenizer
from torch.nn import functional
from training_speed import bare_step, new_run
from transformers import GPT2Config, GPT2LMHeadModel

from saescope.autoencoders.protocol import Autoencoder
from saescope.precompute.one_pass.run import PassOptions, run_pass
from saescope.sources import SourceOptions, open_source

MOST_PASS = 1.15
"""Time of the pass over that of the model and the encoder alone, at most."""
MOST_STEP = 1.0
"""Time of a training step over that of a bare torch loop, at most."""
WIDTHS = (16_384, 131_072)
STEP_WIDTH, BATCH, D_MODEL, K = 32_768, 8_192, 768, 32


def checks(device: torch.device, folder: Path, small: bool) -> dict[str, Callable[[], str]]:
    """Name -> check. With `small` the sizes are a CPU's, and no ratio is asked for."""
    card = functools.cache(functools.partial(Card, device, small))
    made: dict[str, Callable[[], str]] = {"speed of the card": lambda: str(card())}
    source = functools.cache(functools.partial(texts, device, folder, small))
    for n_features in (256, 1024) if small else WIDTHS:
        made[f"speed of the pass, {n_features:,} features"] = functools.partial(
            one_pass, device, source, n_features, card, small
        )
    for name in ("topk", "relu", "jumprelu"):
        made[f"speed of training, {name}"] = functools.partial(training, device, name, card, small)
    return made


class Card:
    """What a device does at most, measured: float32 products and copies inside its memory."""

    def __init__(self, device: torch.device, small: bool) -> None:
        n = 512 if small else 8192
        a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
        self.flops = 2 * n**3 / seconds(device, lambda: a @ b, 5)
        kept = torch.empty(2**22 if small else 2**28, device=device)
        into = torch.empty_like(kept)
        self.bytes = 2 * 4 * kept.numel() / seconds(device, lambda: into.copy_(kept), 5)

    def __str__(self) -> str:
        return f"{self.flops / 1e12:.2f} TFLOP/s in float32 products, {self.bytes / 1e12:.2f} TB/s in copies"

    def bound(self, flops: float, moved: float, spent: float) -> str:
        """How near something comes to either; `moved` are the bytes that have to move at least."""
        shares = {"products": flops / spent / self.flops, "memory": moved / spent / self.bytes}
        nearest = max(shares, key=lambda name: shares[name])
        rates = f"{flops / spent / 1e12:.2f} TFLOP/s, {moved / spent / 1e12:.3f} TB/s or more"
        return f"{rates}; nearest bound: {nearest}, {100 * shares[nearest]:.0f} % of the card's"


def seconds(device: torch.device, run: Callable[[], Any], repeats: int) -> float:
    """The fastest of `repeats` runs after one that does not count."""
    best = float("inf")
    for turn in range(repeats + 1):
        wait(device)
        started = time.perf_counter()
        run()
        wait(device)
        if turn:
            best = min(best, time.perf_counter() - started)
    return best


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def texts(device: torch.device, folder: Path, small: bool) -> Any:
    """A source: texts through a GPT-2 of random weights, hooked after its middle layer."""
    root = folder / "gpt2-sized"
    root.mkdir()
    rng = np.random.default_rng(0)
    n_documents, n_layers, width = (40, 2, 64) if small else (4096, 12, D_MODEL)
    with (root / "texts.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(n_documents):
            file.write(json.dumps({"text": " ".join(rng.choice(NOUNS + VERBS, 126))}) + "\n")
    torch.manual_seed(0)
    config = GPT2Config(n_layer=n_layers, n_embd=width, n_head=width // 16 if small else 12, n_positions=256)
    GPT2LMHeadModel(config).save_pretrained(root / "model")
    small_tokenizer().save_pretrained(root / "model")
    return open_source(
        SourceOptions(
            texts=str(root / "texts.jsonl"),
            model=str(root / "model"),
            hook=f"blocks.{n_layers // 2}.hook_resid_post",
            context=128,
            cache="off",
            exclude_norm=None,
            device=str(device),
        ),
        "evaluate",
    )


def one_pass(
    device: torch.device, source: Callable[[], Any], n_features: int, card: Callable[[], Card], small: bool
) -> str:
    """Every statistic and example of all features, over the model's forward passes and the encoder alone."""
    contexts = Contexts(source())
    x = torch.cat(contexts.activations())
    sae: Autoencoder = make_sae("topk", n_features, x[:20_000].cpu(), K if not small else 8).to(device)
    del x

    def bare() -> None:
        encode(sae, contexts.activations())

    def whole() -> None:
        run_pass(sae, source(), PassOptions(), decode=False, device=device)

    repeats = 1 if small else 3
    bare_s, pass_s = seconds(device, bare, repeats), seconds(device, whole, repeats)
    hooked = source().hooked.loaded
    n_positions = source().n_evaluated
    blocks = hooked.n_layers // 2 + 1
    flops = n_positions * (2 * 12 * hooked.d_model**2 * blocks + 2 * hooked.d_model * n_features)
    moved = n_positions * n_features * 4 * 2  # pre-activations are written, and read by top-k
    found = (
        f"{pass_s / bare_s:.3f} times bare ({bare_s:.2f} s; {n_positions / pass_s:,.0f} positions/s); "
        f"{card().bound(flops, moved, pass_s)}"
    )
    assert small or pass_s <= MOST_PASS * bare_s, f"{found}; to reach: {MOST_PASS}"
    return found


def training(device: torch.device, name: str, card: Callable[[], Card], small: bool) -> str:
    """A step as training takes it, over a plain loop of the same products; they take turns."""
    sizes = argparse.Namespace(
        width=64 if small else D_MODEL,
        features=512 if small else STEP_WIDTH,
        batch=256 if small else BATCH,
        k=8 if small else K,
        l0=16 if small else 64,
    )
    run, x = new_run(name, sizes, device)
    bares = dict(bare_steps(device, name, sizes))
    spent: dict[str, list[float]] = {each: [] for each in ("saescope", *bares)}
    for turn in range(4 if small else 12):
        for each, step in (("saescope", run.advance), *bares.items()):
            wait(device)
            started = time.perf_counter()
            step(x)
            wait(device)
            if turn >= 2:
                spent[each].append(time.perf_counter() - started)
    median = {each: float(np.median(times)) for each, times in spent.items()}
    fastest = min(bares, key=lambda each: median[each])
    own, ratio = median["saescope"], median["saescope"] / median[fastest]
    cells, weights = sizes.batch * sizes.features, 2 * sizes.width * sizes.features
    # what no sparsity spares: the encoder's product, its result written and read, weights and Adam's moments
    flops, moved = 2 * sizes.width * cells, 4 * (2 * cells + 7 * weights)
    others = ", ".join(f"{each} {1e3 * median[each]:.1f} ms" for each in bares)
    found = f"{ratio:.3f} times {fastest} (saescope {1e3 * own:.1f} ms, {others}); {card().bound(flops, moved, own)}"
    assert small or ratio <= MOST_STEP, f"{found}; to reach: {MOST_STEP}"
    return found


Step = Callable[[torch.Tensor], None]


def bare_steps(device: torch.device, name: str, sizes: argparse.Namespace) -> Iterator[tuple[str, Step]]:
    """Plain loops: products, activation, mean squared error, penalty, autograd, Adam."""
    if name == "topk":
        for sparse in (True, False):
            step = bare_step(sizes.width, sizes.features, sizes.k, sparse=sparse, device=device)
            yield f"bare, {'embedding_bag' if sparse else 'dense'} decode", step
        return
    torch.manual_seed(0)
    encoder = torch.nn.Linear(sizes.width, sizes.features, device=device)
    decoder = torch.nn.Parameter(encoder.weight.detach().clone())
    bias = torch.nn.Parameter(torch.zeros(sizes.width, device=device))
    threshold = torch.nn.Parameter(torch.full((sizes.features,), 0.1, device=device))
    parameters = [*encoder.parameters(), decoder, bias, *([threshold] if name == "jumprelu" else [])]
    optimiser = torch.optim.Adam(parameters, lr=1e-4)

    def step(x: torch.Tensor) -> None:
        z = encoder(x)
        if name == "relu":
            codes = functional.relu(z)
            penalty = codes.sum()
        else:
            fires = Fires.apply(z, threshold)
            codes, penalty = z * fires, fires.sum()
        loss = ((x - codes @ decoder - bias).square().sum() + 0.1 * penalty) / len(x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    yield "bare", step


class Fires(torch.autograd.Function):
    """1 where z > threshold; a window of width 0.5 gives the threshold its gradient (Rajamanoharan et al. 2024)."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(z, threshold)
        return (z > threshold).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, torch.Tensor]:
        z, threshold = ctx.saved_tensors
        return None, -(grad * ((z - threshold).abs() < 0.25)).sum(0) / 0.5
