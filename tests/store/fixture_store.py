"""Makes a small real store without torch, for tests and for looking at pages.

    PYTHONPATH=backend:store:dashboard python -m tests.store.fixture_store OUT [--features 128] [--big]

Scikit-learn's digits (1,797 pictures of 8 x 8), whole and as patches. A dictionary is learned by k-means (Lloyd's
steps, the inertia logged as the training curve); the encoder keeps the k largest products with it (or all above a
bias, for `relu`), the decoder is the ridge regression of the pictures on the codes. `--big` makes one entry with
16,384 features of patches, to measure speed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image
from sklearn.decomposition import PCA

from saescope.store.format.manifest import Manifest
from saescope.store.write.writer import EntryWriter
from tests.store.digits_sae import Data, Floats, Model, digits, fit, learn_dictionary, write_checkpoint

EDGES = [0.0, *(float(np.float32(2.0 ** (i / 4))) for i in range(-40, 41)), float(np.finfo(np.float32).max)]
BINS_PER_INTERVAL = 4
N_INTERVALS = 5
N_TOP, N_PER_INTERVAL, N_NEAR, N_SAMPLE = 20, 8, 16, 32


@dataclass(frozen=True)
class Firings:
    """Sparse codes, by feature, then |activation| descending, item, position."""

    feature: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    value: Floats
    n_features: int

    @staticmethod
    def of(codes: Floats, per_item: int) -> Firings:
        rows, features = np.nonzero(codes)
        values = codes[rows, features]
        order = np.lexsort((rows, -np.abs(values), features))
        rows, features, values = rows[order], features[order], values[order]
        return Firings(features, rows // per_item, rows % per_item, values, codes.shape[1])

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        return np.bincount(self.feature, minlength=self.n_features)


def _ragged(values: npt.NDArray[Any], counts: npt.NDArray[np.int64], kind: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, kind))


def _intervals(
    firings: Firings, histogram: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First bin of each interval [n_features, N_INTERVALS], strongest first, -1 = not used; and counts alike."""
    top_bin = np.where(histogram.any(axis=1), histogram.shape[1] - 1 - (histogram[:, ::-1] > 0).argmax(axis=1), 0)
    cumulative = np.concatenate([np.zeros((len(histogram), 1), np.int64), histogram.cumsum(axis=1)], axis=1)
    first = np.full((len(histogram), N_INTERVALS), -1)
    counts = np.zeros_like(first)
    upper = top_bin + 1
    for i in range(N_INTERVALS):
        lower = np.maximum(upper - BINS_PER_INTERVAL, 0) if i < N_INTERVALS - 1 else np.zeros_like(upper)
        used = upper > 0
        first[used, i] = lower[used]
        rows = np.arange(len(histogram))
        counts[:, i] = np.where(used, cumulative[rows, upper] - cumulative[rows, np.maximum(lower, 0)], 0)
        upper = np.where(used, lower, 0)
    return first, counts


AutoLabels = tuple[pa.Array, pa.Array, pa.Array, pa.Array]
"""Label, precision, recall and base rate of each feature."""


