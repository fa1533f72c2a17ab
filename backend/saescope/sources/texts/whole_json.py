"""A file that is one JSON object: a document, or a wrapper around a list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saescope.sources.files import listed
from saescope.sources.texts.columns import form_of_value, named_column, value_at
from saescope.store.errors import DataError


def documents_of(whole: Mapping[str, Any], wanted: str | None, subject: str) -> Sequence[Any]:
    """The records in the object's only list of them, such as {"data": [{"text": "..."}, ...]}, or the object itself.

    It is a document where it has the `wanted` column, or one that is called as documents usually are; else a list of
    records that have such a column is taken, or, where the object has nothing else to read, any list of records.
    `DataError` with the names where that leaves a choice.
    """
    if _holds_document(whole, wanted):
        return [whole]
    forms = {name: form_of_value(name, value, False) for name, value in whole.items()}
    own = [name for name, form in forms.items() if form is not None]
    lists = [name for name, form in forms.items() if form is None and _is_records(whole[name])]
    chosen = [name for name in lists if _holds_document(whole[name][0], wanted)] or ([] if own else lists)
    if len(chosen) > 1:
        raise DataError(
            f"{subject}: one object with several lists of records: {listed(chosen)}",
            "write each to a file of its own, as an array, such as train.json and test.json",
        )
    if lists and not chosen and wanted is None:
        raise DataError(
            f"{subject}: one object, and the documents may be its {listed(own)} or the records of {listed(lists)}",
            "name the column of the texts with --text-key",
        )
    return whole[chosen[0]] if chosen else [whole]


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _holds_document(row: Mapping[str, Any], wanted: str | None) -> bool:
    if wanted is not None:
        return value_at(row, wanted) is not None
    return named_column({name: form_of_value(name, value, False) for name, value in row.items()}) is not None
