"""The checks of `on_gpu` that hold a GPU's results against the CPU's."""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from small_inputs import write_models, write_texts
from training_speed import new_run

from saescope.autoencoders import architecture
from saescope.autoencoders.code_rows import CodeRows
from saescope.autoencoders.largest_entries import largest
from saescope.autoencoders.objectives.protocol import StepInputs
from saescope.autoencoders.protocol import Autoencoder
from saescope.autoencoders.registry import architectures
from saescope.checkpoints import load_sae
from saescope.models.parts import Parts
from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.one_pass.blocks import CodeBlock, Rows
from saescope.precompute.one_pass.run import PassFolder, PassOptions, PassResult, run_pass
from saescope.precompute.one_pass.state import FeatureState
from saescope.sources import SourceOptions, open_source
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from saescope.training import TrainingConfig, train

RELATIVE = 1e-4
"""Largest relative difference of codes and reconstructions, by their norms."""
BORDER = 1e-4
"""Largest share of firings that may fire on one device alone: pre-activations that rounding lifts over a threshold."""
N_FEATURES, STEPS = 192, 120
TOY = "96x48:p=0.06,items={},seed=1"
TRAINED: dict[str, dict[str, Any]] = {
    "relu": {"l1": 0.5},
    "gated": {"l1": 0.5},
    "jumprelu": {"l0_weight": 0.3},
    "topk": {"k": 6},
    "batchtopk": {"k": 6},
    "matryoshka": {"k": 6},
    "abstopk": {"k": 6},
    "groupmax": {"k": 6},
    "kl": {"rho": 0.05},
    "deep": {"k": 6},
}
FITTED = ("ica", "kmeans", "lars", "neurons", "nmf", "omp", "pca", "random")
"""Architectures that libraries fit, on the CPU."""
PASSED = ("relu", "jumprelu", "topk", "abstopk", "kl", "deep")
"""Architectures whose pass is compared: codes with a bound and without, signed, sigmoid, no linear decoder."""


def checks(device: torch.device, folder: Path, small: bool) -> dict[str, Callable[[], str]]:
    """Name -> check."""
    work = Work(device, folder, small)
    made: dict[str, Callable[[], str]] = {}
    for name in TRAINED:
        made[f"training {name} float32"] = functools.partial(training, work, name)
    for name in TRAINED:
        if device.type == "cuda":
            made[f"training {name} autocast"] = functools.partial(autocast, work, name)
    for name in architectures():
        if name in FITTED or name == "convolutional":
            continue  # the toy's activations are no images
        made[f"codes {name}"] = functools.partial(codes, work, name)
    made["largest of many"] = functools.partial(selected, work)
    for name in ("topk", "relu", "jumprelu", "gated"):
        made[f"gradients {name}"] = functools.partial(gradients, work, name)
        made[f"steps of {name} again"] = functools.partial(repeated, work, name)
    for name in PASSED:
        made[f"pass {name}"] = functools.partial(one_pass, work, name)
        made[f"pass {name} cut and resumed"] = functools.partial(resumed, work, name)
    made["build and cross-entropy"] = functools.partial(build, work)
    made["out of memory"] = functools.partial(out_of_memory, work)
    return made


class Work:
    """What the checks share: a device, a source of known features, and the SAEs that are trained on the way."""

    def __init__(self, device: torch.device, folder: Path, small: bool) -> None:
        self.device, self.folder = device, folder
        self.steps = 30 if small else STEPS
        self.source = open_source(SourceOptions(toy=TOY.format(4_000 if small else 40_000)))
        self.description = {**described(self.source), "held_out": None}

    def trained(self, name: str, device: str, **options: Any) -> Path:
        """Checkpoint of a short run, trained once."""
        kind = "-".join([name, device.partition(":")[0], *options])
        config = TrainingConfig(
            architecture=name, n_features=N_FEATURES, steps=self.steps, batch_size=512, **TRAINED[name], **options
        )
        return train(self.source.table(), config, self.folder / kind, description=self.description, device=device)

    def sae(self, name: str) -> Autoencoder:
        """Of any architecture: trained on the CPU, or, where training does not know it, random."""
        if name in TRAINED:
            return load_sae(self.trained(name, "cpu")).eval()
        kind = architecture(name)
        sae = kind.module(kind.config(d_in=self.source.d_in, n_features=N_FEATURES)).eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter.copy_(
                    torch.randn(parameter.shape, generator=generator) / max(1, parameter.shape[-1:].numel()) ** 0.5
                )
        return sae

    def x(self, n_rows: int = 2_048) -> torch.Tensor:
        return self.source.table().rows(np.arange(n_rows))


