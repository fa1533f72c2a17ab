"""The native format: a folder with cfg.json and sae.safetensors. Raw activations go in.

Tensors (float32): W_enc [d_in, n_features], W_dec [n_features, d_out], b_enc [n_features], b_dec [d_out] and what the
architecture and its options add (docs/autoencoders.md). A checkpoint trained on whitened data also has `whitening`
[d_out, d_out] and `whitening_mean` [d_out]: its output was judged in the space of (x - whitening_mean) @ whitening,
which is folded into the other tensors already, as is that of a transcoder's input.

cfg.json: `format`, `format_version`, `saescope_version`, the fields of the architecture's config, `weights_sha256` and,
if known, `training` (how it was trained) and `metadata` (anything else).
"""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from saescope.autoencoders import architecture
from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.config import Config
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import metadata
from saescope.checkpoints.tensors.content import MAX_ELEMENTS, damaged, read_json
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.shards import is_index
from saescope.store import atomic
from saescope.store.errors import CheckpointError, CheckpointFaults, UserError
from saescope.store.format.fields import shown, type_fault
from saescope.store.format.hashing import file_sha256
from saescope.store.format.safetensors import read_header

CONFIG_NAME = "cfg.json"
WEIGHTS_NAME = "sae.safetensors"
FORMAT_KEY = "saescope-sae"
FORMAT_VERSION = 1
EXTRA_KEYS = ("training", "metadata")

_FLOATS = {"F64", "F32", "F16", "BF16"}
_OWN_KEYS = ("format", "format_version", "saescope_version", "architecture", "weights_sha256")


class Whitening(NamedTuple):
    """The space that an SAE's output was judged in by training: transformed = (x - mean) @ matrix."""

    mean: Float[Tensor, " d_out"]
    matrix: Float[Tensor, "d_out d_out"]


def save(
    sae: Autoencoder, folder: Path, extra: dict[str, Any] | None = None, *, whitening: Whitening | None = None
) -> None:
    """Writes `sae` to `folder` (made if missing): the weights first, then cfg.json, each by temp name and rename.

    `extra` may hold `training` and `metadata`, JSON-ready.
    """
    extra = extra or {}
    assert set(extra) <= set(EXTRA_KEYS), f"cfg.json takes {EXTRA_KEYS} besides the architecture's fields"
    tensors = {name: t.detach().to("cpu", torch.float32).contiguous() for name, t in sae.tensors().items()}
    if whitening is not None:
        tensors["whitening"] = whitening.matrix.detach().to("cpu", torch.float32).contiguous()
        tensors["whitening_mean"] = whitening.mean.detach().to("cpu", torch.float32).contiguous()
    atomic.make_folder(folder)
    with atomic.replacing(folder / WEIGHTS_NAME) as temporary:
        save_file(tensors, temporary)
    config = {
        "format": FORMAT_KEY,
        "format_version": FORMAT_VERSION,
        "saescope_version": _program_version(),
        **sae.config.to_dict(),
        "weights_sha256": weights_sha256(folder),
        **extra,
    }
    text = json.dumps(config, indent=2, allow_nan=False)
    atomic.write_bytes(folder / CONFIG_NAME, text.encode() + b"\n")


def read_config(folder: Path) -> dict[str, Any]:
    """cfg.json as it is. `CheckpointError` where it is missing, unreadable or no JSON object."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise CheckpointError(f"no {CONFIG_NAME} in {folder}", f"a checkpoint holds {CONFIG_NAME} and {WEIGHTS_NAME}")
    return read_json(path)


def read_whitening(folder: Path) -> Whitening | None:
    """The space that the SAE was trained in, where that was a whitened one."""
    path = folder / WEIGHTS_NAME
    if "whitening" not in read_header(path, damaged).tensors:
        return None
    with safe_open(path, framework="pt", device="cpu") as file:
        return Whitening(file.get_tensor("whitening_mean"), file.get_tensor("whitening"))


def weights_sha256(folder: Path) -> str:
    """Hash of the weights' file, which annotations are keyed by."""
    try:
        return file_sha256(folder / WEIGHTS_NAME)
    except FileNotFoundError:
        raise CheckpointError(f"no {WEIGHTS_NAME} in {folder}") from None


