"""Passes over files larger than what they may keep in memory."""

from __future__ import annotations

import gc
import json
import struct
from pathlib import Path

import numpy as np
import psutil
import pytest

from saescope.sources import SourceOptions, open_source
from saescope.sources.mapped_files import let_go

MIB = 1 << 20
SIZE = 128 * MIB


def large_idx(path: Path) -> Path:
    with path.open("wb") as file:
        file.write(bytes([0, 0, 8, 3]) + struct.pack(">3I", SIZE // 4096, 64, 64))
        file.truncate(16 + SIZE)  # zeros; they take memory once read
    return path


def large_npy(path: Path, shape: tuple[int, ...], dtype: str) -> Path:
    np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape).flush()
    return path


def large_safetensors(path: Path) -> Path:
    entry = {"dtype": "F32", "shape": [SIZE // 1024, 256], "data_offsets": [0, SIZE]}
    header = json.dumps({"x": entry}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + SIZE)
    return path


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="pages are let go of on Linux")
@pytest.mark.parametrize("kind", ["idx", "npy-bytes", "npy-floats", "npy-doubles", "activations", "safetensors"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saescope.sources.images.idx.MAP_BYTES", 64 * MIB)
    if kind == "idx":
        options = SourceOptions(images=str(large_idx(tmp_path / "x-images-idx3-ubyte")))
    elif kind.startswith("npy"):
        dtype = {"npy-bytes": "u1", "npy-floats": "<f4", "npy-doubles": "<f8"}[kind]
        path = large_npy(tmp_path / "x.npy", (SIZE // 4096 // np.dtype(dtype).itemsize, 64, 64), dtype)
        options = SourceOptions(images=str(path), patch=16)
    elif kind == "activations":
        options = SourceOptions(activations=str(large_npy(tmp_path / "x.npy", (SIZE // 1024, 256), "<f4")))
    else:
        options = SourceOptions(activations=str(large_safetensors(tmp_path / "x.safetensors")))
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    source = open_source(options)
    largest = process.memory_info().rss
    for _ in source.batches():
        largest = max(largest, process.memory_info().rss)
    assert largest - before < SIZE // 2


def test_values_survive_being_let_go(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((500, 40, 10), dtype=np.float32)
    np.save(tmp_path / "x.npy", values)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    for rows in (mapped[3:400], mapped[7:8], np.moveaxis(mapped, 2, 1)[100:300], mapped[5:5], mapped):
        let_go(rows)
        np.testing.assert_array_equal(mapped, values)
    copied = values.copy()
    let_go(copied[10:400])  # memory that lies in no file
    np.testing.assert_array_equal(copied, values)