def described(source: Any) -> dict[str, Any]:
    """A source's description, as a manifest holds it."""
    about = source.describe()
    return about if isinstance(about, dict) else about.to_dict()  # type: ignore[no-any-return]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """||found - expected|| / ||expected||."""
    a, b = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((a - b).norm() / b.norm().clamp(min=1e-30))


@torch.inference_mode()
def codes(work: Work, name: str) -> str:
    """Codes and reconstructions, on rows where the same features fire."""
    sae, x = work.sae(name), work.x()
    expected = sae(x)
    found = sae.to(work.device)(x.to(work.device))
    there = found.codes.cpu()
    threshold = sae.config.firing_threshold
    flipped = (there.abs() > threshold) != (expected.codes.abs() > threshold)
    n_firing = int((expected.codes.abs() > threshold).sum())
    assert int(flipped.sum()) <= max(1, BORDER * n_firing), f"{int(flipped.sum())} of {n_firing} firings differ"
    same = ~flipped.any(1)
    errors = (
        relative(there[same], expected.codes[same]),
        relative(found.reconstruction.cpu()[same], expected.reconstruction[same]),
    )
    assert max(errors) <= RELATIVE, f"relative differences {errors[0]:.1e} and {errors[1]:.1e}"
    return f"codes {errors[0]:.1e}, reconstructions {errors[1]:.1e}, {int(flipped.sum())} of {n_firing} firings differ"


def selected(work: Work) -> str:
    """The k largest of many pre-activations, equal ones among them, are those that a stable sort gives first."""
    n_rows, n, k = 256, 32_768 + 17, 32
    z = torch.randn(n_rows, n, generator=torch.Generator().manual_seed(0))
    z[::2] = (z[::2] * 8).round() / 8
    found = largest(z.to(work.device), k, signed=True)
    expected = torch.sort(z, dim=1, descending=True, stable=True).indices[:, :k]
    assert torch.equal(found.indices.cpu().sort(1).values, expected.sort(1).values), "other places are chosen"
    assert torch.equal(found.values.cpu(), z.gather(1, found.indices.cpu())), "values are not those of their places"
    return f"{n_rows} rows of {n:,}, half of them full of equal values: the same {k}"


def sparse_step(device: torch.device) -> argparse.Namespace:
    """Sizes of a step whose code is sparse enough for the sparse path, and large enough for a GPU to take it."""
    small = device.type == "cpu"
    return argparse.Namespace(width=96, features=512 if small else 16_384, batch=256 if small else 1024, k=8, l0=8)


def repeated(work: Work, name: str) -> str:
    """The same steps end in the same bits."""
    sizes, ends = sparse_step(work.device), []
    for _ in range(2):
        run, x = new_run(name, sizes, work.device)
        for _ in range(5):
            run.advance(x)
        ends.append(run.model.state_dict())
    differing = [key for key, value in ends[0].items() if not torch.equal(value, ends[1][key])]
    assert not differing, f"{', '.join(differing)} differ"
    return "the same bits after 5 steps"


def gradients(work: Work, name: str) -> str:
    """Loss and gradients of a step that takes the sparse path."""
    sizes = sparse_step(work.device)
    runs = [new_run(name, sizes, device) for device in (torch.device("cpu"), work.device)]
    runs[1][0].model.load_state_dict(runs[0][0].model.state_dict())
    losses, found = [], []
    for run, x in runs:
        silent = torch.zeros(sizes.features, dtype=torch.int64, device=x.device)
        loss = run.objective.loss(run.model, StepInputs(x, 100, run.data.variance, silent, run.sparsity))
        loss.total.backward()
        losses.append(float(loss.total.detach()))
        found.append({key: value.grad for key, value in run.model.named_parameters() if value.grad is not None})
    assert found[0].keys() == found[1].keys()
    errors = {key: relative(found[1][key], value) for key, value in found[0].items()}
    worst = max(errors, key=lambda key: errors[key])
    assert errors[worst] <= 10 * RELATIVE, f"relative difference {errors[worst]:.1e} of the gradient of {worst}"
    assert abs(losses[1] - losses[0]) <= RELATIVE * abs(losses[0]), f"losses {losses}"
    return f"loss within {abs(losses[1] / losses[0] - 1):.1e}, gradients within {errors[worst]:.1e}"


