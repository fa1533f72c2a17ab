"""Makes a small real store of texts without torch, for tests and for looking at pages.

    PYTHONPATH=backend:store:dashboard python -m tests.store.text_store OUT [--features 96] [--big]

The texts of `texts_sae` with dictionaries learned by k-means, as two TopK entries of a sweep. `--big` makes one entry
with 16,384 features, to measure speed.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from saescope.store.format.manifest import Manifest
from saescope.store.write.writer import EntryWriter
from tests.store.digits_sae import Floats, Model, fit, learn_dictionary, write_checkpoint
from tests.store.fixture_store import (
    EDGES,
    FORMULAS,
    AutoLabels,
    Firings,
    _ragged,
    coactivation_table,
    example_table,
    feature_table,
    item_code_table,
    metric_table,
    metric_values,
    neighbour_table,
)
from tests.store.texts_sae import Texts, texts

N_TOKENS, N_LOGITS, N_SAMPLE = 10, 10, 12
SHARPNESS = 8.0
"""Logits are this times the product of a position's input with each token's vector."""

CE_FORMULAS = {
    "ce_clean": "mean over positions of -log p(token), p = softmax of the logits of x",
    "ce_sae": "the same with x_hat in place of x",
    "ce_zero": "the same with 0 in place of x",
    "ce_mean": "the same with the mean of x in place of x",
    "ce_recovered": "(ce_zero - ce_sae) / (ce_zero - ce_clean)",
    "ce_recovered_mean": "(ce_mean - ce_sae) / (ce_mean - ce_clean)",
    "kl": "mean over positions of KL(p_clean || p_sae)",
}


def firings_of(data: Texts, codes: Floats) -> Firings:
    rows, features = np.nonzero(codes)
    values = codes[rows, features]
    order = np.lexsort((rows, -np.abs(values), features))
    rows, features, values = rows[order], features[order], values[order]
    return Firings(features, data.row_item[rows], data.row_position[rows], values, codes.shape[1])


def token_table(data: Texts, codes: Floats) -> pa.Table:
    """Table `top_tokens`: by firings, then token."""
    n_token = np.bincount(data.row_token, minlength=len(data.vocabulary))
    parts: dict[str, list[Any]] = {name: [] for name in ("feature", "rank", "id", "n", "mean", "of", "lift")}
    rows, features = np.nonzero(codes)
    by_feature = np.argsort(features, kind="stable")
    borders = np.searchsorted(features[by_feature], np.arange(codes.shape[1] + 1))
    for j in range(codes.shape[1]):
        fired = rows[by_feature[borders[j] : borders[j + 1]]]
        n = np.bincount(data.row_token[fired], minlength=len(n_token))
        total = np.bincount(data.row_token[fired], codes[fired, j], len(n_token))
        best = np.lexsort((np.arange(len(n)), -n))[:N_TOKENS]
        for rank, token in enumerate(best[n[best] > 0]):
            lift = (n[token] / len(fired)) / (n_token[token] / len(data.row_token))
            for name, value in zip(
                parts, (j, rank, token, n[token], total[token] / n[token], n_token[token], lift), strict=True
            ):
                parts[name].append(value)
    return pa.table(
        {
            "feature_id": pa.array(parts["feature"], pa.int32()),
            "rank": pa.array(parts["rank"], pa.int16()),
            "token_id": pa.array(parts["id"], pa.int32()),
            "token": [data.vocabulary[i] for i in parts["id"]],
            "n_firing": pa.array(parts["n"], pa.int64()),
            "mean_activation": pa.array(parts["mean"], pa.float64()),
            "n_token": pa.array(parts["of"], pa.int64()),
            "lift": pa.array(parts["lift"], pa.float64()),
        }
    )


def logit_table(data: Texts, w_dec: Floats) -> pa.Table:
    effects = SHARPNESS * (w_dec @ data.vectors.T)
    order = np.argsort(-effects, axis=1, kind="stable")
    lowest, highest = order[:, ::-1][:, :N_LOGITS], order[:, :N_LOGITS]
    ids = np.concatenate([lowest, highest], axis=1).ravel()
    feature = np.repeat(np.arange(len(w_dec)), 2 * N_LOGITS)
    return pa.table(
        {
            "feature_id": feature.astype(np.int32),
            "sign": np.tile(np.repeat(np.array([-1, 1], np.int8), N_LOGITS), len(w_dec)),
            "rank": np.tile(np.arange(N_LOGITS), 2 * len(w_dec)).astype(np.int16),
            "token_id": ids.astype(np.int32),
            "token": [data.vocabulary[i] for i in ids],
            "logit": effects[feature, ids].astype(np.float32),
        }
    )


def token_labels(tokens: pa.Table, counts: npt.NDArray[np.int64], n_rows: int) -> AutoLabels:
    """The token with the largest precision, where a feature has 20 firings on it and a lift of 2."""
    text: list[str | None] = [None] * len(counts)
    numbers: list[tuple[float, float, float] | None] = [None] * len(counts)
    for row in tokens.to_pylist():
        i = row["feature_id"]
        if row["rank"] == 0 and row["n_firing"] >= 20 and row["lift"] >= 2:
            precision, recall = row["n_firing"] / counts[i], row["n_firing"] / row["n_token"]
            base = row["n_token"] / n_rows
            numbers[i] = (precision, recall, base)
            text[i] = f"fires on `{row['token']}`"
    columns = [pa.array([None if n is None else n[k] for n in numbers], pa.float64()) for k in range(3)]
    return pa.array(text, pa.string()), columns[0], columns[1], columns[2]


def cross_entropies(data: Texts, rebuilt: Floats, n: int = 1024) -> dict[str, float | None]:
    x, y, token = data.x[:n].astype(np.float64), rebuilt[:n].astype(np.float64), data.row_token[:n]

    def log_p(inputs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        logits = SHARPNESS * inputs @ data.vectors.T.astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        result: npt.NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return result

    clean, spliced = log_p(x), log_p(y)
    rows = np.arange(len(x))
    ce = {
        "ce_clean": float(-clean[rows, token].mean()),
        "ce_sae": float(-spliced[rows, token].mean()),
        "ce_zero": float(-log_p(np.zeros_like(x))[rows, token].mean()),
        "ce_mean": float(-log_p(np.tile(x.mean(axis=0), (len(x), 1)))[rows, token].mean()),
    }
    return ce | {
        "ce_recovered": (ce["ce_zero"] - ce["ce_sae"]) / (ce["ce_zero"] - ce["ce_clean"]),
        "ce_recovered_mean": (ce["ce_mean"] - ce["ce_sae"]) / (ce["ce_mean"] - ce["ce_clean"]),
        "kl": float((np.exp(clean) * (clean - spliced)).sum(axis=1).mean()),
    }


def item_table(data: Texts, ids: npt.NDArray[np.int64]) -> pa.Table:
    owners = [data.documents[data.document[i]] for i in ids]
    return pa.table(
        {
            "item_id": ids,
            "token_ids": pa.array([data.items[i] for i in ids], pa.list_(pa.int32())),
            "tokens": [[data.vocabulary[t] for t in data.items[i]] for i in ids],
            "context_start": pa.array([data.starts[i] for i in ids], pa.int32()),
            "document_id": pa.array([data.document[i] for i in ids], pa.int64()),
            "kind": [owner.kind for owner in owners],
            "name": [owner.name for owner in owners],
            "language": [owner.language for owner in owners],
        }
    )


def describe(data: Texts) -> dict[str, Any]:
    joined = "\0".join(document.text for document in data.documents)
    return {
        "kind": "tokens",
        "path": "embedded:python",
        "data_sha256": hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest(),
        "model": "token vectors",
        "hook": "blocks.0.hook_resid_post",
        "split": None,
        "n_items": len(data.items),
        "n_positions": len(data.x),
        "excluded": 0,
        "context": 64,
        "packing": "pieces",
        "bos": "no",
    }


def write_entry(root: Path, sae_id: str, data: Texts, model: Model, curve: pa.Table, sweep: dict[str, Any]) -> str:
    """Build and publish one entry; the name of its version."""
    codes = model.codes(data.x)
    rebuilt = codes @ model.w_dec + model.b_dec
    firings = firings_of(data, codes)
    tokens = token_table(data, codes)
    features, interval = feature_table(model, firings, len(data.x), token_labels(tokens, firings.counts, len(data.x)))
    examples = example_table(codes, firings, interval, 1)
    first_row = np.searchsorted(data.row_item, np.arange(len(data.items) + 1))
    item, of = examples["item_id"].to_numpy(), examples["feature_id"].to_numpy()
    windows = [codes[first_row[i] : first_row[i + 1], j] for i, j in zip(item, of, strict=True)]
    lengths = np.array([len(window) for window in windows])
    examples = examples.append_column("window_start", pa.array(np.zeros(len(item), np.int32)))
    examples = examples.append_column("window_activations", _ragged(np.concatenate(windows), lengths, pa.float32()))
    sample = np.sort(np.random.default_rng(0).choice(len(data.items), N_SAMPLE, replace=False))
    kept = np.union1d(np.unique(item), sample)
    rows = [(int(i), int(r - first_row[i]), codes[r]) for i in sample for r in range(first_row[i], first_row[i + 1])]
    metrics = metric_values(data.x, codes, rebuilt) | cross_entropies(data, rebuilt)
    made_from = hashlib.sha256(repr((sae_id, model.architecture, model.k, codes.shape)).encode()).hexdigest()
    with EntryWriter(root, sae_id, made_from[:16]) as writer:
        if writer.published is not None:
            return writer.published
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(model, Path(folder))
            writer.write_checkpoint(folder)
        writer.write_table("features", features)
        writer.write_table("examples", examples)
        writer.write_table("items", item_table(data, kept))
        writer.write_table("top_tokens", tokens)
        writer.write_table("top_logits", logit_table(data, model.w_dec))
        writer.write_table("neighbours", neighbour_table(model.w_dec))
        writer.write_table("coactivations", coactivation_table(codes, firings.counts))
        writer.write_table("item_codes", item_code_table(rows))
        writer.write_table("training", curve)
        writer.write_table("metrics", metric_table(metrics, len(data.x), FORMULAS | CE_FORMULAS))
        return writer.publish(
            Manifest(
                sae_id=sae_id,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                saescope_version="0.1.0",
                architecture=model.architecture,
                d_in=model.w_enc.shape[0],
                d_out=model.w_dec.shape[1],
                n_features=codes.shape[1],
                firing_threshold=0.0,
                histogram_edges=EDGES,
                source=describe(data),
                n_positions=len(data.x),
                n_metric_positions=len(data.x),
                metrics=metrics,
                config={},
                sweep=sweep,
                seed=0,
            )
        )


def write_store(root: Path, n_features: int = 96, ks: Sequence[int] = (4, 8)) -> list[str]:
    """The small store of texts: a TopK sweep."""
    data = texts()
    dictionary, curve = learn_dictionary(data.x, n_features, seed=0)
    ids = [f"texts-topk-k{k}" for k in ks]
    for sae_id, k in zip(ids, ks, strict=True):
        sweep = {"name": "texts-topk", "parameter": "k", "value": k}
        write_entry(root, sae_id, data, fit(data.x, dictionary, "topk", k), curve, sweep)
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--features", type=int, default=96)
    parser.add_argument("--big", action="store_true", help="only one entry with 16,384 features")
    options = parser.parse_args()
    made = write_store(options.out, 16_384, (32,)) if options.big else write_store(options.out, options.features)
    print(f"{options.out}: {', '.join(made)}")


if __name__ == "__main__":
    main()
