"""Splits of a data set, told by the names of its files, folders and arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from saescope.progress import Progress
from saescope.sources.options import DataOptions, Purpose, Split
from saescope.store.errors import DataError

T = TypeVar("T")
REST = "rest"
"""What belongs to no split: part of 'all' alone."""
WORDS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
_WORD = re.compile(rf"(?:^|[-_./])({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})(?=[-_./]|$)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9a-f]{8,}|\d+|-of-|[-_.]")
"""What numbers the parts of one split: 00001-of-00002, or a hash."""


def by_name(names: Sequence[str], *, strictly: bool = False) -> dict[str, list[int]]:
    """Split (or 'rest') -> indices of the `names`, paths below one folder without their suffixes; {} without splits.

    There are splits where a name with train and one with test or validation stand beside each other, as files or as
    folders: train-00000-of-00002 and test-00000-of-00001, train/a and val/b. `strictly`, for folders of anything, they
    must be names of the same thing: alike in all else but numbers, and folders without another folder beside them.
    """
    found: dict[str, list[int]] = {}
    alike: dict[tuple[object, ...], set[str]] = {}
    folders: dict[str, set[str]] = {}
    keys: list[tuple[object, ...] | None] = []
    for name in names:
        match = _WORD.search(name)
        parts = name.split("/")
        for depth in range(len(parts) - 1):
            folders.setdefault("/".join(parts[:depth]).lower(), set()).add(parts[depth])
        if match is None:
            keys.append(None)
            continue
        end = name.find("/", match.end())
        before, after = name[: match.start(1)], name[match.end(1) : None if end < 0 else end]
        key = (before.lower(), end >= 0, _NUMBER.sub("", after.lower()) if strictly else None)
        keys.append(key)
        alike.setdefault(key, set()).add(_SPLIT_OF[match[1].lower()])
    whole = {key for key, splits in alike.items() if "train" in splits and len(splits) > 1}
    if strictly:
        whole = {key for key in whole if not key[1] or _all_splits(folders.get(str(key[0]).rstrip("/"), set()))}
    if not whole:
        return {}
    for index, (name, own) in enumerate(zip(names, keys, strict=True)):
        match = _WORD.search(name)
        split = REST if match is None or (strictly and own not in whole) else _SPLIT_OF[match[1].lower()]
        found.setdefault(split, []).append(index)
    return in_order(found)


def _all_splits(folders: set[str]) -> bool:
    return all(_WORD.search(folder) for folder in folders)


def in_order(parts: Mapping[str, T]) -> dict[str, T]:
    """Training first, what belongs to no split last."""
    known = (*WORDS, REST)
    return {name: parts[name] for name in (*known, *(n for n in parts if n not in known)) if name in parts}


def splits_of(parts: Mapping[str, object]) -> Sequence[Split]:
    """The splits of data in parts; () where it has none to train and to evaluate on."""
    if "train" not in parts or not ({"test", "validation"} & parts.keys()):
        return ()
    return ("train", "test", "validation") if {"test", "validation"} <= parts.keys() else ("train", "test")


def parts_of(parts: Mapping[str, T], split: Split | None, path: str) -> list[T]:
    """What a split reads, in order. Where there is no test split, validation stands for it.

    `DataError` for validation where the data has none.
    """
    if split == "test" and "test" not in parts and "validation" in parts:
        split = "validation"
    if split == "validation" and split not in parts:
        raise DataError(f"{path}: has no validation split", f"it has {', '.join(p for p in parts if p != REST)}")
    return [parts[split]] if split in parts and split is not None else list(parts.values())


def chosen_split(
    available: Sequence[Split], options: DataOptions, purpose: Purpose, progress: Progress
) -> Split | None:
    """The split to read: as asked for, else by the purpose. `DataError` where one is asked for and there is none."""
    if available:
        split = options.split or ("train" if purpose == "train" else "test")
        progress.tell(f"{options.path}: read is split {split!r} of {', '.join(available)} (--split)")
        return split
    if options.split not in (None, "all"):
        raise DataError(
            f"{options.path}: split {options.split!r} is asked for, but the data has no train and test split",
            "leave --split out: where the data has none, 10 % of the items (of texts: documents) are held out",
        )
    return options.split
