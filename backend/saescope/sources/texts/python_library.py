"""'embedded:python': the text of Python's own documentation and standard library, which every installation has.

Three kinds of documents: topics of the language reference (as `help()` shows them), docstrings, and the source of the
library's functions, classes and runs of other statements, without their docstrings. Metadata: kind and module.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.options import Split
from saescope.sources.texts.columns import TextColumn
from saescope.sources.texts.documents import Document
from saescope.store.errors import DataError

_LEFT_OUT = frozenset(
    {"test", "tests", "site-packages", "dist-packages", "__pycache__", "lib2to3", "idlelib", "turtledemo", "encodings"}
)
"""Folders of tests, of other packages, and of tables that are no text."""
_SHORTEST = 40
"""Characters below which a piece is not worth a document."""


@dataclass(frozen=True)
class PythonLibrary:
    """Python's own texts; they differ between Python versions."""

    format: str = "embedded"
    splits: Sequence[Split] = ()
    uses_text_key: bool = False
    text: TextColumn | None = None

    def columns(self) -> Mapping[str, pa.DataType]:
        return {"kind": pa.string(), "module": pa.string()}

    def notes(self) -> Sequence[str]:
        return ()

    def fingerprint(self, split: Split | None) -> str:
        files = [f"{_module(path)}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in _sources()]
        return hashlib.sha256("\n".join([sys.version, *files]).encode()).hexdigest()

    def read(self, split: Split | None, progress: Progress = SILENT) -> Iterator[Document]:
        paths = _sources()
        if not paths:
            raise DataError(
                "embedded:python: this Python has no sources of its library", "name texts of your own with --texts PATH"
            )
        yield from _topics()
        for done, path in enumerate(paths, 1):
            yield from _documents(path)
            progress.update("tokenising texts", done, len(paths))


def _topics() -> Iterator[Document]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return
    for name in sorted(topics):
        yield Document((topics[name],), {"kind": "reference", "module": None})


def _library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _sources() -> list[Path]:
    root = _library()
    found = [
        path
        for path in root.rglob("*.py")
        if not _LEFT_OUT & set(path.relative_to(root).parts[:-1]) and path.parent.name != "pydoc_data"
    ]
    return sorted(path for path in found if not path.name.startswith("_sysconfigdata"))


def _module(path: Path) -> str:
    return ".".join(path.relative_to(_library()).with_suffix("").parts).removesuffix(".__init__")


def _documents(path: Path) -> Iterator[Document]:
    try:
        text = path.read_bytes().decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old sources with escapes that newer Pythons warn of
            tree = ast.parse(text)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError):
        return  # a file that this Python itself could not import
    module, lines = _module(path), text.splitlines(keepends=True)
    hidden: set[int] = set()
    strings = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = _docstring(node)
            if found is not None:
                first, last, written = found
                hidden.update(range(first, last + 1))
                strings.append((first, written))
    for _, written in sorted(strings):
        if len(written) >= _SHORTEST:
            yield Document((written,), {"kind": "docstring", "module": module})
    for first, last in _runs(tree):
        source = "".join(line for number, line in enumerate(lines[first - 1 : last], first) if number not in hidden)
        if len(source.strip()) >= _SHORTEST:
            yield Document((source,), {"kind": "source", "module": module})


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int, str] | None:
    """First and last line and text of a docstring that stands on lines of its own."""
    if not node.body or not isinstance(node.body[0], ast.Expr):
        return None
    value = node.body[0].value
    if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
        return None
    if isinstance(node, ast.Module):
        alone = True
    else:
        alone = value.lineno > node.lineno and not (
            len(node.body) > 1 and node.body[1].lineno <= (value.end_lineno or 0)
        )
    return (value.lineno, value.end_lineno or value.lineno, ast.get_docstring(node) or "") if alone else None


def _runs(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last line of each function and class, and of each run of other statements between them."""
    run: tuple[int, int] | None = None
    for node in tree.body:
        first, last = node.lineno, node.end_lineno or node.lineno
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if run is not None:
                yield run
            run = None
            yield min([first, *(d.lineno for d in node.decorator_list)]), last
        else:
            run = (first if run is None else run[0], last)
    if run is not None:
        yield run
