"""Rows of the documentation's tables of options, and where they stand in a page."""

from __future__ import annotations

import re
from collections.abc import Mapping

from saescope.options.flags import Option


def rows(options: Mapping[str, Option]) -> str:
    """The rows of a Markdown table: an option and its values; what it means and what holds where it is left out."""
    return "\n".join(_row(option) for option in options.values())


def _row(option: Option) -> str:
    names = " / ".join(f"`{name}`" for name in option.flag.names.split("/"))
    words = option.default_words
    text = option.text.rstrip(".").replace("|", "\\|")
    given = f"{names} {option.metavar}".rstrip()
    return f"| {given} | {text}{f' ({words} if left out)' if words else ''} |"


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """`page` with what stands between `<!-- options NAME -->` and `<!-- end -->` replaced by the table of that name."""

    def table(match: re.Match[str]) -> str:
        head = "| option | meaning |\n|---|---|"
        return f"<!-- options {match[1]} -->\n\n{head}\n{tables[match[1]]}\n\n<!-- end -->"

    return re.sub(r"<!-- options ([a-z-]+) -->\n.*?<!-- end -->", table, page, flags=re.S)
