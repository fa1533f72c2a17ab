"""Which column holds the documents, and what kind of value: texts, conversations, or tokens made before."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np

from saescope.sources.files import listed
from saescope.sources.texts.documents import TEXT_NAMES, Document, Scalar, Turn, well_formed
from saescope.store.errors import DataError

Form = Literal["text", "turns", "tokens"]
TURN_NAMES = ("messages", "conversations", "conversation", "chat", "dialogue", "dialog", "turns")
TOKEN_NAMES = ("input_ids", "token_ids", "tokens", "ids")
MASK = "attention_mask"
"""Column that says which of the tokens beside it are no padding."""
_CALLED = {"turns": "conversations", "tokens": "tokens"}
_ROLE_NAMES = ("role", "from", "speaker")
_CONTENT_NAMES = ("content", "value", "text", "message", "utterance")
_ROLES = {"human": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
          "model": "assistant", "ai": "assistant"}  # fmt: skip


@dataclass(frozen=True)
class TextColumn:
    """The column that is read, and as what; `form` None: it is none of the kinds."""

    name: str
    form: Form | None
    others: tuple[str, ...] = ()
    """Columns that could have been read instead."""

    def notes(self) -> list[str]:
        """A line on what was chosen."""
        called = f" as {_CALLED[self.form]}" if self.form in _CALLED else ""
        more = f"; --text-key names another ({listed(self.others)})" if self.others else ""
        return [f"documents are read from column {self.name!r}{called}{more}"]

    def key(self) -> object:
        """What of this decides the documents."""
        return self.name if self.form == "text" else (self.name, self.form)

    def document(self, value: Any, values: Mapping[str, Scalar], mask: Any, subject: str) -> Document:
        """The document of one row. `DataError` where the value is not of the column's kind."""
        if value is None:
            return Document((), values)
        if self.form == "tokens":
            return Document((), values, ids=self._ids(value, mask, subject))
        return Document((), values, turns=self._turns(value, subject))

    def _ids(self, value: Any, mask: Any, subject: str) -> np.ndarray:
        ids = _numbers(value, "iu")
        if ids is None:
            raise DataError(
                f"{subject}: {self.name!r} is no list of token ids: {str(value)[:60]}",
                "mend or remove that row, or name another column with --text-key",
            )
        ids = ids.astype(np.int64)
        if mask is not None:
            kept = _numbers(mask, "iubf")
            if kept is None or len(kept) != len(ids):
                raise DataError(
                    f"{subject}: {MASK!r} is no list of {len(ids)} numbers, one for each of {self.name!r}: "
                    f"{str(mask)[:60]}",
                    f"mend that row, or remove the column {MASK!r}",
                )
            ids = ids[kept.astype(bool)]
        return ids

    def _turns(self, value: Any, subject: str) -> list[Turn]:
        if isinstance(value, Mapping):  # a record of lists
            lengths = {len(column) if isinstance(column, list) else -1 for column in value.values()}
            if len(lengths) != 1 or -1 in lengths:
                self._refuse_turns(value, subject)
            value = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
        if not isinstance(value, list):
            self._refuse_turns(value, subject)
        turns: list[Turn] = []
        for index, turn in enumerate(value):
            if isinstance(turn, str):  # who speaks is not said: they take turns
                turns.append({"role": ("user", "assistant")[index % 2], "content": well_formed(turn)})
                continue
            role = _first(turn, _ROLE_NAMES) if isinstance(turn, Mapping) else None
            content = _first(turn, _CONTENT_NAMES) if isinstance(turn, Mapping) else None
            if role is None:
                self._refuse_turns(turn, subject)
            turns.append({"role": _ROLES.get(str(role).lower(), str(role).lower()), "content": _plain(content)})
        return turns

    def _refuse_turns(self, found: Any, subject: str) -> NoReturn:
        raise DataError(
            f"{subject}: {self.name!r} holds turns that cannot be told: {str(found)[:80]}",
            "expected a list of {role, content} or {from, value}; or name a column of texts with --text-key",
        )