def feature_table(
    model: Model, firings: Firings, n_rows: int, labels: AutoLabels
) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """Table `features` and the interval of each firing."""
    m = firings.n_features
    counts = firings.counts
    alive = counts > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(firings.feature, firings.value, m) / counts
        spread = firings.value - mean[firings.feature]
        std = np.sqrt(np.bincount(firings.feature, spread**2, m) / counts)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    strongest = np.zeros(m, np.float32)
    strongest[alive] = firings.value[starts[alive]]
    bins = np.searchsorted(np.array(EDGES), np.abs(firings.value).astype(np.float64), side="right") - 1
    histogram = np.bincount(firings.feature * (len(EDGES) - 1) + bins, minlength=m * (len(EDGES) - 1)).reshape(m, -1)
    first_bin, interval_counts = _intervals(firings, histogram)
    interval = (bins[:, None] < first_bin[firings.feature]).sum(axis=1)
    used = first_bin >= 0
    dead = ~alive
    label, precision, recall, base = labels
    table = pa.table(
        {
            "feature_id": np.arange(m, dtype=np.int32),
            "n_firing": counts,
            "density": counts / n_rows,
            "mean_activation": pa.array(mean, mask=dead),
            "std_activation": pa.array(std, mask=dead),
            "max_activation": pa.array(strongest, mask=dead),
            "is_dead": dead,
            "is_dense": counts / n_rows > 0.1,
            "decoder_norm": np.linalg.norm(model.w_dec, axis=1).astype(np.float32),
            "encoder_bias": model.b_enc,
            "hist_counts": _ragged(histogram.ravel(), np.full(m, len(EDGES) - 1), pa.int64()),
            "interval_lower": _ragged(np.array(EDGES, np.float32)[first_bin[used]], used.sum(axis=1), pa.float32()),
            "interval_counts": _ragged(interval_counts[used], used.sum(axis=1), pa.int64()),
            "auto_label": label,
            "label_precision": precision,
            "label_recall": recall,
            "label_base_rate": base,
        }
    )
    return table, interval


def _auto_labels(firings: Firings, data: Data) -> AutoLabels:
    per_class = np.bincount(firings.feature * 10 + data.labels[firings.item], minlength=firings.n_features * 10)
    table = per_class.reshape(-1, 10)
    totals = np.bincount(data.labels, minlength=10)
    n = np.maximum(table.sum(axis=1, keepdims=True), 1)
    p = table / n
    base = totals / totals.sum()
    z = 1.96
    wilson = (p + z**2 / (2 * n) - z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)
    wilson[(p / base < 2) | (table < 20)] = -1
    best = wilson.argmax(axis=1)
    rows = np.arange(len(best))
    none = wilson[rows, best] < 0
    recall = table[rows, best] / (totals[best] * data.n_positions_per_item)
    return (
        pa.array([None if no else f"digit {digit}" for digit, no in zip(best, none, strict=True)], pa.string()),
        pa.array(p[rows, best], mask=none),
        pa.array(recall, mask=none),
        pa.array(base[best], mask=none),
    )


def example_table(codes: Floats, firings: Firings, interval: npt.NDArray[np.int64], per_item: int) -> pa.Table:
    n = len(firings.feature)
    order = np.arange(n)
    _, first_of_item = np.unique(firings.feature * 10**9 + firings.item, return_index=True)
    top = np.sort(first_of_item)
    starts = np.searchsorted(firings.feature[top], np.arange(firings.n_features))
    top_rank = np.arange(len(top)) - starts[firings.feature[top]]
    top, top_rank = top[top_rank < N_TOP], top_rank[top_rank < N_TOP]

    key = firings.feature * N_INTERVALS + interval
    lottery = np.random.default_rng(0).permutation(n)
    drawn = np.lexsort((lottery, key))
    place = np.arange(n) - np.searchsorted(key[drawn], key[drawn])
    chosen = np.sort(drawn[place < N_PER_INTERVAL])
    chosen = chosen[np.lexsort((order[chosen], key[chosen]))]
    rank = np.arange(len(chosen)) - np.searchsorted(key[chosen], key[chosen])

    rows = np.concatenate([chosen, top])
    kinds = np.repeat(["interval", "top"], [len(chosen), len(top)])
    intervals = np.concatenate([interval[chosen], np.zeros(len(top), np.int64)])
    table: dict[str, Any] = {
        "feature_id": firings.feature[rows].astype(np.int32),
        "kind": kinds,
        "interval": pa.array(intervals, pa.int8(), mask=np.concatenate([np.zeros(len(chosen)), np.ones(len(top))]) > 0),
        "rank": np.concatenate([rank, top_rank]).astype(np.int16),
        "item_id": firings.item[rows],
        "position": firings.position[rows].astype(np.int32),
        "activation": firings.value[rows],
    }
    if per_item > 1:
        cube = codes.reshape(-1, per_item, codes.shape[1])
        windows = cube[firings.item[rows], :, firings.feature[rows]]
        table["window_start"] = np.zeros(len(rows), np.int32)
        table["window_activations"] = _ragged(windows.ravel(), np.full(len(rows), per_item), pa.float32())
    return pa.table(table)


