"""Small files that unpack to far more than they are, and archives with odd members."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx_bytes

from saescope.sources import SourceOptions, open_source, streams
from saescope.store.errors import UserError


@pytest.mark.parametrize("kind", ["images", "activations"])
def test_archives_that_grow_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SMALL", 100_000)
    shape = (1000, 40, 40) if kind == "images" else (1000, 400)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(shape, np.float32))
    with pytest.raises(UserError, match="unpacks to more than") as caught:
        open_source(SourceOptions(**{kind: str(tmp_path / "x.npz")}))
    assert "unpack the file first" in str(caught.value.hint)


def test_idx_files_that_grow_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((1000, 40, 40), np.uint8))))
    assert open_source(SourceOptions(images=str(path))).n_items == 1000
    monkeypatch.setattr(streams, "SMALL", 1000)
    with pytest.raises(UserError, match="the array unpacks to more than"):
        open_source(SourceOptions(images=str(path)))


@pytest.mark.parametrize("kind", ["images", "activations"])
def test_odd_members_of_archives_are_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.npz"
    for name, content in (("x", b"no array"), ("x.npy", b"\x93NUMPY\x01\x00\x08\x00{'descr'"), ("x.npy", b"")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(UserError, match="array 'x'"):
            open_source(SourceOptions(**{kind: str(path)}))
