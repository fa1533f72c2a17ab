"""Rows of the store's table `baselines`: each method at several sparsities, on the data that judges the SAEs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from saescope.autoencoders.protocol import Autoencoder
from saescope.baselines.fitting import autoencoder, completed
from saescope.baselines.method import DRAW, Atoms
from saescope.baselines.pca import FVU_TRANSFORMED, pca_baseline
from saescope.baselines.registry import Method
from saescope.baselines.settings import doubling
from saescope.metrics.reconstruction import MetricSums
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import ActivationTable
from saescope.store.errors import DataError
from saescope.store.format.schema import schema_of
from saescope.store.numbers import count

BLOCK_VALUES = 2**22
"""Codes, or values of activations, at a time."""
MOST_PRODUCTS = 2**35
"""Of positions and atoms, value by value, in one measurement: some seconds. Wide dictionaries see fewer positions."""
EXTRA = (
    pa.field("n_atoms", pa.int32()),
    pa.field("seconds", pa.float64()),
    pa.field("note", pa.string()),
)
"""Columns beside those of the schema."""


def baseline_rows(
    methods: Sequence[Method],
    train: ActivationTable,
    evaluate: ActivationTable,
    n_features: int,
    *,
    seed: int = 0,
    whitening: Float[np.ndarray, "d_in d_in"] | None = None,
    skipped: Callable[[str], None] = lambda _: None,
    progress: Progress = SILENT,
) -> pa.Table:
    """The rows of `methods`, each fitted on `train` and measured on `evaluate`, beside SAEs with `n_features`.

    `n_components` is the number of atoms of one position, or of all where nothing else bounds them (nmf); `n_atoms`
    that of the dictionary, `seconds` the time to fit it, `note` which rows were drawn. l0, mse and fvu are those of
    `saescope.metrics`, and with a `whitening` matrix `fvu_transformed` is the FVU of x @ whitening. Where a method
    cannot be fitted on this data, `skipped` hears why, and there are no rows of it.
    """
    rows: list[dict[str, Any]] = []
    known: dict[tuple[Any, ...], tuple[Atoms, float]] = {}
    for number, method in enumerate(methods):
        progress.update("measuring baselines", number, len(methods))
        try:
            if method.name == "pca":
                rows += _pca_rows(train, evaluate, whitening)
            else:
                rows += _rows(method, train, evaluate, n_features, seed, whitening, known)
        except DataError as error:
            skipped(f"no rows of the baseline {method.name}: {error.message}")
    progress.update("measuring baselines", len(methods), len(methods))
    transformed = () if whitening is None else (pa.field(FVU_TRANSFORMED, pa.float64()),)
    rows.sort(key=lambda row: (row["name"], row["n_components"]))
    return pa.Table.from_pylist(rows, schema=schema_of("baselines", (*transformed, *EXTRA)))


def _pca_rows(
    train: ActivationTable, evaluate: ActivationTable, whitening: Float[np.ndarray, "d_in d_in"] | None
) -> list[dict[str, Any]]:
    """All numbers of components at once, on all rows."""
    started = time.perf_counter()
    counts = doubling(min(train.d_in, train.n_rows))
    rows = pca_baseline(train, evaluate, counts, whitening).to_pylist()
    seconds = time.perf_counter() - started
    note = _note(train.n_rows, train.n_rows, evaluate.n_rows, evaluate.n_rows)
    return [{**row, "n_atoms": row["n_components"], "seconds": seconds, "note": note} for row in rows]


def _rows(
    method: Method,
    train: ActivationTable,
    evaluate: ActivationTable,
    n_features: int,
    seed: int,
    whitening: Float[np.ndarray, "d_in d_in"] | None,
    known: dict[tuple[Any, ...], tuple[Atoms, float]],
) -> list[dict[str, Any]]:
    """Those of one method; `known` keeps what was fitted, with the seconds that it took."""
    rows = []
    kind: Any = method.settings
    curve = kind(seed=seed).curve(n_features, train.d_in, train.n_rows)
    size = max(settings.n_components for settings in curve) * train.d_in
    judged = _measured_rows(evaluate, min(kind.measured_rows, max(1, MOST_PRODUCTS // size)), seed)
    for settings in curve:
        complete = completed(method, train, settings)
        key = (method.fit_at, replace(complete, k=None))
        if key not in known:
            started = time.perf_counter()
            found = method.fit(train, complete, SILENT)
            known[key] = found, time.perf_counter() - started
        found, seconds = known[key]
        if complete.k is not None and complete.k > len(found.atoms):
            continue
        sae = autoencoder(method, found, complete)
        values = measured(sae, judged, whitening).values(sae.n_features)
        rows.append(
            {
                "name": method.name,
                "n_components": complete.k or sae.n_features,
                **{name: values.get(name) for name in ("l0", "mse", "fvu", FVU_TRANSFORMED)},
                "n_atoms": sae.n_features,
                "seconds": seconds,
                "note": _note(found.n_rows, train.n_rows, len(judged), evaluate.n_rows),
            }
        )
    return rows


@torch.no_grad()
def measured(
    sae: Autoencoder,
    rows: Float[torch.Tensor, "row d_in"],
    whitening: Float[np.ndarray, "d_in d_in"] | None = None,
) -> MetricSums:
    """Metrics of an autoencoder over `rows`."""
    matrix = None if whitening is None else torch.from_numpy(np.asarray(whitening, dtype=np.float32))
    sums = MetricSums(sae.d_out, matrix)
    for x in rows.split(max(1, BLOCK_VALUES // max(sae.n_features, sae.d_in))):
        codes = sae.encode(x)
        n_firing = int((codes.abs() > sae.config.firing_threshold).sum())
        sums.add(x, sae.reconstruct(x, codes), n_firing, float(codes.abs().sum(dtype=torch.float64)))
    return sums


def _measured_rows(table: ActivationTable, most: int, seed: int) -> Float[torch.Tensor, "row d_in"]:
    """At most so many rows of a table, a seeded draw of them in its order."""
    n = min(table.n_rows, most, max(1, 2**27 // table.d_in))
    chosen = np.arange(table.n_rows, dtype=np.int64)
    if n < table.n_rows:
        rng = np.random.default_rng([seed, DRAW, 1])
        chosen = np.sort(rng.choice(table.n_rows, size=n, replace=False)).astype(np.int64)
    return table.rows(chosen).cpu().float()


def _note(n_fitted: int, n_train: int, n_judged: int, n_evaluated: int) -> str:
    fitted = f"fitted on {count(n_fitted)} of {count(n_train)} training rows"
    return f"{fitted}, measured on {count(n_judged)} of {count(n_evaluated)}"
