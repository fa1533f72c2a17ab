"""The search language: text in, a tree out. What it means in SQL is decided elsewhere (see `search`).

query      = and_terms { "or" and_terms }
and_terms  = factor { ["and"] factor }                     side by side means and
factor     = "not" factor | "(" query ")" | comparison | term
comparison = operand op operand [op operand]               0.01 < density <= 10%
term       = word | "quoted phrase" | #12 | #12..40 | field:value | field:"exact value"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from saescope.store.errors import QueryError

MAX_CHARACTERS = 2_000
MAX_DEPTH = 40


@dataclass(frozen=True)
class Word:
    """A word of a label."""

    text: str


@dataclass(frozen=True)
class Phrase:
    """Consecutive text of a label."""

    text: str


@dataclass(frozen=True)
class Ids:
    """Features `first` to `last`, both included."""

    first: int
    last: int


@dataclass(frozen=True)
class Field:
    """`name:value`, such as is:dead or token:" def"; a value in quotation marks is `exact`."""

    name: str
    value: str
    exact: bool = False


@dataclass(frozen=True)
class Comparison:
    """`left op right`; an operand is the name of a column or a number. `op` is one of < <= > >= = !=."""

    left: str | float
    op: str
    right: str | float


@dataclass(frozen=True)
class Not:
    part: Node


@dataclass(frozen=True)
class And:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    parts: tuple[Node, ...]


Node = Word | Phrase | Ids | Field | Comparison | Not | And | Or


def fields(node: Node) -> set[str]:
    """Names of the fields anywhere in a tree."""
    match node:
        case And(parts) | Or(parts):
            return set().union(*(fields(part) for part in parts))
        case Not(part):
            return fields(part)
        case Field(name):
            return {name}
    return set()


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


_TOKENS = re.compile(
    r"""(?P<space>\s+)
    |(?P<open>\()|(?P<close>\))
    |(?P<field>[A-Za-z_]+:(?:"(?:[^"\\]|\\.)*"|“[^”]*”|[^\s()"“]+))
    |(?P<phrase>"(?:[^"\\]|\\.)*"|“[^”]*”)
    |(?P<op><=|>=|==|!=|<>|[<>=≤≥≠])
    |(?P<ids>\#\d+(?:\.\.\#?\d+)?(?=[\s()]|$))
    |(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:[ ]?%)?(?=[\s()<>=!≤≥≠]|$))
    |(?P<word>[^\s()"“<>=!≤≥≠]+)
    """,
    re.VERBOSE,
)
_OPS = {"==": "=", "<>": "!=", "≤": "<=", "≥": ">=", "≠": "!="}
_KEYWORDS = ("and", "or", "not")
_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


def parse(text: str) -> Node | None:
    """The tree of a query, or None for a blank one (it matches everything). Raises `QueryError`."""
    if len(text) > MAX_CHARACTERS:
        raise QueryError(f"the query has {len(text):,} characters", f"use at most {MAX_CHARACTERS:,}")
    parser = _Parser(text)
    return parser.query() if parser.tokens else None


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            unclosed = text[at] in '"“'
            what = "a quotation mark is not closed" if unclosed else f"unexpected {text[at]!r}"
            raise QueryError(f"{what} at character {at + 1} of {text!r}", 'close it: "digit 7"' if unclosed else None)
        kind = match.lastgroup or ""
        if kind == "word" and match.group().lower() in _KEYWORDS:
            kind = match.group().lower()
        if kind != "space":
            yield _Token(kind, match.group(), at)
        at = match.end()


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def _unquoted(text: str) -> str:
    """The text between quotation marks; inside straight ones, a backslash stands before a quotation mark or itself,
    and \\n, \\r and \\t are line ends and tabs."""
    if text.startswith("“"):
        return text[1:-1]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1])


def quoted(text: str) -> str:
    """`text` in quotation marks, as a query holds it."""
    written = text.replace("\\", "\\\\").replace('"', '\\"')
    for letter, character in _ESCAPES.items():
        written = written.replace(character, f"\\{letter}")
    return f'"{written}"'


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.next = 0
        self.depth = 0

    def peek(self, ahead: int = 0) -> str:
        at = self.next + ahead
        return self.tokens[at].kind if at < len(self.tokens) else "end"

    def take(self) -> _Token:
        self.next += 1
        return self.tokens[self.next - 1]

    def fail(self, expected: str, hint: str | None = None) -> QueryError:
        if self.next < len(self.tokens):
            token = self.tokens[self.next]
            where = f"found {token.text!r} at character {token.at + 1}"
        else:
            where = "found the end"
        return QueryError(f"expected {expected}, {where} of {self.text!r}", hint)

    def query(self) -> Node:
        node = self.either()
        if self.peek() != "end":
            raise self.fail("the end of the query", "check the parentheses")
        return node

    def either(self) -> Node:
        parts = [self.both()]
        while self.peek() == "or":
            self.take()
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def both(self) -> Node:
        parts = [self.factor()]
        while self.peek() not in ("or", "close", "end"):
            if self.peek() == "and":
                self.take()
            parts.append(self.factor())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def factor(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise QueryError(f"the query nests deeper than {MAX_DEPTH} levels", "simplify it")
        try:
            if self.peek() == "not":
                self.take()
                return Not(self.factor())
            if self.peek() == "open":
                self.take()
                node = self.either()
                if self.peek() != "close":
                    raise self.fail("')'", "close the parenthesis")
                self.take()
                return node
            if self.peek() in ("word", "number") and self.peek(1) == "op":
                return self.comparison()
            return self.term()
        finally:
            self.depth -= 1

    def operand(self) -> str | float:
        kind = self.peek()
        if kind == "word":
            return self.take().text
        if kind == "number":
            return _number(self.take().text)
        raise self.fail("a column or a number", "for example: density > 0.01")

    def operator(self) -> str:
        op = self.take().text
        return _OPS.get(op, op)

    def comparison(self) -> Node:
        start = self.tokens[self.next].at
        left = self.operand()
        op = self.operator()
        middle = self.operand()
        parts = [Comparison(left, op, middle)]
        while self.peek() == "op":
            op = self.operator()
            right = self.operand()
            parts.append(Comparison(middle, op, right))
            middle = right
        for i, part in enumerate(parts):
            if isinstance(part.left, float) and isinstance(part.right, float):
                raise QueryError(
                    f"the comparison at character {start + 1} of {self.text!r} names no column",
                    "compare a column with a number, for example: density > 0.01",
                )
            if isinstance(part.left, float):
                parts[i] = Comparison(part.right, _MIRROR[part.op], part.left)
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def term(self) -> Node:
        kind = self.peek()
        if kind in ("word", "number"):
            return Word(self.take().text)
        if kind == "phrase":
            text = _unquoted(self.take().text).strip()
            if not text:
                raise QueryError(f"an empty pair of quotation marks in {self.text!r}", "put words between them")
            return Phrase(text)
        if kind == "ids":
            first, _, last = self.take().text.replace("#", "").partition("..")
            return Ids(int(first), int(last or first))
        if kind == "field":
            name, _, value = self.take().text.partition(":")
            exact = value[0] in '"“'
            return Field(name.lower(), _unquoted(value) if exact else value, exact)
        if kind == "op":
            raise self.fail("a column before the comparison", "for example: density > 0.01")
        raise self.fail("a word, a comparison or #id", 'for example: "digit 7" and density > 0.01')


def _number(text: str) -> float:
    stripped = text.rstrip("% ")
    return float(stripped) / 100 if text.endswith("%") else float(stripped)
