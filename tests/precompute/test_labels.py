"""What counts as a category."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from saescope.precompute.kernels.records import Postings
from saescope.precompute.tables.labels import label_features

WORDS = ["fr", "de", None, "fr", "it", "de"] * 50
FIRES = np.flatnonzero([word == "fr" for word in WORDS])


def label(values: Any) -> str | None:
    """The label of a feature that fires at every position of French items; items have one position."""
    postings = Postings(np.array([0, len(FIRES)]), FIRES.astype(np.int32))
    return label_features({"language": values}, {}, np.arange(len(WORDS)), postings, np.array([len(FIRES)])).name[0]


FORMS = {
    "list": WORDS,
    "strings": pa.array(WORDS),
    "large strings": pa.array(WORDS, pa.large_string()),
    "dictionary": pa.array(WORDS).dictionary_encode(),
    "dictionary with unused words": pa.array(["zz", None, *WORDS]).dictionary_encode()[2:],
    "chunks": pa.chunked_array([WORDS[:7], WORDS[7:]]),
    "chunks of dictionaries": pa.chunked_array(
        [pa.array(WORDS[:2]).dictionary_encode(), pa.array(WORDS[2:]).dictionary_encode()]
    ),
    "null in the dictionary": pa.DictionaryArray.from_arrays(
        pa.array([["it", None, "fr", "de"].index(word) for word in WORDS]), pa.array(["it", None, "fr", "de"])
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_category_is_found_in_every_form_of_a_column(form: str) -> None:
    assert label(FORMS[form]) == "language fr"


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0.5 if word == "fr" else 1.0 for word in WORDS]),
        pa.array([b"x" if word == "fr" else b"y" for word in WORDS]),
        pa.nulls(len(WORDS), pa.string()),
        pa.array(["fr"] * len(WORDS)),
    ],
)
def test_numbers_bytes_and_columns_of_one_value_are_no_categories(values: pa.Array) -> None:
    assert label(values) is None
