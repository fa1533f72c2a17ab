"""An isolation forest (Liu, Ting & Zhou 2008) as arrays: fitted by scikit-learn, kept and applied without pickle.

s(x) = 2^(-E[h(x)] / c(n)) with the mean depth h over trees of subsamples of n, and c(n) the mean depth of an
unsuccessful search in a binary tree: what `-IsolationForest.score_samples` gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from sklearn.ensemble import IsolationForest

N_TREES = 100
MOST_ROWS = 20_000
"""Rows that it is fitted on at most; each tree sees 256 of them."""


@dataclass(frozen=True)
class Forest:
    """Nodes of all trees, one after another."""

    starts: np.ndarray
    """First node of each tree."""
    left: np.ndarray
    """Left child in its tree; -1 for a leaf."""
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    depth: np.ndarray
    """Of each leaf: its depth, and c(its samples)."""
    n_samples: int
    """Rows of each tree."""

    @staticmethod
    def fit(rows: Float32[np.ndarray, "row d"], seed: int) -> Forest:
        fitted = IsolationForest(n_estimators=N_TREES, random_state=seed).fit(rows)
        trees = [estimator.tree_ for estimator in fitted.estimators_]
        columns = [np.asarray(names) for names in fitted.estimators_features_]
        return Forest(
            np.cumsum([0, *(tree.node_count for tree in trees[:-1])]).astype(np.int64),
            np.concatenate([tree.children_left for tree in trees]).astype(np.int64),
            np.concatenate([tree.children_right for tree in trees]).astype(np.int64),
            np.concatenate(
                [names[np.maximum(tree.feature, 0)] for tree, names in zip(trees, columns, strict=True)]
            ).astype(np.int64),
            np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
            np.concatenate([_leaf_depths(tree) for tree in trees]),
            int(fitted.max_samples_),
        )

    def scores(self, rows: Float32[np.ndarray, "row d"]) -> Float64[np.ndarray, " row"]:
        """s of each row, between 0 and 1; higher is more anomalous."""
        total = np.zeros(len(rows))
        everyone = np.arange(len(rows))
        for start in self.starts:
            node = np.full(len(rows), start)
            inner = everyone if self.left[start] >= 0 else everyone[:0]  # a tree of equal rows is a leaf
            while len(inner):
                at = node[inner]
                goes_left = rows[inner, self.feature[at]].astype(np.float64) <= self.threshold[at]
                node[inner] = start + np.where(goes_left, self.left[at], self.right[at])
                inner = inner[self.left[node[inner]] >= 0]
            total += self.depth[node]
        return np.exp2(-total / (len(self.starts) * mean_depth(np.array([self.n_samples]))[0]))


def mean_depth(n: np.ndarray) -> Float64[np.ndarray, " n"]:
    """c(n): 0 for one sample, 1 for two, 2 (ln(n - 1) + Euler's constant) - 2 (n - 1) / n for more."""
    n = n.astype(np.float64)
    more = 2.0 * (np.log(np.maximum(n - 1.0, 1.0)) + np.euler_gamma) - 2.0 * (n - 1.0) / np.maximum(n, 1.0)
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, more))


def _leaf_depths(tree: object) -> Float64[np.ndarray, " node"]:
    """Depth of each node below the root, and c(samples) of the leaves."""
    left, right = tree.children_left, tree.children_right  # type: ignore[attr-defined]
    depth = np.zeros(len(left))
    for node in range(len(left)):  # a child has a higher number than its parent
        if left[node] >= 0:
            depth[left[node]] = depth[right[node]] = depth[node] + 1
    samples = np.asarray(tree.n_node_samples)  # type: ignore[attr-defined]
    return depth + np.where(left < 0, mean_depth(samples), 0.0)