class Seen:
    """The dense codes of every block that a pass saw, and a copy of its rows."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.blocks: list[tuple[np.ndarray, Rows]] = []
        self.stop_after = stop_after

    def __call__(self, rows: Rows, block: CodeBlock) -> None:
        if self.stop_after is not None and len(self.blocks) == self.stop_after:
            raise Cut
        self.blocks.append((dense(rows, block), rows))


class Cut(Exception):
    """Ends a pass in its middle."""


def dense(rows: Rows, block: CodeBlock) -> np.ndarray:
    """The block's firing codes [row, n_features], from what the encoder gave on its device."""
    if block.dense is not None:
        return block.dense.cpu().numpy()
    assert block.selection is not None
    indices, values = (t.cpu() for t in block.selection)
    return torch.zeros(len(rows.items), N_FEATURES).scatter_(1, indices, values).numpy()


def run(work: Work, name: str, **options: Any) -> tuple[PassResult, Seen]:
    seen = options.pop("observe", Seen())
    result = run_pass(
        work.sae(name), work.source, PassOptions(block_rows=500), device=work.device, observe=seen, ahead=1, **options
    )
    return result, seen


def one_pass(work: Work, name: str) -> str:
    """Counts, histograms, top examples and samples are exactly those of the codes that the encoder gave, counted here
    on one thread of the CPU; metrics agree with a pass on the CPU."""
    result, seen = run(work, name)
    threshold = load_sae(work.trained(name, "cpu")).config.firing_threshold
    options = PassOptions()
    expected = FeatureState.empty(N_FEATURES, options.histogram, options.n_top, options.n_samples, options.seed)
    for block, rows in seen.blocks:
        add(expected, block, threshold, rows)
    differing = [
        key for key, value in expected.arrays().items() if not np.array_equal(value, result.state.arrays()[key])
    ]
    assert not differing, f"{', '.join(differing)} differ"
    on_cpu = run_pass(work.sae(name), work.source, PassOptions(block_rows=500), device=torch.device("cpu"))
    assert result.sums is not None
    assert on_cpu.sums is not None
    there, here = result.sums.values(N_FEATURES), on_cpu.sums.values(N_FEATURES)
    worst = max(abs((there[key] or 0) - (here[key] or 0)) / max(abs(here[key] or 0), 1e-9) for key in here)
    assert worst <= 1e-3, f"metrics {there} on the device, {here} on the CPU"
    return f"{len(seen.blocks)} blocks, {int(result.state.n_firing.sum()):,} firings exact; metrics within {worst:.1e}"


def add(state: FeatureState, block: np.ndarray, threshold: float, rows: Rows) -> None:
    """Count a block of dense codes."""
    at, features = np.nonzero(np.abs(block) > threshold)
    row_ptr = np.concatenate([[0], np.cumsum(np.bincount(at, minlength=len(block)))]).astype(np.int64)
    state.add(CodeRows(row_ptr, features.astype(np.int32), block[at, features]), rows.items, rows.positions)


def resumed(work: Work, name: str) -> str:
    """A pass that is cut, and goes on from its last saved state, ends in the same bits."""
    whole, _ = run(work, name)
    folder = PassFolder(work.folder / f"pass-{name}")
    folder.root.mkdir()
    try:
        run(work, name, observe=Seen(stop_after=3), folder=folder, save_every_s=0.0)
    except Cut:
        pass
    else:
        raise AssertionError("the pass was not cut")
    again, seen = run(work, name, folder=folder)
    expected, found = whole.state.arrays(), again.state.arrays()
    differing = [key for key in expected if not np.array_equal(expected[key], found[key])]
    assert not differing, f"{', '.join(differing)} differ"
    assert whole.sums is not None
    assert again.sums is not None
    assert whole.sums.values(N_FEATURES) == again.sums.values(N_FEATURES), "metrics differ"
    return f"cut after 3 blocks, {len(seen.blocks)} more"


def curve(checkpoint: Path, column: str) -> np.ndarray:
    values: np.ndarray = pq.read_table(checkpoint / "training.parquet")[column].to_numpy()
    return values


