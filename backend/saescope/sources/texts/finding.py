"""One door to every corpus."""

from __future__ import annotations

from pathlib import Path

from saescope.sources.options import SourceOptions
from saescope.sources.texts.documents import Documents, listed
from saescope.sources.texts.files import Files, files_in, one_file
from saescope.sources.texts.hub import PREFIX as HUB
from saescope.sources.texts.hub import HubTexts
from saescope.sources.texts.lines import CsvTexts, JsonLines
from saescope.sources.texts.parquet import ParquetTexts
from saescope.sources.texts.plain import PlainTexts, is_text
from saescope.sources.texts.python_library import PythonLibrary
from saescope.store.errors import UserError

EMBEDDED = "embedded:"
_PARQUET = (".parquet", ".pq")
_JSON = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".json", ".json.gz")
_CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_EXPECTED = "expected Parquet, JSON Lines, CSV or plain text (a file or a folder), hf:NAME or embedded:python"


def find_texts(options: SourceOptions) -> Documents:
    """The documents that `options.texts` names. `UserError` where there are none."""
    assert options.texts is not None
    name = options.texts
    if name.startswith(EMBEDDED):
        if name != EMBEDDED + "python":
            raise UserError(f"there is no embedded corpus {name.removeprefix(EMBEDDED)!r}; expected embedded:python")
        found: Documents = PythonLibrary()
    elif name.startswith(HUB):
        found = HubTexts(name.removeprefix(HUB), options.text_key)
    else:
        found = _on_disk(Path(name).expanduser(), options)
    if options.text_key is not None and not found.uses_text_key:
        raise UserError(f"text_key is given, but it means nothing for {name} ({found.format})", "leave it out")
    return found


def _on_disk(path: Path, options: SourceOptions) -> Documents:
    try:
        if path.is_dir():
            return _in_folder(path, options)
        if not path.exists():
            hint = f"; for a data set of the hub write hf:{options.texts}" if _may_be_hub_name(path) else ""
            raise UserError(f"{path}: no such file or folder", _EXPECTED + hint)
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not head:
        raise UserError(f"{path} is empty", _EXPECTED)
    name = path.name.lower()
    if head == b"PAR1" or name.endswith(_PARQUET):
        return ParquetTexts(one_file(path), options.text_key)
    return _by_suffix(name, one_file(path), options)


def _by_suffix(name: str, files: Files, options: SourceOptions) -> Documents:
    if name.endswith(_JSON):
        return JsonLines(files, options.text_key)
    if name.endswith(_CSV):
        return CsvTexts(files, options.text_key)
    for path in files.all:
        if not is_text(path):
            raise UserError(f"{path}: not text (it holds NUL bytes)", _EXPECTED)
    return PlainTexts(files)


def _in_folder(path: Path, options: SourceOptions) -> Documents:
    for suffixes in (_PARQUET, _JSON, _CSV):
        files = files_in(path, suffixes)
        if files is not None and suffixes == _PARQUET:
            return ParquetTexts(files, options.text_key)
        if files is not None:
            return _by_suffix(suffixes[0], files, options)
    files = files_in(path, None)
    if files is None:
        raise UserError(f"{path}: the folder is empty", _EXPECTED)
    texts = {split: [p for p in paths if is_text(p)] for split, paths in files.by_split.items()}
    if not any(texts.values()):
        raise UserError(f"{path}: holds no texts (found {listed([files.name(p) for p in files.all], 5)})", _EXPECTED)
    return PlainTexts(Files(path, {split: paths for split, paths in texts.items() if paths}))


def _may_be_hub_name(path: Path) -> bool:
    return not path.is_absolute() and len(path.parts) == 2 and not path.suffix