def item_table(data: Data, ids: npt.NDArray[np.int64]) -> pa.Table:
    pictures = []
    for i in ids:
        buffer = io.BytesIO()
        Image.fromarray(data.images[i]).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    labels = [str(label) for label in data.labels[ids]]
    ink = data.images[ids].reshape(len(ids), -1).mean(axis=1) / 255
    return pa.table({"item_id": ids, "image": pictures, "label": labels, "ink": ink})


def neighbour_table(w_dec: Floats) -> pa.Table:
    unit = w_dec / np.maximum(np.linalg.norm(w_dec, axis=1, keepdims=True), 1e-12)
    n_near = min(N_NEAR, len(unit) - 1)
    ids, cosines = [], []
    for start in range(0, len(unit), 1024):
        block = unit[start : start + 1024] @ unit.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        near = np.argpartition(-block, n_near - 1, axis=1)[:, :n_near]
        values = np.take_along_axis(block, near, axis=1)
        order = np.lexsort((near, -values))
        ids.append(np.take_along_axis(near, order, axis=1))
        cosines.append(np.take_along_axis(values, order, axis=1))
    feature = np.repeat(np.arange(len(unit)), n_near)
    return pa.table(
        {
            "feature_id": feature.astype(np.int32),
            "rank": np.tile(np.arange(n_near), len(unit)).astype(np.int16),
            "neighbour_id": np.concatenate(ids).ravel().astype(np.int32),
            "cosine": np.clip(np.concatenate(cosines).ravel(), -1, 1).astype(np.float32),
        }
    )


def coactivation_table(codes: Floats, counts: npt.NDArray[np.int64]) -> pa.Table:
    fires = (codes != 0).astype(np.float32)
    n_near = min(N_NEAR, codes.shape[1] - 1)
    features, ranks, others, boths, jaccards = [], [], [], [], []
    for start in range(0, codes.shape[1], 1024):
        both = np.rint(fires[:, start : start + 1024].T @ fires).astype(np.int64)
        rows = np.arange(len(both))
        both[rows, start + rows] = 0
        jaccard = both / np.maximum(counts[start : start + 1024, None] + counts - both, 1)
        near = np.sort(np.argpartition(-jaccard, n_near - 1, axis=1)[:, :n_near], axis=1)
        order = np.take_along_axis(
            near, np.argsort(-np.take_along_axis(jaccard, near, axis=1), axis=1, kind="stable"), axis=1
        )
        for i in rows:
            kept = order[i][both[i, order[i]] > 0]
            features += [start + i] * len(kept)
            ranks += range(len(kept))
            others += kept.tolist()
            boths += both[i, kept].tolist()
            jaccards += jaccard[i, kept].tolist()
    return pa.table(
        {
            "feature_id": pa.array(features, pa.int32()),
            "rank": pa.array(ranks, pa.int16()),
            "other_id": pa.array(others, pa.int32()),
            "n_both": pa.array(boths, pa.int64()),
            "jaccard": pa.array(jaccards, pa.float64()),
        }
    )


def item_code_table(rows: Sequence[tuple[int, int, Floats]]) -> pa.Table:
    """Table `item_codes` of (item, position, dense code), by item, then position."""
    code_rows = []
    for item_id, at, row in rows:
        fired = np.flatnonzero(row)
        fired = fired[np.lexsort((fired, -row[fired]))]
        code_rows.append((item_id, at, fired.tolist(), row[fired].tolist()))
    item, position, features, values = zip(*code_rows, strict=True)
    return pa.table(
        {
            "item_id": list(item),
            "position": pa.array(position, pa.int32()),
            "feature_ids": pa.array(features, pa.list_(pa.int32())),
            "activations": pa.array(values, pa.list_(pa.float32())),
        }
    )


