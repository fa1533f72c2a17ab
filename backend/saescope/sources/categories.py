"""Columns of metadata that put items into categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64


def categories(values: Any) -> tuple[list[str], Int64[np.ndarray, " n_items"]]:
    """Distinct values as text, and the index of each item's (-1 where unknown). Only strings, booleans and integers
    are categories."""
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    kind = array.type.value_type
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
    ):
        return [], np.empty(0, np.int64)
    place = pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    used = np.unique(place[place >= 0])
    words = array.dictionary.take(pa.array(used))
    names = pc.unique(words.drop_null()).sort()
    code = np.full(len(array.dictionary) + 1, -1, np.int64)  # the last one is that of place -1
    code[used] = pc.fill_null(pc.index_in(words, names), -1).to_numpy(zero_copy_only=False)
    return [str(name) for name in names.to_pylist()], code[place]