def load(path: Path) -> Autoencoder:
    """The SAE in `path` (the folder, or either of its files), all of it checked; every fault is reported at once."""
    folder = _folder(path)
    raw = read_config(folder)
    faults: list[str] = []
    config = _config(raw, faults)
    if config is None:
        raise CheckpointFaults(f"checkpoint {folder}", faults)
    weights = folder / WEIGHTS_NAME
    if not weights.is_file():
        raise CheckpointFaults(f"checkpoint {folder}", [*faults, f"{WEIGHTS_NAME} is missing"])
    expected_hash = raw.get("weights_sha256")
    if expected_hash is not None and expected_hash != weights_sha256(folder):
        faults.append(f"{WEIGHTS_NAME} is not the file that cfg.json was written for (sha256 differs)")
    try:
        with torch.device("meta"):
            model = architecture(config.architecture).module(config)
    except (RuntimeError, TypeError, OverflowError):  # sizes beyond 64 bits
        raise CheckpointFaults(f"checkpoint {folder}", [*faults, "its widths are those of no tensor"]) from None
    tensors = _tensors(weights, {name: tuple(t.shape) for name, t in model.tensors().items()}, config.d_out, faults)
    if faults:
        raise CheckpointFaults(f"checkpoint {folder}", faults)
    if getattr(config, "tied", False) and not torch.equal(tensors["W_enc"], tensors["W_dec"].T):
        raise CheckpointFaults(f"checkpoint {folder}", ["cfg.json says tied, but W_enc is not the transpose of W_dec"])
    model = model.to_empty(device="cpu")
    model.load_tensors(tensors)
    return model


def _folder(path: Path) -> Path:
    return path.parent if path.name in (CONFIG_NAME, WEIGHTS_NAME) and path.is_file() else path


def _config(raw: dict[str, Any], faults: list[str]) -> AutoencoderConfig | None:
    """The architecture's config from cfg.json; None (and faults) where it cannot be made."""
    if raw.get("format", FORMAT_KEY) != FORMAT_KEY:
        faults.append(f"format is {raw['format']!r}, expected {FORMAT_KEY!r}")
    version = raw.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION or version < 1:
        faults.append(f"format_version is {version!r}, this program reads up to {FORMAT_VERSION}: update saescope")
    name = raw.get("architecture")
    if not isinstance(name, str):
        faults.append(f"architecture is {name!r}, expected a name")
        return None
    try:
        kind = architecture(name).config
    except UserError as error:
        faults.append(f"{error.message} ({error.hint})")
        return None
    types = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [key for key in raw if key not in fields and key not in _OWN_KEYS and key not in EXTRA_KEYS]
    faults += [
        f"{key} is {shown(raw[key])}, expected an object"
        for key in EXTRA_KEYS
        if not isinstance(raw.get(key, {}), dict | None)
    ]
    faults += [f"unknown key {key!r} in {CONFIG_NAME}" for key in unknown]
    values: dict[str, Any] = {}
    for field in fields.values():
        if field.name in raw:
            fault = type_fault(raw[field.name], types[field.name])
            value = raw[field.name]
            if fault is None:
                values[field.name] = tuple(value) if isinstance(value, list) else value
            else:
                faults.append(f"{field.name} is {shown(raw[field.name])}, expected {fault}")
        elif field.default is dataclasses.MISSING:
            faults.append(f"{field.name} is missing in {CONFIG_NAME}")
    if any(field.name not in values for field in fields.values() if field.default is dataclasses.MISSING):
        return None
    try:
        return kind(**values)
    except UserError as error:
        faults.append(error.message)
        return None


