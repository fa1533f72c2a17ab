"""The store's `metrics`: each with its value, the positions behind it and its formula."""

from __future__ import annotations

import pyarrow as pa

from saescope.metrics import metric
from saescope.metrics.evaluation import Evaluation
from saescope.store.format.schema import schema_of


def metric_table(evaluation: Evaluation) -> pa.Table:
    names = sorted(evaluation.metrics)
    return pa.table(
        {
            "name": names,
            "value": pa.array([evaluation.metrics[n] for n in names], pa.float64()),
            "n_positions": pa.array([evaluation.positions_of(n) for n in names], pa.int64()),
            "formula": [metric(n).formula for n in names],
        },
        schema_of("metrics"),
    )
