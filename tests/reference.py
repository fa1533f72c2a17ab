"""Brute force: every number of a store, from a dense code matrix, one feature at a time, in plain NumPy.

An oracle for tests. It is slow, holds everything in memory and shares no code with the product. Shapes: codes
[position, n_features], item_ids and positions [position] (the item and the place of each row), threshold a number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.float32]


def firing(codes: Codes, threshold: float = 0.0) -> npt.NDArray[np.bool_]:
    """Where each feature fires [position, n_features]."""
    return np.abs(codes) > threshold


def feature_statistics(codes: Codes, edges: list[float], threshold: float = 0.0) -> list[dict[str, Any]]:
    """One dictionary per feature: n_firing, density, mean, std, max, is_dead, is_dense, hist_counts."""
    n_positions, n_features = codes.shape
    fires = firing(codes, threshold)
    rows = []
    for j in range(n_features):
        values = codes[fires[:, j], j].astype(np.float64)
        n = len(values)
        strongest = None
        for value in codes[fires[:, j], j]:
            if strongest is None or abs(value) > abs(strongest):
                strongest = value
        counts = [0] * (len(edges) - 1)
        for value in np.abs(values):
            counts[max(i for i in range(len(edges) - 1) if edges[i] <= value)] += 1
        rows.append(
            {
                "feature_id": j,
                "n_firing": n,
                "density": n / n_positions,
                "mean_activation": float(values.mean()) if n else None,
                "std_activation": float(math.sqrt(((values - values.mean()) ** 2).mean())) if n else None,
                "max_activation": None if strongest is None else float(strongest),
                "is_dead": n == 0,
                "is_dense": n / n_positions > 0.1,
                "hist_counts": counts,
            }
        )
    return rows


def top_examples(
    codes: Codes, item_ids: npt.NDArray[np.int64], positions: npt.NDArray[np.int64], k: int, threshold: float = 0.0
) -> list[list[tuple[int, int, float]]]:
    """Per feature the k strongest (item_id, position, activation), at most one per item.

    Ties: |activation| descending, then item_id ascending, then position ascending.
    """
    fires = firing(codes, threshold)
    result = []
    for j in range(codes.shape[1]):
        rows = [(int(item_ids[r]), int(positions[r]), float(codes[r, j])) for r in np.flatnonzero(fires[:, j])]
        rows.sort(key=lambda row: (-abs(row[2]), row[0], row[1]))
        chosen: list[tuple[int, int, float]] = []
        seen: set[int] = set()
        for row in rows:
            if row[0] not in seen and len(chosen) < k:
                seen.add(row[0])
                chosen.append(row)
        result.append(chosen)
    return result


def interval_of(activation: float, lower: list[float]) -> int:
    """The interval that holds |activation|: 0 = [lower[0], inf), i = [lower[i], lower[i - 1]); the last, all below."""
    for i, bound in enumerate(lower[:-1]):
        if abs(activation) >= bound:
            return i
    return len(lower) - 1


def interval_counts(values: Codes, lower: list[float], threshold: float = 0.0) -> list[int]:
    """Firings of one feature in each interval; `values` are its activations [position]."""
    counts = [0] * len(lower)
    for value in values:
        if abs(value) > threshold:
            counts[interval_of(float(value), lower)] += 1
    return counts


def neighbours(atoms: npt.NDArray[np.floating], k: int) -> list[list[tuple[int, float]]]:
    """Per feature the k (id, cosine) with the largest cosine of atoms [n_features, d_out], itself left out.

    Ties by id ascending. A zero atom has cosine 0 with everything.
    """
    wide = atoms.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1)
    result = []
    for i in range(len(wide)):
        row = []
        for j in range(len(wide)):
            if i != j:
                scale = norms[i] * norms[j]
                row.append((j, float(wide[i] @ wide[j] / scale) if scale > 0 else 0.0))
        row.sort(key=lambda pair: (-pair[1], pair[0]))
        result.append(row[:k])
    return result


def coactivations(codes: Codes, k: int, threshold: float = 0.0) -> list[list[tuple[int, int, float]]]:
    """Per feature the k (id, n_both, jaccard) with the largest Jaccard index, among those that ever fire with it.

    Ties by id ascending.
    """
    fires = firing(codes, threshold)
    result = []
    for i in range(codes.shape[1]):
        row = []
        for j in range(codes.shape[1]):
            both = int((fires[:, i] & fires[:, j]).sum())
            if i != j and both:
                row.append((j, both, both / int((fires[:, i] | fires[:, j]).sum())))
        row.sort(key=lambda triple: (-triple[2], triple[0]))
        result.append(row[:k])
    return result


def metrics(
    codes: Codes, x: npt.NDArray[np.floating], reconstruction: npt.NDArray[np.floating], threshold: float = 0.0
) -> dict[str, float | None]:
    """Every metric of an SAE over all rows of x and its reconstruction [position, d]."""
    wide, rebuilt = x.astype(np.float64), reconstruction.astype(np.float64)
    fires = firing(codes, threshold)
    n_positions, n_features = codes.shape
    error = ((wide - rebuilt) ** 2).sum()
    variance = ((wide - wide.mean(axis=0)) ** 2).sum()
    cosines = []
    for row, other in zip(wide, rebuilt, strict=True):
        if np.linalg.norm(row) > 0:
            scale = np.linalg.norm(row) * np.linalg.norm(other)
            cosines.append(float(row @ other / scale) if scale > 0 else 0.0)
    residual = wide - rebuilt
    centred = ((residual - residual.mean(axis=0)) ** 2).sum()
    filled = np.linalg.norm(wide, axis=1) > 0
    norms, norms_rebuilt = np.linalg.norm(wide[filled], axis=1), np.linalg.norm(rebuilt[filled], axis=1)
    l0 = fires.sum() / n_positions
    fvu = float(error / variance) if variance > 0 else None
    return {
        "l0": float(l0),
        "fraction_active": float(l0 / n_features),
        "l1": float(np.abs(codes.astype(np.float64)).sum() / n_positions),
        "mse": float(error / wide.size),
        "fvu": fvu,
        "explained_variance": None if fvu is None else 1 - fvu,
        "explained_variance_centred": float(1 - centred / variance) if variance > 0 else None,
        "nmse": float(((residual[filled] ** 2).sum(axis=1) / norms**2).mean()) if filled.any() else None,
        "l2_ratio": float((norms_rebuilt / norms).mean()) if filled.any() else None,
        "relative_reconstruction_bias": float((rebuilt**2).sum() / (wide * rebuilt).sum()) if rebuilt.any() else None,
        "n_zero_inputs": float((~filled).sum()),
        "cosine": float(np.mean(cosines)) if cosines else None,
        "n_dead": float((fires.sum(axis=0) == 0).sum()),
        "dead_fraction": float((fires.sum(axis=0) == 0).mean()),
        "n_dense": float((fires.sum(axis=0) / n_positions > 0.1).sum()),
    }