def text_column(forms: Mapping[str, Form | None], wanted: str | None, subject: str) -> TextColumn:
    """The column to read of those named. `DataError` naming the nearest where it is not there or not clear."""
    usable = [name for name, form in forms.items() if form is not None]
    if wanted is not None:
        if wanted in forms:
            return TextColumn(wanted, forms[wanted])
        near = difflib.get_close_matches(wanted, forms, n=3, cutoff=0.5)
        meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise DataError(f"{subject}: no column {wanted!r}{meant}", f"it has {listed(list(forms))}")
    found = named_column(forms) or _only(forms)
    if found is not None:
        others = [n for n in usable if n != found and forms[n] != "text"] if forms[found] == "text" else usable
        return TextColumn(found, forms[found], tuple(n for n in others if n != found))
    if not usable:
        raise DataError(
            f"{subject}: no column holds texts", f"it has {listed(list(forms))}; expected a column of strings"
        )
    raise DataError(f"{subject}: cannot tell which column holds the texts: {listed(usable)}", "name it with --text-key")


def named_column(forms: Mapping[str, Form | None]) -> str | None:
    """The column that is called as documents usually are, if there is one."""
    # Prompts beside whole conversations are a part of them; other texts are usually the conversations, written out.
    texts = [name for name in TEXT_NAMES if name != "prompt"]
    by_kind: tuple[tuple[Form, Sequence[str]], ...] = (
        ("text", texts),
        ("turns", TURN_NAMES),
        ("text", ("prompt",)),
        ("tokens", TOKEN_NAMES),
    )
    found = (
        c for form, names in by_kind for n in names for c, held in forms.items() if held == form and c.lower() == n
    )
    return next(found, None)


def _only(forms: Mapping[str, Form | None]) -> str | None:
    """The only column of conversations, or else of texts."""
    for form in ("turns", "text"):
        names = [name for name, held in forms.items() if held == form]
        if names:
            return names[0] if len(names) == 1 else None
    return None


def form_of_list(
    name: str, of_records: Sequence[str] | None, of_text: bool, of_ints: bool, is_wanted: bool
) -> Form | None:
    """What a column of lists may be read as: of records with these fields, of texts, or of whole numbers.

    Lists of texts and of numbers are many things: they are taken where they are named as usual, or asked for.
    """
    lower = name.lower()
    if of_records is not None:
        tells = any(n in of_records for n in _ROLE_NAMES) and any(n in of_records for n in _CONTENT_NAMES)
        return "turns" if tells else None
    if of_text:
        return "turns" if is_wanted or lower in TURN_NAMES else None
    return "tokens" if of_ints and (is_wanted or lower in TOKEN_NAMES) else None


def form_of_value(name: str, value: Any, is_wanted: bool) -> Form | None:
    """What a value of JSON may be read as."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping) and value and all(isinstance(v, list) for v in value.values()):
        return form_of_list(name, list(value), False, False, is_wanted)
    if not isinstance(value, list) or not value:
        return None
    fields = list(value[0]) if isinstance(value[0], Mapping) else None
    of_ints = all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    return form_of_list(name, fields, isinstance(value[0], str), of_ints, is_wanted)


def _numbers(value: Any, kinds: str) -> np.ndarray | None:
    """A list of numbers of these kinds of dtype as an array; None where it is another thing."""
    try:
        found = np.asarray(value)
    except ValueError:  # lists of unequal length
        return None
    return found if found.ndim == 1 and (found.dtype.kind in kinds or not found.size) else None


def value_at(row: Mapping[str, Any], name: str) -> Any:
    """A row's value of a column, or of a field of a record in it: 'document.text'."""
    if name in row or "." not in name:
        return row.get(name)
    first, rest = name.split(".", 1)
    inner = row.get(first)
    return value_at(inner, rest) if isinstance(inner, Mapping) else None


def _first(turn: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((turn[name] for name in names if turn.get(name) is not None), None)


def _plain(content: Any) -> str:
    """The text of a turn, which may come in parts: {type: text, text: ...}."""
    if isinstance(content, list):
        return "".join(_plain(part) for part in content)
    if isinstance(content, Mapping):
        return _plain(content.get("text"))
    return "" if content is None else well_formed(str(content))
