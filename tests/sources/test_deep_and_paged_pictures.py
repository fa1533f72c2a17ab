"""Pictures of more than 8 bits, of several pages, and files that only look like pictures."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from saescope.sources import SourceOptions, open_source
from saescope.store.errors import UserError
from tests.sources.told import Told

RAMP = np.add.outer(np.arange(16), np.arange(16))


def opened(path: Path, **given):
    told = Told()
    return open_source(SourceOptions(images=str(path), **given), progress=told), told.lines


def everything(source) -> np.ndarray:
    return torch.cat([b.activations for b in source.batches()]).numpy()[:, 0]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_values_of_12_bits_in_16_are_kept(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = np.stack([(np.roll(RAMP, i, 0) * 128).astype(np.uint16) for i in range(20)])
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{i}.{suffix}")
    source, told = opened(folder)
    assert any("values from 0 to 3840; 0 and 65535 stand for 0 and 1" in line for line in told)
    np.testing.assert_array_equal(everything(source), pixels.reshape(20, -1) / np.float32(65535))
    ranged, told = opened(folder, value_range=(0, 4095))
    assert any("0 and 4095 stand for 0 and 1" in line for line in told)
    assert len(np.unique(everything(ranged))) == 31
    assert everything(ranged).max() == np.float32(3840) / np.float32(4095)
    assert ranged.describe()["stored_range"] == [0.0, 4095.0]
    np.save(tmp_path / "x.npy", pixels)
    assert opened(tmp_path / "x.npy")[0].data_sha256 == source.data_sha256
    monkeypatch.setattr("saescope.sources.images.pictures.EAGER_BYTES", 100)
    lazy = opened(folder, value_range=(0, 4095), patch=4)[0]
    assert lazy.data_sha256 == ranged.data_sha256
    eager = opened(tmp_path / "x.npy", value_range=(0, 4095), patch=4)[0]
    rows = np.arange(0, 320, 7)
    assert torch.equal(lazy.table().rows(rows), eager.table().rows(rows))


def test_8_bits_beside_16_and_ranges_of_8_bits(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 51, np.uint8)).save(tmp_path / "a.png")
    assert everything(opened(tmp_path, value_range=(0, 102))[0]).tolist() == [[0.5] * 4]
    Image.fromarray(np.full((2, 2), 51 * 257, np.uint16)).save(tmp_path / "b.png")
    np.testing.assert_array_equal(np.unique(everything(opened(tmp_path)[0])), [np.float32(0.2)])
    assert opened(tmp_path, image_mode="colour")[0].describe()["input_shape"] == [2, 2, 3]
    ranged = everything(opened(tmp_path, value_range=(0, 51 * 257))[0])
    np.testing.assert_array_equal(ranged[:, 0], [np.float32(1 / 257), 1.0])


COLOUR = (np.arange(8 * 8 * 3).reshape(8, 8, 3) * 300).astype(np.uint16)


def png_of_16_bits(values: np.ndarray) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff_of_16_bits(values: np.ndarray, *, apart: bool = False) -> bytes:
    """An uncompressed TIFF of colour, its channels side by side or in planes of their own."""
    height, width, _ = values.shape
    data = np.moveaxis(values, 2, 0 if apart else 2).astype("<u2").tobytes()
    n = 3 if apart else 1
    entries = [(256, [width]), (257, [height]), (258, [16] * 3), (259, [1]), (262, [2]), (273, [0] * n), (277, [3])]
    entries += [(278, [height]), (279, [len(data) // n] * n), (284, [2 if apart else 1])]
    after = 8 + 2 + 12 * len(entries) + 4
    extra = b""
    start = after + 2 * 3 + (8 * n if n > 1 else 0)
    fields = b""
    for tag, values_of in entries:
        kind, form = (4, "I") if tag in (273, 279) else (3, "H")
        if tag == 273:
            values_of = [start + i * len(data) // n for i in range(n)]
        packed = struct.pack(f"<{len(values_of)}{form}", *values_of)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", after + len(extra)), extra + packed
        fields += struct.pack("<HHI", tag, kind, len(values_of)) + packed.ljust(4, b"\0")
    return (
        b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + b"\0" * 4 + extra.ljust(start - after, b"\0") + data
    )


def jpeg_2000_of_16_bits() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((COLOUR >> 8).astype(np.uint8)).save(buffer, "JPEG2000")
    data = bytearray(buffer.getvalue())
    size = data.find(b"\xff\x51")
    data[size + 40 : size + 49 : 3] = bytes([15] * 3)  # bits less one, of each channel
    return bytes(data)


ROUNDED = {
    "colour.png": png_of_16_bits(COLOUR),
    "transparent.png": png_of_16_bits(np.dstack([COLOUR, np.full((8, 8), 65535)])),
    "grey-transparent.png": png_of_16_bits(COLOUR[..., :2]),
    "a.tif": tiff_of_16_bits(COLOUR),
    "a.ppm": b"P6 8 8 65535\n" + COLOUR.astype(">u2").tobytes(),
    "b.ppm": b"P6 8 8 4095\n" + (COLOUR % 4096).astype(">u2").tobytes(),
    "a.jp2": jpeg_2000_of_16_bits(),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_colour_of_more_than_8_bits_is_told(tmp_path: Path, name: str) -> None:
    eight = io.BytesIO()
    Image.fromarray((COLOUR >> 8).astype(np.uint8)).save(eight, "png")
    pictures = [ROUNDED[name], eight.getvalue(), ROUNDED[name]]
    pq.write_table(pa.table({"image": pictures}), tmp_path / "a.parquet")
    source, told = opened(tmp_path / "a.parquet")
    assert sum("2 of 3 pictures have more than 8 bits per channel" in line for line in told) == 1
    if name in ("colour.png", "a.tif"):
        np.testing.assert_array_equal(np.rint(everything(source)[0] * 255), (COLOUR >> 8).reshape(-1))


def test_colour_of_8_bits_is_not_told_of(tmp_path: Path) -> None:
    eight = Image.fromarray((COLOUR >> 8).astype(np.uint8))
    folder = tmp_path / "pictures"
    folder.mkdir()
    for kind in ("png", "tif", "ppm", "jpg", "webp", "bmp", "gif"):
        eight.save(folder / f"a.{kind}")
    assert not any("bits" in line for line in opened(folder)[1])


def test_deep_planes_that_would_be_misread_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_of_16_bits(COLOUR, apart=True))
    with pytest.raises(UserError, match=r"a\.tif: colour of 16 bits per channel, uncompressed and in separate planes"):
        opened(tmp_path)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_of_32_bits_need_a_range(tmp_path: Path, dtype: type) -> None:
    values = np.array([[-10, 0], [30, 70]], dtype)
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="32-bit values") as caught:
        opened(tmp_path)
    assert "--value-range" in str(caught.value.hint)
    assert everything(opened(tmp_path, value_range=(-10, 70))[0]).tolist() == [[0.0, 0.125, 0.5, 1.0]]


def paged(kind: str, i: int) -> bytes:
    pages = [Image.fromarray((np.roll(RAMP, i + s, 1) * 8).astype(np.uint8)) for s in (0, 5, 9)]
    given = {"lossless": True} if kind == "webp" else {}
    buffer = io.BytesIO()
    pages[0].save(buffer, kind, save_all=True, append_images=pages[1:], **given)
    return buffer.getvalue()


@pytest.mark.parametrize("lazily", [True, False])
@pytest.mark.parametrize("kind", ["tiff", "gif", "webp", "png"])
def test_all_pages_are_items(tmp_path: Path, kind: str, lazily: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if lazily:
        monkeypatch.setattr("saescope.sources.images.pictures.EAGER_BYTES", 100)
        monkeypatch.setattr("saescope.sources.images.pictures._CHUNK", 5)
    folder = tmp_path / "pictures"
    for label in "xy":
        (folder / label).mkdir(parents=True)
    for i in range(6):
        (folder / "xy"[i // 3] / f"{i}.{kind}").write_bytes(paged(kind, i))
    expected = np.stack([(np.roll(RAMP, i + s, 1) * 8).reshape(-1) for i in range(6) for s in (0, 5, 9)])
    source, told = opened(folder, image_mode="grey")
    np.testing.assert_array_equal(np.rint(everything(source) * 255).astype(int), expected)
    assert source.metadata()["label"].to_pylist() == ["x"] * 9 + ["y"] * 9
    table = source.item_table(np.array([4, 17]))
    assert (table["file"].to_pylist(), table["page"].to_pylist()) == ([f"x/1.{kind}", f"y/5.{kind}"], [1, 2])
    assert any("every page of a file is an item: 18 of 6 files" in line for line in told)
    assert source.describe()["n_files"] == 6
    rows = np.array([17, 0, 3, 3])
    np.testing.assert_array_equal(np.rint(source.table().rows(rows).numpy() * 255), expected[rows])
    pq.write_table(pa.table({"image": [paged(kind, i) for i in range(6)], "label": range(6)}), tmp_path / "x.parquet")
    rows_of_a_table = opened(tmp_path / "x.parquet", image_mode="grey")[0]
    assert rows_of_a_table.data_sha256 == source.data_sha256
    assert rows_of_a_table.metadata()["label"].to_pylist() == [str(i // 3) for i in range(18)]


def test_pages_of_another_size_are_counted(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.zeros((side, side), np.uint8)) for side in (8, 4, 8, 2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    source, told = opened(tmp_path)
    assert source.n_items == 2
    assert source.item_table(np.arange(2))["page"].to_pylist() == [0, 2]
    assert any("2 of another size than their file's first are left out" in line for line in told)


@pytest.mark.parametrize("kind", ["tiff", "gif"])
def test_colour_of_a_later_page_is_kept(tmp_path: Path, kind: str) -> None:
    grey = Image.fromarray((RAMP * 8).astype(np.uint8))
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[..., 0] = 200
    grey.save(tmp_path / f"a.{kind}", kind, save_all=True, append_images=[Image.fromarray(colour)])
    found = np.rint(everything(opened(tmp_path)[0]) * 255).reshape(2, 16, 16, 3)
    np.testing.assert_array_equal(found, [np.repeat(np.asarray(grey)[..., None], 3, 2), colour])


def test_a_later_page_of_32_bits_needs_a_range(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.zeros((4, 4), dtype)) for dtype in (np.uint8, np.float32)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match="32-bit values"):
        opened(tmp_path)


def test_grey_pnm_of_16_bits(tmp_path: Path) -> None:
    pixels = np.array([[0, 1365], [2730, 4095]])
    (tmp_path / "a.pgm").write_bytes(b"P5 2 2 4095\n" + pixels.astype(">u2").tobytes())
    source, _ = opened(tmp_path)
    np.testing.assert_allclose(everything(source), pixels.reshape(1, -1) / 4095, atol=1e-4)
    assert source.describe()["stored_range"] == [0.0, 65535.0]
    ranged, _ = opened(tmp_path, value_range=(0, 4095))
    np.testing.assert_array_equal(everything(ranged), pixels.reshape(1, -1).astype(np.float32) / 4095)


def test_postscript_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(eps)
    with pytest.raises(UserError, match="not a picture"):
        opened(tmp_path)
    pq.write_table(pa.table({"image": [eps]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match="not a picture"):
        opened(tmp_path / "b.parquet")
