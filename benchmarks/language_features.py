"""Whether an SAE trained with the defaults has a feature for each language and kind of text in a corpus.

    python benchmarks/language_features.py --texts CORPUS.parquet [--max-tokens 400000] [--judged-tokens N] [--out RUN]

CORPUS has the columns text, domain and language. Trains a TopK SAE (8,192 features, k = 32) on SmolLM2-135M, layer 15,
or goes on with the run in RUN; --judged-tokens judges on more (or fewer) tokens than it was trained on. A document's
score under a feature is the feature's mean activation over the document's positions. Half of the documents (drawn by
--seed) choose the feature with the largest area under the ROC curve for each target; printed is that feature's area on
the other half, with a 95 % interval: percentiles of 2,000 bootstrap samples of the documents, drawn among those of the
target and the others apart.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int64
from scipy.stats import rankdata

from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints import load_sae
from saescope.progress.terminal import terminal_progress
from saescope.sources import Source, SourceOptions, open_source
from saescope.sources.protocol import flat_positions
from saescope.training import TrainingConfig, train
from saescope.workflows.divided_source import open_to_train

TARGETS = {
    "French": ("language", "fr"),
    "German": ("language", "de"),
    "Italian": ("language", "it"),
    "Python code": ("domain", "python_code"),
    "C headers": ("domain", "c_headers"),
    "scripture": ("domain", "scripture"),
    "licence text": ("domain", "licences"),
}
LEAST = 0.9
"""The area that each target's feature is expected to have."""
N_BOOTSTRAP = 2000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--model", default="embedded:smollm2")
    parser.add_argument("--hook", default="blocks.15.hook_resid_post")
    parser.add_argument("--n-features", type=int, default=8192)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=400_000)
    parser.add_argument("--judged-tokens", type=int, help="as many as --max-tokens if left out")
    parser.add_argument("--out", type=Path, help="folder of the training run; kept")
    parser.add_argument("--seed", type=int, default=0, help="which half of the documents chooses")
    arguments = parser.parse_args()
    options = SourceOptions(
        texts=arguments.texts, model=arguments.model, hook=arguments.hook, max_tokens=arguments.max_tokens
    )
    with tempfile.TemporaryDirectory() as scratch, terminal_progress() as progress:
        out = arguments.out or Path(scratch) / "run"
        data = open_to_train(options, progress)
        config = TrainingConfig("topk", n_features=arguments.n_features, k=arguments.k)
        train(data.table, config, out, description=data.description, progress=progress)
        judged = replace(options, max_tokens=arguments.judged_tokens or arguments.max_tokens)
        source = open_source(judged, "evaluate", progress)
        scores, n_positions = document_means(load_sae(out), source)
    metadata = first_of_each_document(source)
    seen = n_positions > 0
    print(f"{int(seen.sum()):,} documents, {int(n_positions.sum()):,} positions")
    return int(report(scores[seen], {name: values[seen] for name, values in metadata.items()}, arguments.seed))


@torch.inference_mode()
def document_means(
    sae: Autoencoder, source: Source
) -> tuple[Float[np.ndarray, "document n_features"], Int64[np.ndarray, " document"]]:
    """Mean activation of each feature over each document's positions, and the number of those."""
    documents: Int64[np.ndarray, " n_items"] = source.groups  # type: ignore[attr-defined]
    total = torch.zeros(int(documents.max()) + 1, sae.n_features)
    counts = np.zeros(len(total), np.int64)
    for batch in source.batches():
        x, items, _ = flat_positions(batch)
        for start in range(0, len(x), 1024):
            piece = slice(start, start + 1024)
            of = documents[items[piece]]
            total.index_add_(0, torch.from_numpy(of), sae.encode(x[piece].float().cpu()))
            np.add.at(counts, of, 1)
    return total.numpy() / np.maximum(counts, 1)[:, None], counts


def first_of_each_document(source: Source) -> dict[str, Any]:
    """The metadata of each document, from its first item."""
    documents: Int64[np.ndarray, " n_items"] = source.groups  # type: ignore[attr-defined]
    first = np.full(int(documents.max()) + 1, 0)
    first[documents[::-1]] = np.arange(len(documents))[::-1]
    return {name: np.array(pa.array(values).take(first), object) for name, values in source.metadata().items()}


def areas(
    scores: Float[np.ndarray, "document n_features"], positive: Bool[np.ndarray, " document"]
) -> Float[np.ndarray, " n_features"]:
    """Area under the ROC curve of each feature, ties counted half (Mann and Whitney 1947)."""
    n, n_positive = len(positive), int(positive.sum())
    ranks = np.concatenate([rankdata(part, axis=0) for part in np.array_split(scores, 16, axis=1)], axis=1)
    return (ranks[positive].sum(0) - n_positive * (n_positive + 1) / 2) / (n_positive * (n - n_positive))


def interval(
    score: Float[np.ndarray, " document"], positive: Bool[np.ndarray, " document"], rng: np.random.Generator
) -> tuple[float, float]:
    """2.5 and 97.5 percentiles of the area over bootstrap samples."""
    inside, outside = score[positive], score[~positive]
    drawn = []
    for _ in range(N_BOOTSTRAP):
        a, b = rng.choice(inside, len(inside)), np.sort(rng.choice(outside, len(outside)))
        below, up_to = np.searchsorted(b, a), np.searchsorted(b, a, "right")
        drawn.append((below + up_to).mean() / (2 * len(b)))
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def report(scores: Float[np.ndarray, "document n_features"], metadata: dict[str, Any], seed: int) -> bool:
    """Print a row for each target; whether any misses what is expected."""
    rng = np.random.default_rng(seed)
    chooses = np.zeros(len(scores), bool)
    chooses[rng.permutation(len(scores))[: len(scores) // 2]] = True
    print("| target | documents | feature | area, choosing half | area, other half | 95 % interval |")
    print("|---|---|---|---|---|---|")
    missed = False
    for target, (column, value) in TARGETS.items():
        positive = metadata[column] == value
        feature = int(areas(scores[chooses], positive[chooses]).argmax())
        chosen, other = (float(areas(scores[half][:, [feature]], positive[half])[0]) for half in (chooses, ~chooses))
        low, high = interval(scores[~chooses, feature], positive[~chooses], rng)
        missed = missed or other < LEAST
        print(f"| {target} | {positive.sum():,} | {feature} | {chosen:.4f} | {other:.4f} | {low:.4f} to {high:.4f} |")
    return missed


if __name__ == "__main__":
    raise SystemExit(main())
