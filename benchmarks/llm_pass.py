"""What the one pass and a whole build cost over a language model's own work, how large an entry is, how much memory
it takes.

    python benchmarks/llm_pass.py --texts CORPUS [--tokens 65536] [--features 8192 16384 65536]
        [--archs topk relu jumprelu] [--l0 32] [--build 8192] [--repeats 1] [--checkpoint SAE]
        [--model embedded:smollm2] [--hook blocks.15.hook_resid_post] [--no-memory]

Bare work is the same forward passes up to the hook, over contexts that lie in memory as tokens, sorted by length so
that next to nothing is padded, and the SAE's encode, nothing else. Against it stand, as ratios of wall and CPU time:

* pass: every statistic and example of all features, from the same texts as a source;
* build: `build_entry` from beginning to end, with metrics, tokens, logit effects, neighbours, co-activations and
  cross-entropy on 4,096 predictions, up to the published entry.

SAEs are made of the data: atoms are centred activations, thresholds let each feature fire as often as `--l0` asks.
With `--checkpoint` that SAE is measured in their place. Bare work and pass take turns, and the fastest of `--repeats`
counts. Bytes per feature are those of the Parquet files of features, examples, top_logits and top_tokens. The memory
part builds over more and more streamed tokens, each time in a process of its own, and prints its peak of anonymous
memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from memory import print_peaks, ready

from saescope.autoencoders import architecture
from saescope.autoencoders.device import choose_device
from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints import load_sae
from saescope.checkpoints.formats import native
from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.one_pass.blocks import block_rows
from saescope.precompute.one_pass.run import PassOptions, run_pass
from saescope.progress.terminal import terminal_progress
from saescope.sources import SourceOptions, open_source
from saescope.sources.hooked.windows import POSITIONS
from saescope.sources.protocol import ActivationBatch, ActivationTable, TokenSource
from saescope.store import FeatureStore
from saescope.store.format.source import TextDescription

TABLES = ("features", "examples", "top_logits", "top_tokens")
SAMPLE = 4096
MEMORY_ITEMS = (1_000, 4_000, 16_000)
"""Contexts of the streams whose memory is measured, 128 tokens each."""


class Stopwatch:
    """Fastest wall and CPU seconds of several runs."""

    def __init__(self) -> None:
        self.wall = self.cpu = float("inf")

    def __call__(self, run: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = run()
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.cpu = min(self.cpu, time.process_time() - cpu)
        return result

    def over(self, bare: tuple[float, float]) -> str:
        return f"{self.wall:7.1f} s {self.wall / bare[0]:6.3f}x (CPU {self.cpu / bare[1]:6.3f}x)"


class Contexts:
    """A source's contexts as the model reads them, in memory, sorted by length."""

    def __init__(self, source: TokenSource) -> None:
        items = np.arange(source.n_items)
        lengths = np.concatenate([source.contexts(p)[1].sum(1) for p in np.array_split(items, -(-len(items) // 256))])
        order, start = items[np.argsort(-lengths, kind="stable")], 0
        self.batches = []
        while start < len(order):
            step = max(1, POSITIONS[source.hooked.loaded.device.type][1] // int(lengths[order[start]]))
            self.batches.append([torch.from_numpy(a) for a in source.contexts(order[start : start + step])])
            start += step
        self.hooked = source.hooked

    @torch.inference_mode()
    def activations(self) -> list[torch.Tensor]:
        return [self.hooked.activations(ids, real)[counts] for ids, real, counts in self.batches]


@torch.inference_mode()
def encode(sae: Autoencoder, parts: list[torch.Tensor]) -> None:
    n_rows = block_rows(sae.n_features, parts[0].device)
    for part in parts:
        for rows in part.split(n_rows):
            if sae.select(rows) is None:
                sae.encode(rows)


@torch.no_grad()
def make_sae(name: str, n_features: int, x: torch.Tensor, l0: float) -> Autoencoder:
    """Atoms are centred activations (with some noise where there are fewer of them than features)."""
    generator = torch.Generator().manual_seed(0)
    kind = architecture(name)
    own = {"k": round(l0)} if name == "topk" else {}
    sae: Any = kind.module(kind.config(d_in=x.shape[1], n_features=n_features, **own))
    mean = x.mean(0)
    chosen = torch.randint(len(x), (n_features,), generator=generator)
    if n_features <= len(x):
        chosen = torch.randperm(len(x), generator=generator)[:n_features]
    scale = float((x - mean).std())
    noise = 0.3 * scale * torch.randn(n_features, x.shape[1], generator=generator)
    atoms = torch.nn.functional.normalize(x[chosen] - mean + noise, dim=1)
    sample = x[torch.randint(len(x), (min(SAMPLE, len(x)),), generator=generator)] - mean
    cut = torch.zeros(n_features)
    if name != "topk":
        for first in range(0, n_features, 1024):
            piece = slice(first, first + 1024)
            cut[piece] = (sample @ atoms[piece].T).quantile(1 - l0 / n_features, dim=0)
    sae.encoder.copy_(atoms)
    sae.W_dec.copy_(atoms)
    sae.b_dec.copy_(mean)
    sae.b_enc.copy_(-mean @ atoms.T - (cut if name == "relu" else 0))
    if name == "jumprelu":
        sae.threshold.copy_(cut)
    return sae.eval().requires_grad_(False)


def sizes(store: Path) -> str:
    entry = FeatureStore(store)["it"]
    root = entry.paths.root
    files = {path.relative_to(root).as_posix(): path.stat().st_size for path in root.rglob("*") if path.is_file()}
    parts = {name: files.get(f"{name}.parquet", 0) / entry.n_features for name in TABLES}
    index = next(size for name, size in files.items() if name.startswith("index-"))
    listed = ", ".join(f"{name} {size:,.0f}" for name, size in parts.items())
    return (
        f"{sum(parts.values()):,.0f} bytes per feature ({listed}); index {index / 1e6:,.1f} MB, "
        f"items {files['items.parquet'] / 1e6:,.1f} MB, checkpoint {files['sae/sae.safetensors'] / 1e6:,.1f} MB"
    )


def warm_up(source: TokenSource, x: torch.Tensor, folder: Path) -> None:
    """Compile the loops before anything is timed."""
    for name in ("topk", "relu", "jumprelu"):
        run_pass(make_sae(name, 32, x, 2), _First(source), PassOptions())
    native.save(make_sae("topk", 32, x, 2), folder / "warm")  # type: ignore[arg-type]
    build_entry(
        folder / "warm", _First(source), folder / "warm-store", sae_id="it", options=BuildOptions(n_ce_positions=64)
    )


class _First:
    """The first items of a source."""

    def __init__(self, source: TokenSource, n_items: int = 8) -> None:
        self._source, self.n_items = source, min(n_items, source.n_items)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        batch = next(iter(self._source.batches(0, self.n_items)))
        yield batch

    def metadata(self) -> dict[str, Any]:
        return {}


def compare(args: argparse.Namespace) -> None:
    options = SourceOptions(
        texts=args.texts,
        model=args.model,
        hook=args.hook,
        max_tokens=args.tokens,
        context=args.context,
        device=args.device,
        cache="off",
    )
    device = choose_device(args.device)
    with terminal_progress() as progress:
        source: Any = open_source(options, "evaluate", progress)
    contexts = Contexts(source)
    x = torch.cat(contexts.activations())
    norms = x.norm(dim=1)
    print(f"{source.n_items:,} contexts, {len(x):,} evaluated positions, {args.model} {args.hook}", flush=True)
    x = x[norms < 10 * norms.median()]
    wanted = [(name, n) for n in args.features for name in args.archs]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        warm_up(source, x.cpu(), folder)
        for name, n_features in wanted if args.checkpoint is None else [("", 0)]:
            made = (
                make_sae(name, n_features, x.cpu(), args.l0) if args.checkpoint is None else load_sae(args.checkpoint)
            )
            sae = made.to(device)
            name, n_features = sae.config.architecture, sae.n_features
            model, encoding, one_pass = Stopwatch(), Stopwatch(), Stopwatch()
            for _ in range(args.repeats):
                parts = model(contexts.activations)
                encoding(lambda sae=sae, parts=parts: encode(sae, parts))
                del parts
                result = one_pass(lambda sae=sae: run_pass(sae, source, PassOptions(), decode=False, device=device))
            bare = (model.wall + encoding.wall, model.cpu + encoding.cpu)
            l0 = result.state.n_firing.sum() / result.n_positions
            dead = (result.state.n_firing == 0).mean()
            print(
                f"{name:8} {n_features:6,} features, L0 {l0:5.1f}, dead {100 * dead:4.1f} %: "
                f"model {model.wall:6.1f} s, encode {encoding.wall:5.1f} s | pass {one_pass.over(bare)}",
                flush=True,
            )
            del result
            if n_features in args.build:
                native.save(sae, folder / "sae")  # type: ignore[arg-type]
                build, store = Stopwatch(), folder / f"store-{name}-{n_features}"
                stages = Stages()
                build(
                    lambda store=store, stages=stages: build_entry(
                        folder / "sae", source, store, sae_id="it", progress=stages
                    )
                )
                print(f"{'':31} build {build.over(bare)}: {stages}", flush=True)
                print(f"{'':31} {sizes(store)}", flush=True)


class Stages:
    """Progress that keeps the seconds between the first report of a stage and that of the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "opening", time.perf_counter()

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def tell(self, text: str) -> None:
        print(text)

    def __str__(self) -> str:
        return ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items() if seconds >= 0.05)


class Stream:
    """Random activations at random tokens, made as they are read: nothing of them stays in memory."""

    kind = "tokens"
    d_in = 64
    positions_per_item = 128
    data_sha256 = "0" * 64
    vocabulary = tuple(f"token{i}" for i in range(5000))
    hooked = SimpleNamespace(loaded=SimpleNamespace(kind="encoder"), hook=SimpleNamespace(is_residual=False))
    hooked_out = hooked

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        for item in range(start_item, self.n_items):
            generator = torch.Generator().manual_seed(item)
            yield ActivationBatch(
                np.array([item]), torch.randn(1, self.positions_per_item, self.d_in, generator=generator)
            )

    def table(self, items: np.ndarray | None = None) -> ActivationTable:
        raise NotImplementedError("a stream has no random access")

    def token_ids(self, items: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return ((items * 31 + positions * positions * 17) % len(self.vocabulary)).astype(np.int32)

    def contexts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        positions = np.arange(self.positions_per_item)
        ids = self.token_ids(np.asarray(items)[:, None], positions[None]).astype(np.int64)
        return ids, np.ones(ids.shape, bool), np.ones(ids.shape, bool)

    def item_table(self, item_ids: np.ndarray) -> pa.Table:
        return pa.table({"item_id": item_ids})

    def metadata(self) -> dict[str, Any]:
        return {}

    def describe(self) -> TextDescription:
        return TextDescription(n_items=self.n_items, n_positions=self.n_items * 128, data_sha256="0" * 64)


def memory_child(n_items: int) -> None:
    """A build over a stream of that many contexts, to be watched."""
    source: Any = Stream(n_items)
    x = torch.cat([batch.activations[0] for batch in Stream(32).batches()])
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "sae"
        native.save(make_sae("jumprelu", 1024, x, 20), checkpoint)  # type: ignore[arg-type]
        ready()
        build_entry(checkpoint, source, Path(folder) / "store", sae_id="it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", help="a corpus, as for `saescope build`")
    parser.add_argument("--model", default="embedded:smollm2")
    parser.add_argument("--hook", default="blocks.15.hook_resid_post")
    parser.add_argument("--tokens", type=int, default=65_536)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--features", type=int, nargs="+", default=[8_192, 16_384, 65_536])
    parser.add_argument("--archs", nargs="+", default=["topk", "relu", "jumprelu"])
    parser.add_argument("--l0", type=float, default=32.0)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--build", type=int, nargs="*", default=[8_192], help="widths that are built as well")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--memory-child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_child:
        memory_child(args.memory_child)
        return
    if args.texts:
        compare(args)
    if not args.no_memory:
        print_peaks("1,024 features", "tokens", Stream.positions_per_item, __file__, MEMORY_ITEMS, repeats=3)


if __name__ == "__main__":
    main()
