"""Anomaly detection by members of the family against PCA and an isolation forest, on the same items.

python benchmarks/anomalies.py --mnist MNIST [--digits 0,1,2] [--steps 2000] [--threads 2] [--json OUT]
python benchmarks/anomalies.py --small       scikit-learn's digits in the place of MNIST, and few steps

MNIST: one digit at a time is the anomaly. Members, PCA and the forest are fitted on the training split without it, and
judged by the test split with it: the AUC of each. Members are judged by the mean squared error (mse), the error
whitened by the covariance of normal residuals (whitened), and the density of code and relative error (joint: a mixture
of 20 Gaussians). PCA is tried with several numbers of components, of which the best by its mean over the digits counts.
Tables have no splits: normal items are divided as `saescope train` divides them, and every anomaly is judged.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from saescope.anomalies.options import FitOptions, ReportOptions
from saescope.sources import DataOptions, SourceOptions, held_out, open_source
from saescope.training import TrainingConfig
from saescope.workflows import train
from saescope.workflows.anomalies import fit_anomalies, report_anomalies

COMPONENTS = (8, 16, 32, 64, 128)
Aucs = dict[str, float]


def quiet(text: str) -> None:
    """Notes on what counts as normal are no result."""


def member(
    normal: DataOptions, judged: DataOptions, anomaly: str, config: TrainingConfig, components: int, *, divided: bool
) -> Aucs:
    """AUC of every signal of one member, trained on `normal` and judged by `judged`."""
    found: Aucs = {}
    name = config.architecture
    with tempfile.TemporaryDirectory() as folder:
        sae = Path(folder) / "sae"
        began = time.perf_counter()
        train(normal, config, sae, note=quiet)
        found[f"{name} seconds"] = time.perf_counter() - began
        fits = {
            "mse": FitOptions(anomaly=anomaly, score="mse", references=False),
            "whitened": FitOptions(anomaly=anomaly, score="whitened", code_components=components),
        }
        for score, options in fits.items():
            detector = Path(folder) / score
            fit_anomalies(sae, normal if divided else judged, detector, options, note=quiet)
            report = ReportOptions(bootstrap=100, leave_out_seen=not divided)
            metrics = report_anomalies(detector, judged, report, note=quiet).judged.metrics
            found[f"{name} {score}"] = metrics["error"]["auc"]
            if "joint" in metrics:
                found[f"{name} joint"] = metrics["joint"]["auc"]
            if "isolation_forest" in metrics:
                found["isolation forest"] = metrics["isolation_forest"]["auc"]
    return found


def pca(rows: np.ndarray, judged: np.ndarray, truth: np.ndarray) -> Aucs:
    """AUC of the mean squared residual, by the number of components."""
    fitted = PCA(min(max(COMPONENTS), *rows.shape), svd_solver="full").fit(rows.astype(np.float64))
    centred = judged - fitted.mean_
    found = {}
    for n in COMPONENTS:
        if n < rows.shape[1]:
            axes = fitted.components_[:n]
            residual = centred - centred @ axes.T @ axes
            found[f"PCA {n}"] = float(roc_auc_score(truth, (residual**2).mean(axis=1)))
    return found


def values(options: DataOptions, *, training: bool) -> tuple[np.ndarray, np.ndarray]:
    """All rows of a source, and their labels."""
    source = open_source(options, "train" if training else "evaluate")
    rows = source.table().rows(np.arange(source.n_items)).numpy()
    return rows, np.array(source.metadata()["label"].to_pylist())


def images(path: str, digits: list[int], steps: int) -> dict[str, Aucs]:
    """Each digit held out."""
    found: dict[str, Aucs] = {}
    layers = {"encoder_widths": (512, 256), "decoder_widths": (256, 512)}
    members = (  # the code of the second is too wide for a density
        (TrainingConfig("undercomplete", 32, steps=steps, batch_size=256, **layers), 20),
        (TrainingConfig("topk", 1024, k=16, steps=steps, batch_size=256), 0),
    )
    for digit in digits:
        normal = SourceOptions(images=path, without_labels=str(digit))
        judged = SourceOptions(images=path)
        aucs: Aucs = {}
        for config, components in members:
            aucs |= member(normal, judged, str(digit), config, components, divided=True)
        rows, (test, labels) = values(normal, training=True)[0], values(judged, training=False)
        aucs |= pca(rows, test, labels == str(digit))
        found[str(digit)] = aucs
        print(f"digit {digit}: " + ", ".join(f"{name} {value:.3f}" for name, value in aucs.items()), flush=True)
    return found


def tables(steps: int) -> dict[str, Aucs]:
    """scikit-learn's tables, one class each as the anomaly."""
    found: dict[str, Aucs] = {}
    for name, anomaly in (("breast_cancer", "malignant"), ("wine", "class_1"), ("digits", "1"), ("digits", "8")):
        given = {"table": f"embedded:{name}"}
        normal = SourceOptions(**given, without_labels=anomaly)
        width = open_source(normal, "train").d_in
        wide = max(32, 2 * width)
        aucs: Aucs = {}
        small = {"steps": steps, "batch_size": 64}
        for config in (
            TrainingConfig(
                "undercomplete", max(2, width // 4), encoder_widths=(wide,), decoder_widths=(wide,), **small
            ),
            TrainingConfig("topk", 2 * width, k=max(2, width // 6), **small),
        ):
            aucs |= member(normal, SourceOptions(**given), anomaly, config, 4, divided=False)
        rows, _ = values(normal, training=True)
        kept = ~held_out(len(rows))
        with tempfile.TemporaryDirectory() as folder:  # all rows, encoded as those of the training
            record = Path(folder) / "columns.json"
            columns = open_source(normal, "train").describe()["columns"]
            record.write_text(json.dumps({"columns": columns}), encoding="utf-8")
            others, labels = values(SourceOptions(**given, columns_from=str(record)), training=False)
        others = others[labels == anomaly]
        judged = np.concatenate([rows[~kept], others])
        truth = np.arange(len(judged)) >= len(judged) - len(others)
        aucs |= pca(rows[kept], judged, truth)
        found[f"{name}: {anomaly}"] = aucs
        print(f"{name}, {anomaly}: " + ", ".join(f"{n} {v:.3f}" for n, v in aucs.items()), flush=True)
    return found


def summary(found: dict[str, Aucs]) -> Aucs:
    """Mean over the held-out classes of each method; methods that were not tried on all are left out."""
    names = [name for name in next(iter(found.values())) if all(name in aucs for aucs in found.values())]
    means = {name: float(np.mean([aucs[name] for aucs in found.values()])) for name in names}
    scored = {name: value for name, value in means.items() if not name.endswith("seconds")}
    is_reference = {name: name.startswith("PCA") or name == "isolation forest" for name in scored}
    members = {name: value for name, value in scored.items() if not is_reference[name]}
    references = {name: value for name, value in scored.items() if is_reference[name]}
    best, reference = max(members, key=members.__getitem__), max(references, key=references.__getitem__)
    for name, value in sorted(means.items(), key=lambda pair: -pair[1]):
        print(f"| {name} | {value:.3f} |")
    print(
        f"best member: {best}, {members[best]:.3f}; best reference: {reference}, {references[reference]:.3f}; ", end=""
    )
    print(f"above it by {members[best] - references[reference]:+.3f}", flush=True)
    return means


def main() -> None:
    """Prints a line for each held-out class, then the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", help="folder of MNIST")
    parser.add_argument("--digits", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="one digit of scikit-learn's, few steps")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results: dict[str, dict[str, Aucs]] = {}
    if given.small:
        results["tables"] = tables(steps=30)
    else:
        results["tables"] = tables(steps=1000)
        if given.mnist:
            results["mnist"] = images(given.mnist, [int(digit) for digit in given.digits.split(",")], given.steps)
    means = {name: summary(found) for name, found in results.items()}
    if given.json:
        given.json.write_text(json.dumps({"aucs": results, "means": means}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