def sample_tables(data: Data, codes: Floats, rebuilt: Floats, ids: npt.NDArray[np.int64]) -> tuple[pa.Table, pa.Table]:
    per_item = data.n_positions_per_item
    codes_table = item_code_table([(int(i), p, codes[i * per_item + p]) for i in ids for p in range(per_item)])
    error = ((rebuilt - data.x) ** 2).reshape(len(data.images), -1).mean(axis=1)
    pictures = [_picture(data, rebuilt, int(i)).ravel().tolist() for i in ids]
    reconstructions = pa.table(
        {
            "item_id": ids,
            "reconstruction": pa.array(pictures, pa.list_(pa.float32())),
            "mse": error[ids].astype(np.float64),
        }
    )
    return codes_table, reconstructions


def _picture(data: Data, rebuilt: Floats, item: int) -> Floats:
    """One rebuilt item in input shape: overlapping patches are averaged."""
    if data.patch is None or data.stride is None:
        return rebuilt[item].reshape(8, 8)
    total, weight = np.zeros((8, 8), np.float32), np.zeros((8, 8), np.float32)
    patches = rebuilt.reshape(-1, *data.grid, data.patch, data.patch)[item]
    for r in range(data.grid[0]):
        for c in range(data.grid[1]):
            rows = slice(r * data.stride, r * data.stride + data.patch)
            columns = slice(c * data.stride, c * data.stride + data.patch)
            total[rows, columns] += patches[r, c]
            weight[rows, columns] += 1
    return total / np.maximum(weight, 1)


def baseline_table(data: Data, components: Sequence[int]) -> pa.Table:
    """PCA on the same rows: l0 = components kept."""
    pca = PCA(min(data.x.shape[1], max(components)), svd_solver="full").fit(data.x)
    scores = pca.transform(data.x)
    variance = ((data.x - data.x.mean(axis=0)) ** 2).sum()
    rows = []
    for n in sorted({min(c, scores.shape[1]) for c in components}):
        error = ((data.x - pca.mean_ - scores[:, :n] @ pca.components_[:n]) ** 2).sum()
        rows.append(("pca", n, float(n), float(error / data.x.size), float(error / variance)))
    names, kept, l0, mse, fvu = zip(*rows, strict=True)
    return pa.table({"name": names, "n_components": pa.array(kept, pa.int32()), "l0": l0, "mse": mse, "fvu": fvu})


FORMULAS = {
    "l0": "mean over positions of the number of firing features",
    "fraction_active": "l0 / n_features",
    "l1": "mean over positions of sum_j |f_j|",
    "mse": "mean over positions and dimensions of (x - x_hat)^2",
    "fvu": "sum ||x - x_hat||^2 / sum ||x - mean(x)||^2",
    "explained_variance": "1 - fvu",
    "cosine": "mean over positions with x != 0 of cos(x, x_hat)",
    "n_dead": "features that fired at none of the positions",
    "n_dense": "features with density > 0.1",
}


