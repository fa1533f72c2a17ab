"""The reader of safetensors headers: what the library writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saescope.store.errors import StoreError
from saescope.store.format.hashing import file_sha256
from saescope.store.format.safetensors import NUMPY_DTYPES, Header, as_float32, read_header


def read(path: Path) -> Header:
    return read_header(path, StoreError)


def written(path: Path, header: Any, n_bytes: int = 0) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(n_bytes))
    return path


def tensor(begin: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "all.safetensors"
    tensors = {
        "wide": torch.randn(3, 4),
        "half": torch.randn(5).to(torch.bfloat16),
        "whole": torch.arange(7),
        "small": torch.randn(2, 2).to(torch.float8_e4m3fn),
        "empty": torch.zeros(0, 3),
        "number": torch.tensor(2.5, dtype=torch.float64),
    }
    save_file(tensors, path, metadata={"key": "value"})
    header = read(path)
    assert header.metadata == {"key": "value"}
    assert {name: list(entry.shape) for name, entry in header.tensors.items()} == {
        name: list(each.shape) for name, each in tensors.items()
    }
    for name in ("wide", "half"):
        entry = header.tensors[name]
        values = np.memmap(path, NUMPY_DTYPES[entry.dtype], "r", entry.start, entry.shape)
        assert np.array_equal(as_float32(values, entry.dtype), tensors[name].float().numpy())


@pytest.mark.parametrize(
    ("header", "n_bytes", "message"),
    [
        (b'{"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}, "a": {}}', 4, "'a' stands in it more than once"),
        ({"a": tensor(0, 8), "b": tensor(4, 12)}, 12, "'b' .* overlaps another"),
        ({"a": tensor(0, 8), "b": tensor(0, 8)}, 8, "overlaps another"),
        ({"a": tensor(0, 4), "b": tensor(8, 12)}, 12, "'b' .* leaves a gap"),
        ({"a": tensor(0, 8)}, 4, "does not fit the file"),
        ({"a": tensor(0, 8)}, 12, "4 bytes that belong to no tensor"),
        ({"a": tensor(0, 8, [3])}, 8, r"does not fit its shape \[3\]"),
        ({"a": tensor(0, 8, [-2])}, 8, "describes tensor 'a' wrongly"),
        ({"a": tensor(8, 0, [-2])}, 8, "describes tensor 'a' wrongly"),
        ({"a": {**tensor(0, 8), "data_offsets": [0, 8, 9]}}, 8, "describes tensor 'a' wrongly"),
        ({"a": {**tensor(0, 8), "shape": [True, 2]}}, 8, "describes tensor 'a' wrongly"),
        ({"a": {**tensor(0, 8), "dtype": ["F32"]}}, 8, "describes tensor 'a' wrongly"),
        ({"a": [1, 2]}, 8, "describes tensor 'a' wrongly"),
        ({"a": tensor(0, 8, dtype="Q4")}, 8, "has type Q4"),
        ({"__metadata__": {"a": 5}}, 0, "metadata"),
        ({"__metadata__": [1]}, 0, "metadata"),
        ([1, 2], 0, "not an object"),
        (b"{" * 3, 0, "cannot read"),
        (b'{"a": ' + b"[" * 200_000, 0, "cannot read"),
        (b'{"a\xff": 1}', 0, "cannot read"),
        (b'{"a": ' + b"9" * 5000 + b"}", 0, "cannot read"),
    ],
)
def test_damage_is_told(tmp_path: Path, header: Any, n_bytes: int, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        read(written(tmp_path / "damaged.safetensors", header, n_bytes))


@pytest.mark.parametrize("content", [b"", b"\x05", (10**12).to_bytes(8, "little") + b"{}"])
def test_files_that_are_too_short(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="truncated or no safetensors file"):
        read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot read"):
        read(tmp_path / "none.safetensors")


def test_the_hash_of_a_file_and_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    seen: list[int] = []
    assert file_sha256(path, seen.append) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert seen == [3]