def _tensors(path: Path, shapes: dict[str, tuple[int, ...]], d_out: int, faults: list[str]) -> dict[str, Tensor]:
    """The tensors named in `shapes`, as float32. Shapes and types are checked in the header, before any is read."""
    try:
        header = read_header(path, damaged).tensors
    except CheckpointError as error:
        faults.append(error.message)
        return {}
    optional = {"whitening": (d_out, d_out), "whitening_mean": (d_out,)}
    faults += [f"tensor {name} is missing" for name in shapes if name not in header]
    faults += [f"unknown tensor {name}" for name in sorted(set(header) - set(shapes) - set(optional))]
    if len(header.keys() & optional.keys()) == 1:
        faults.append("whitening and whitening_mean belong together, but only one is there")
    result: dict[str, Tensor] = {}
    with safe_open(path, framework="pt", device="cpu") as file:
        for name, expected in {**shapes, **optional}.items():
            if name not in header:
                continue
            entry = header[name]
            if entry.shape != expected:
                faults.append(f"{name} has shape {list(entry.shape)}, expected {list(expected)}")
            elif entry.dtype not in _FLOATS:
                faults.append(f"{name} has type {entry.dtype}, expected a floating point type")
            elif math.prod(entry.shape) > MAX_ELEMENTS:
                faults.append(f"{name} has {math.prod(entry.shape)} elements, more than {MAX_ELEMENTS}")
            else:
                tensor = file.get_tensor(name).to(torch.float32)
                bad = int(tensor.numel() - torch.isfinite(tensor).sum())
                if bad:
                    faults.append(f"{name} has {bad} values that are NaN or infinite")
                if name in shapes:
                    result[name] = tensor
    return result


def _program_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("saescope")
    except PackageNotFoundError:
        return "unknown"


@contextmanager
def in_one_file(files: CheckpointFiles) -> Iterator[Path]:
    """The checkpoint's folder; where its weights are spread over several files, a copy that has them in one, which is
    gone afterwards."""
    index = files.find(WEIGHTS_NAME) or files.spread
    if index is None or not is_index(index):
        yield _folder(files.path)
        return
    config = read_config(files.folder)
    with tempfile.TemporaryDirectory(prefix="saescope-") as scratch:
        folder = Path(scratch)
        save_file({name: t.contiguous() for name, t in files.content(index).tensors.items()}, folder / WEIGHTS_NAME)
        config["weights_sha256"] = weights_sha256(folder)  # what cfg.json has is that of no file here
        (folder / CONFIG_NAME).write_text(json.dumps(config))
        try:
            yield folder
        except CheckpointFaults as error:
            raise CheckpointFaults(f"checkpoint {index}", error.faults, error.hint) from None


def _load(files: CheckpointFiles, _: Assumptions) -> Loaded:
    with in_one_file(files) as folder:
        sae = load(folder)
        config = Config(read_config(folder), CONFIG_NAME)
    return Loaded(sae, {**_trained_on(config), **config.inner("metadata").values})


def _trained_on(config: Config) -> dict[str, Any]:
    """What the record of its training says of the source."""
    source = config.inner("training").inner("source")
    begins, is_text, path = source.any("bos"), source.any("kind") == "tokens", source.text("path") or ""
    return metadata(
        model=source.text("model"),
        hook=source.text("hook"),
        hook_out=source.text("hook_out"),
        layer=source.layer(),
        head=source.whole("head", least=0),
        context_size=source.whole("context"),
        prepend_bos=bool(begins) if is_text else None,
        exclude_special_tokens=source.any("exclude_tokens") == "special" if is_text else None,
        dataset=path.removeprefix("hf:") if path.startswith("hf:") else None,
    )


def _recognise(files: CheckpointFiles) -> bool:
    config = files.config_or_nothing(CONFIG_NAME)
    if config.any("format") == FORMAT_KEY or all(name in config for name in ("architecture", "d_in", "n_features")):
        return True
    weights = files.find(WEIGHTS_NAME)  # whose cfg.json is not there: better to say so than to guess
    names = set(files.content_or_nothing(weights).tensors)
    return files.find(CONFIG_NAME) is None and {"W_enc", "W_dec"} <= names


FORMAT = CheckpointFormat("native", _recognise, _load)