def training(work: Work, name: str) -> str:
    """First losses as on the CPU (the same seeds draw the same batches and weights), and as good an end."""
    expected, found = work.trained(name, "cpu"), work.trained(name, str(work.device))
    losses = [curve(path, "loss")[:5] for path in (expected, found)]
    first = float(np.max(np.abs(losses[1] - losses[0]) / np.abs(losses[0])))
    assert first <= 1e-3, f"losses {losses[1]}, on the CPU {losses[0]}"
    ends = [float(curve(path, "fvu")[-5:].mean()) for path in (expected, found)]
    assert ends[1] <= 1.05 * ends[0] + 0.005, f"FVU {ends[1]:.4f}, on the CPU {ends[0]:.4f}"
    return f"first losses within {first:.1e}, FVU {ends[1]:.4f} (CPU {ends[0]:.4f})"


def autocast(work: Work, name: str) -> str:
    """Matrix products in bfloat16 cost at most a tenth of what is left unexplained, and not a NaN."""
    expected, found = work.trained(name, "cpu"), work.trained(name, str(work.device), autocast=True)
    ends = [float(curve(path, "fvu")[-5:].mean()) for path in (expected, found)]
    assert np.isfinite(curve(found, "loss")).all(), "a loss is no number"
    assert ends[1] <= 1.1 * ends[0] + 0.01, f"FVU {ends[1]:.4f}, in float32 on the CPU {ends[0]:.4f}"
    return f"FVU {ends[1]:.4f} (CPU, float32: {ends[0]:.4f})"


def build(work: Work) -> str:
    """An entry of texts through a model, from beginning to end, on the device and on the CPU."""
    folder = work.folder / "texts-and-model"
    folder.mkdir()
    write_texts(folder)
    write_models(folder)
    options = {"texts": str(folder / "texts.jsonl"), "hook": "blocks.1.hook_resid_post", "context": 24, "cache": "off"}
    metrics: dict[str, dict[str, Any]] = {}
    for device in ("cpu", str(work.device)):
        source = open_source(SourceOptions(model=str(folder / "llama"), device=device, **options), "evaluate")  # type: ignore[arg-type]
        if device == "cpu":
            config = TrainingConfig(architecture="topk", n_features=48, k=4, steps=work.steps)
            about = {**described(source), "held_out": None}
            train(source.table(), config, folder / "sae", description=about, device="cpu")
        store, name = folder / f"store-{device.partition(':')[0]}", "it"
        build_entry(folder / "sae", source, store, sae_id=name, options=BuildOptions(n_ce_positions=500, device=device))
        faults = verify(store)
        assert not faults, f"{faults[0]}"
        with FeatureStore(store) as opened:
            metrics[device] = dict(opened[name].metrics)
    here, there = metrics["cpu"], metrics[str(work.device)]
    assert here.keys() == there.keys()
    worst = max((abs(there[key] - here[key]) / max(abs(here[key]), 0.01), key) for key in here if here[key] is not None)
    assert worst[0] <= 2e-3, f"{worst[1]} is {there[worst[1]]} on the device, {here[worst[1]]} on the CPU"
    return f"ce_sae {there['ce_sae']:.4f} (CPU {here['ce_sae']:.4f}), all {len(here)} metrics within {worst[0]:.1e}"


@contextmanager
def warnings_of(name: str) -> Iterator[list[str]]:
    """What a logger warns of."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


def out_of_memory(work: Work) -> str:
    """A batch that is too large is read in halves, with a warning, and gives the same."""
    items = torch.randn(256, 1024, generator=torch.Generator().manual_seed(0))
    grown = 1 << (4 if work.device.type == "cpu" else 15)

    def run(part: torch.Tensor) -> torch.Tensor:
        if work.device.type == "cpu" and len(part) > 40:
            raise torch.OutOfMemoryError("as much as 40 items fit")
        wide = part.to(work.device)[:, None, :].expand(-1, grown, -1) * 1.0  # 128 MiB an item on a GPU
        return wide.mean(1).cpu()

    limited = work.device.type == "cuda"
    if limited:
        total = torch.cuda.get_device_properties(work.device).total_memory
        torch.cuda.empty_cache()
        index = work.device.index or 0
        torch.cuda.set_per_process_memory_fraction(min(1.0, (6 << 30) / total), index)
    try:
        with warnings_of("saescope.models") as said:
            found = Parts().run(run, [items], len(items))
    finally:
        if limited:
            torch.cuda.set_per_process_memory_fraction(1.0, index)
            torch.cuda.empty_cache()
    assert said, "there was no warning"
    error = relative(found, items)
    assert error <= RELATIVE, f"relative difference {error:.1e}"
    return f"{len(said)} warnings, the last one: {said[-1]}"
