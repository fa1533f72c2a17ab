"""What a query means: a tree of the search language to a condition in SQL with bound parameters.

Nothing of the query's text ever becomes part of the SQL: columns and flags are looked up in the tables below, and
every value is a parameter. Conditions are two-valued: a comparison with null is false, so `not` means what it says.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from saescope.store import token_text
from saescope.store.annotations import Annotation
from saescope.store.errors import QueryError
from saescope.store.format.schema import TABLES
from saescope.store.search import query as q

NUMERIC_COLUMNS: dict[str, pa.DataType] = {
    c.name: c.type for c in TABLES["features"].columns if pa.types.is_integer(c.type) or pa.types.is_floating(c.type)
}
"""Columns of `features` that a query can compare, with their types."""

ALIASES = {
    "id": "feature_id",
    "firings": "n_firing",
    "max": "max_activation",
    "mean": "mean_activation",
    "std": "std_activation",
    "norm": "decoder_norm",
    "bias": "encoder_bias",
    "precision": "label_precision",
    "recall": "label_recall",
}

FLAGS = {
    "dead": "f.is_dead",
    "live": "NOT f.is_dead",
    "dense": "f.is_dense",
    "starred": "coalesce(n.is_starred, false)",
    "labelled": "n.user_label IS NOT NULL",
    "labeled": "n.user_label IS NOT NULL",
    "commented": "coalesce(n.is_commented, false)",
}

NOTES = """notes AS (
    SELECT unnest($note_ids::INTEGER[]) AS feature_id, unnest($note_labels::VARCHAR[]) AS user_label,
           unnest($note_stars::BOOLEAN[]) AS is_starred, unnest($note_comments::BOOLEAN[]) AS is_commented)"""
"""What people added, as a table of bound lists; conditions call it `n` and the features `f`."""

FROM = "features f LEFT JOIN notes n USING (feature_id)"


WHITE_SPACE = " \n\r\t"

_BETWEEN_WORDS = r"[^0-9A-Za-z_\x{C0}-\x{1FFF}\x{2C00}-\x{2FFF}\x{3040}-\x{10FFFF}]"
"""One character that is part of no word. Unicode's own classes (\\p{L}) would compile four times slower."""


@dataclass
class Condition:
    """A condition over `FROM`, to be used with the common table `NOTES` and its `parameters`."""

    sql: str
    parameters: dict[str, Any] = field(default_factory=dict)
    only_id: int | None = None
    """The id where the query is a bare number: that feature comes first."""
    relevance: str = "0 * f.feature_id"
    """SQL of how well a feature fits the tokens and texts that are searched: the more the better. It needs
    `relevance_parameters` as well."""
    relevance_parameters: dict[str, Any] = field(default_factory=dict)


class Searched(Protocol):
    """What a query asks of the entry that it searches, beside its features."""

    def has_table(self, name: str) -> bool: ...

    def features_with_text(self, text: str) -> dict[int, float]: ...


def condition(text: str, notes: Mapping[int, Annotation], entry: Searched) -> Condition:
    """Parse and bind a query. Raises `QueryError` where it does not parse or names what does not exist."""
    ids = sorted(notes)
    parameters: dict[str, Any] = {
        "note_ids": ids,
        "note_labels": [notes[i].label for i in ids],
        "note_stars": [notes[i].starred for i in ids],
        "note_comments": [bool(notes[i].comments) for i in ids],
    }
    binder = _Binder(notes, parameters, entry)
    tree = q.parse(text)
    if tree is None:
        return Condition("true", parameters)
    if isinstance(tree, q.Word) and tree.text.isdecimal():
        only_id = int(tree.text)
        return Condition(f"({binder.sql(q.Ids(only_id, only_id))} OR {binder.sql(tree)})", parameters, only_id)
    sql = binder.sql(tree)
    if not binder.scores:
        return Condition(sql, parameters)
    return Condition(sql, parameters, relevance=" + ".join(binder.scores), relevance_parameters=binder.shares)


RANKED = ("token", "raises", "lowers", "text")
"""Fields whose matches fit more or less well."""


def is_ranked(text: str) -> bool:
    """Whether a query has a field by which its matches can be ranked. Raises `QueryError`."""
    tree = q.parse(text)
    return tree is not None and not q.fields(tree).isdisjoint(RANKED)


