"""What is in the small stores, for tests that need an example of it."""

from __future__ import annotations

from collections import Counter

from saescope.store import Entry


def most_moved(entry: Entry, sign: int) -> str:
    """The token that most atoms raise (`sign` 1) or lower (-1)."""
    tokens = Counter(row["token"] for row in entry.table("top_logits").to_pylist() if row["sign"] == sign)
    return tokens.most_common(1)[0][0]


def with_line_end(entry: Entry) -> int:
    """A feature whose automatic label holds a line end."""
    labels = entry.table("features")["auto_label"].to_pylist()
    return next(i for i, label in enumerate(labels) if label and "\n" in label)
