"""Tables that come with scikit-learn."""

from __future__ import annotations

import pyarrow as pa

from saescope.store.errors import OptionError

PREFIX = "embedded:"
NAMES = ("breast_cancer", "wine", "digits")
LABEL_WORDS = {"breast_cancer": "diagnosis", "wine": "cultivar", "digits": "digit"}


def embedded_table(path: str) -> pa.Table:
    """The table that 'embedded:NAME' names: columns of numbers, and `label`."""
    name = path.removeprefix(PREFIX)
    if name not in NAMES:
        known = " or ".join(PREFIX + each for each in NAMES)
        raise OptionError(f"there is no embedded table {name!r}; expected {known}")
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    words = [str(word) for word in bunch.target_names]
    columns = {str(n): pa.array(bunch.data[:, i]) for i, n in enumerate(bunch.feature_names)}
    return pa.table({**columns, "label": pa.array([words[t] for t in bunch.target.tolist()], pa.string())})