class _Binder:
    def __init__(self, notes: Mapping[int, Annotation], parameters: dict[str, Any], entry: Searched) -> None:
        self.notes = notes
        self.parameters = parameters
        self.entry = entry
        self.scores: list[str] = []
        self.shares: dict[str, list[float]] = {}
        self.fields: dict[str, Callable[[q.Field], str]] = {
            "is": lambda node: self.flag(node.value),
            "in": lambda node: self.in_list(node.value),
            "token": lambda node: self.of_token(node, "top_tokens"),
            "raises": lambda node: self.of_token(node, "top_logits", "sign > 0 AND"),
            "lowers": lambda node: self.of_token(node, "top_logits", "sign < 0 AND"),
            "text": lambda node: self.in_examples(node.value),
        }

    def bind(self, value: Any) -> str:
        name = f"q{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"

    def sql(self, node: q.Node) -> str:
        match node:
            case q.And(parts):
                return "(" + " AND ".join(self.sql(part) for part in parts) + ")"
            case q.Or(parts):
                return "(" + " OR ".join(self.sql(part) for part in parts) + ")"
            case q.Not(part):
                return f"(NOT {self.sql(part)})"
            case q.Ids(first, last):
                return f"(f.feature_id BETWEEN {self.bind(float(first))} AND {self.bind(float(last))})"
            case q.Word("starred" | "Starred"):
                return self.flag("starred")
            case q.Word(text):
                return self.text(text, whole=text.isdecimal())
            case q.Phrase(text):
                return self.text(text, whole=True)
            case q.Comparison(left, op, right):
                return f"coalesce({self.operand(left, right)} {op} {self.operand(right, left)}, false)"
            case q.Field(name, value):
                if name not in self.fields:
                    raise QueryError(
                        f"no field {name!r} (in {name}:{value})",
                        f"use {', '.join(f'{n}:' for n in self.fields)} or put the text in quotation marks",
                    )
                if not value:
                    raise QueryError(f"nothing after {name}:", f"for example {name}:cat" if name != "is" else None)
                return self.fields[name](node)

    def text(self, text: str, whole: bool) -> str:
        """Labels that hold `text` from the beginning of a word, and to the end of one if `whole`; case is ignored."""
        start = f"(^|{_BETWEEN_WORDS})" if text[0].isascii() and text[0].isalnum() else ""
        end = f"($|{_BETWEEN_WORDS})" if whole and text[-1].isascii() and text[-1].isalnum() else ""
        pattern = self.bind(start + re.escape(text) + end)
        tests = [f"regexp_matches(coalesce({c}, ''), {pattern}, 'i')" for c in ("f.auto_label", "n.user_label")]
        return "(" + " OR ".join(tests) + ")"

    def of_token(self, node: q.Field, table: str, which: str = "") -> str:
        """Features that list a token: exactly as given in quotation marks, else whatever its case and the white space
        around it. None in an entry without such a table."""
        if not self.entry.has_table(table):
            return "false"
        text = node.value if node.exact else token_text.typed(node.value)
        if node.exact or text != node.value or not text.strip(WHITE_SPACE):
            same = f"token = {self.bind(text)}"
        else:
            same = f"lower(trim(token, {self.bind(WHITE_SPACE)})) = {self.bind(text.strip(WHITE_SPACE).lower())}"
        score = "max(t.n_firing / f.n_firing)" if table == "top_tokens" else "max(abs(t.logit))"
        self.scores.append(
            f"coalesce((SELECT {score} FROM {table} t WHERE t.feature_id = f.feature_id AND {which} {same}), 0)"  # noqa: S608
        )
        return f"(f.feature_id IN (SELECT feature_id FROM {table} WHERE {which} {same}))"  # noqa: S608 - our names

    def in_examples(self, text: str) -> str:
        found = self.entry.features_with_text(token_text.typed(text))
        ids, shares = self.bind(list(found)), f"shares{len(self.shares)}"
        self.shares[shares] = list(found.values())
        listed = f"SELECT unnest({ids}::INTEGER[]) AS feature_id, unnest(${shares}::DOUBLE[]) AS share"
        self.scores.append(f"coalesce((SELECT share FROM ({listed}) s WHERE s.feature_id = f.feature_id), 0)")  # noqa: S608
        return f"(f.feature_id IN (SELECT unnest({ids}::INTEGER[])))"

    def operand(self, operand: str | float, other: str | float) -> str:
        if isinstance(operand, str):
            return f"f.{column(operand)}"
        kind = NUMERIC_COLUMNS[column(other)] if isinstance(other, str) else pa.float64()
        narrow = pa.types.is_float32(kind) and abs(operand) < 3e38
        return f"{self.bind(operand)}::{'FLOAT' if narrow else 'DOUBLE'}"  # 5.1 must equal the stored 5.1

    def flag(self, value: str) -> str:
        if value.lower() not in FLAGS:
            raise QueryError(f"no flag is:{value}", _nearest(value, FLAGS, "is:"))
        return f"({FLAGS[value.lower()]})"

    def in_list(self, value: str) -> str:
        lists: dict[str, list[int]] = {}
        for i, note in self.notes.items():
            for name in note.lists:
                lists.setdefault(name.lower(), []).append(i)
        if value.lower() not in lists:
            raise QueryError(f"no list {value!r}", _nearest(value, lists, "in:") if lists else "there are no lists yet")
        return f"(f.feature_id IN (SELECT unnest({self.bind(lists[value.lower()])}::INTEGER[])))"


def column(name: str) -> str:
    """The numeric column that a query means by `name`. Raises `QueryError` with the nearest names."""
    wanted = name.lower()
    wanted = ALIASES.get(wanted, wanted)
    if wanted not in NUMERIC_COLUMNS:
        raise QueryError(f"no numeric column {name!r}", _nearest(wanted, [*NUMERIC_COLUMNS, *ALIASES], ""))
    return wanted


def _nearest(name: str, known: Iterable[str], prefix: str) -> str:
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    listed = ", ".join(prefix + n for n in sorted(names))
    if not near:
        return f"there are {listed}"
    return f"did you mean {' or '.join(prefix + n for n in near)}? There are {listed}"
