"""One door to every corpus."""

from __future__ import annotations

from pathlib import Path

from saescope.sources.files import Files, all_files, files_of, listed, one_file
from saescope.sources.streams import bare_name, head_of, reading_errors
from saescope.sources.tables.files import SUFFIXES as TABLES
from saescope.sources.tables.files import is_table
from saescope.sources.texts.hub import PREFIX as HUB
from saescope.sources.texts.hub import HubTexts
from saescope.sources.texts.lines import CsvTexts, JsonLines
from saescope.sources.texts.options import TextOptions
from saescope.sources.texts.plain import PlainTexts, is_text
from saescope.sources.texts.protocol import Documents
from saescope.sources.texts.python_library import PythonLibrary
from saescope.sources.texts.tables import TableTexts
from saescope.store.errors import DataError, OptionError

EMBEDDED = "embedded:"
_JSON = (".jsonl", ".ndjson", ".json")
_CSV = (".csv", ".tsv", ".tab")
_ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""Files that Hugging Face's libraries put beside the data."""
_EXPECTED = "expected Parquet, JSON Lines, CSV or plain text (a file or a folder), hf:NAME or embedded:python"


def find_texts(options: TextOptions) -> Documents:
    """The documents that `options.texts` names. `DataError` where there are none."""
    name = options.texts
    if name.startswith(EMBEDDED):
        if name != EMBEDDED + "python":
            raise OptionError(f"there is no embedded corpus {name.removeprefix(EMBEDDED)!r}; expected embedded:python")
        found: Documents = PythonLibrary()
    elif name.startswith(HUB):
        found = HubTexts(name.removeprefix(HUB), options.text_key)
    else:
        found = _on_disk(Path(name).expanduser(), options)
    if options.text_key is not None and not found.uses_text_key:
        raise OptionError(f"text_key is given, but it means nothing for {name} ({found.format})", "leave it out")
    return found


def _on_disk(path: Path, options: TextOptions) -> Documents:
    with reading_errors(path):
        if path.is_dir():
            return _in_folder(path, options)
        if not path.exists():
            hint = f"; for a data set of the hub write hf:{options.texts}" if _may_be_hub_name(path) else ""
            raise DataError(f"{path}: no such file or folder", _EXPECTED + hint)
    head = head_of(path)
    if not head:
        raise DataError(f"{path} is empty", _EXPECTED)
    name = bare_name(path.name)
    if is_table(path, head) or name.endswith(TABLES):
        return TableTexts(one_file(path), options.text_key)
    return _by_suffix(name, one_file(path), options)


def _by_suffix(name: str, files: Files, options: TextOptions) -> Documents:
    if name.endswith(_JSON):
        return JsonLines(files, options.text_key)
    if name.endswith(_CSV):
        return CsvTexts(files, options.text_key)
    for path in files.all:
        if not is_text(path):
            raise DataError(f"{path}: not text (it holds NUL bytes)", _EXPECTED)
    return PlainTexts(files)


def _in_folder(path: Path, options: TextOptions) -> Documents:
    found = all_files(path)
    if not found:
        raise DataError(f"{path}: the folder is empty", _EXPECTED)
    for suffixes in (TABLES, _JSON, _CSV):
        chosen = [p for p in found if bare_name(p.name).endswith(suffixes)]
        # What describes a data set is no part of it, unless there is nothing else.
        chosen = [p for p in chosen if bare_name(p.name) not in _ABOUT] or (chosen if len(chosen) == len(found) else [])
        if chosen:
            files = files_of(path, chosen, [p for p in found if p not in set(chosen)])
            return (
                TableTexts(files, options.text_key) if suffixes == TABLES else _by_suffix(suffixes[0], files, options)
            )
    texts = [p for p in found if is_text(p)]
    if not texts:
        raise DataError(f"{path}: holds no texts (found {listed([p.name for p in found], 5)})", _EXPECTED)
    return PlainTexts(files_of(path, texts, [p for p in found if p not in set(texts)], strictly=True))


def _may_be_hub_name(path: Path) -> bool:
    return not path.is_absolute() and len(path.parts) == 2 and not path.suffix