def metric_values(inputs: Floats, codes: Floats, rebuilt: Floats) -> dict[str, float | None]:
    x, y = inputs.astype(np.float64), rebuilt.astype(np.float64)
    density = (codes != 0).mean(axis=0)
    l0 = float((codes != 0).sum() / len(codes))
    fvu = float(((x - y) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum())
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    filled = np.linalg.norm(x, axis=1) > 0
    return {
        "l0": l0,
        "fraction_active": l0 / codes.shape[1],
        "l1": float(np.abs(codes).sum(dtype=np.float64) / len(codes)),
        "mse": float(((x - y) ** 2).mean()),
        "fvu": fvu,
        "explained_variance": 1 - fvu,
        "cosine": float(((x * y).sum(axis=1)[filled] / np.maximum(norms[filled], 1e-12)).mean()),
        "n_dead": float((density == 0).sum()),
        "n_dense": float((density > 0.1).sum()),
    }


def metric_table(metrics: dict[str, float | None], n_positions: int, formulas: dict[str, str]) -> pa.Table:
    return pa.table(
        {
            "name": list(metrics),
            "value": list(metrics.values()),
            "n_positions": [n_positions] * len(metrics),
            "formula": [formulas[name] for name in metrics],
        }
    )


def describe(data: Data) -> dict[str, Any]:
    return {
        "kind": "pixels" if data.patch is None else "patches",
        "path": "embedded:digits",
        "data_sha256": hashlib.sha256(data.images.tobytes()).hexdigest(),
        "split": None,
        "n_items": len(data.images),
        "n_positions": len(data.x),
        "excluded": 0,
        "input_shape": [8, 8, 1],
        "patch": data.patch,
        "stride": data.stride,
        "grid": list(data.grid),
        "image_mode": "grey",
        "value_range": [0.0, 1.0],
    }


def write_entry(
    root: Path, sae_id: str, data: Data, model: Model, curve: pa.Table, sweep: dict[str, Any] | None, key: str = ""
) -> str:
    """Build and publish one entry; the name of its version."""
    per_item = data.n_positions_per_item
    codes = model.codes(data.x)
    rebuilt = codes @ model.w_dec + model.b_dec
    firings = Firings.of(codes, per_item)
    features, interval = feature_table(model, firings, len(data.x), _auto_labels(firings, data))
    examples = example_table(codes, firings, interval, per_item)
    sample = np.sort(np.random.default_rng(0).choice(len(data.images), N_SAMPLE, replace=False))
    kept = np.union1d(np.unique(examples["item_id"].to_numpy()), sample)
    item_codes, reconstructions = sample_tables(data, codes, rebuilt, sample)
    metrics = metric_values(data.x, codes, rebuilt)
    made_from = hashlib.sha256(repr((sae_id, model.architecture, model.k, codes.shape)).encode()).hexdigest()
    with EntryWriter(root, sae_id, key or made_from[:16]) as writer:
        if writer.published is not None:
            return writer.published
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(model, Path(folder))
            writer.write_checkpoint(folder)
        writer.write_table("features", features)
        writer.write_table("examples", examples)
        writer.write_table("items", item_table(data, kept))
        writer.write_table("neighbours", neighbour_table(model.w_dec))
        writer.write_table("coactivations", coactivation_table(codes, firings.counts))
        writer.write_table("item_codes", item_codes)
        writer.write_table("reconstructions", reconstructions)
        writer.write_table("baselines", baseline_table(data, (1, 2, 4, 8, 16, 32, 64)))
        writer.write_table("training", curve)
        writer.write_table("metrics", metric_table(metrics, len(data.x), FORMULAS))
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
                config={"n_top": N_TOP, "n_per_interval": N_PER_INTERVAL, "n_intervals": N_INTERVALS},
                sweep=sweep,
                seed=0,
            )
        )


def write_store(root: Path, n_features: int = 128, ks: Sequence[int] = (2, 4, 8, 16)) -> list[str]:
    """The whole small store: a TopK sweep and a ReLU entry on whole digits, a TopK entry on 4 x 4 patches."""
    whole, patches = digits(), digits(4, 2)
    dictionary, curve = learn_dictionary(whole.x, n_features, seed=0)
    ids = []
    for k in ks:
        sweep = {"name": "digits-topk", "parameter": "k", "value": k}
        ids.append(f"digits-topk-k{k}")
        write_entry(root, ids[-1], whole, fit(whole.x, dictionary, "topk", k), curve, sweep)
    ids.append("digits-relu")
    write_entry(root, ids[-1], whole, fit(whole.x, dictionary, "relu", None, bias=0.8), curve, None)
    dictionary, curve = learn_dictionary(patches.x, n_features, seed=1)
    ids.append("digits-patches")
    write_entry(root, ids[-1], patches, fit(patches.x, dictionary, "topk", 4), curve, None)
    return ids


def write_big(root: Path, n_features: int = 16_384) -> str:
    """One entry with many features, to measure speed."""
    data = digits(4, 2)
    dictionary, curve = learn_dictionary(data.x, n_features, seed=0)
    write_entry(root, "big", data, fit(data.x, dictionary, "topk", 32), curve, None)
    return "big"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--big", action="store_true", help="only one entry with 16,384 features")
    options = parser.parse_args()
    start = time.perf_counter()
    made = [write_big(options.out)] if options.big else write_store(options.out, options.features)
    print(f"{options.out}: {', '.join(made)} in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
