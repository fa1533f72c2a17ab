"""Random damage to files of every format: either the data still reads, or one `UserError` names the file."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from idx_files import idx_bytes
from PIL import Image
from safetensors.numpy import save

from saescope.sources import SourceOptions, open_source
from saescope.store.errors import UserError

_ROUNDS = 60
_PIXELS = np.random.default_rng(0).integers(0, 256, (6, 12, 10), dtype=np.uint8)


def into_bytes(write, *args, **given) -> bytes:
    buffer = io.BytesIO()
    write(buffer, *args, **given)
    return buffer.getvalue()


def picture(kind: str, mode: str = "RGB") -> bytes:
    return into_bytes(Image.fromarray(_PIXELS[0]).convert(mode).save, kind)


def parquet(compression: str) -> bytes:
    table = pa.table({"image": [picture("PNG", "L")] * 5, "label": range(5)})
    return into_bytes(lambda buffer: pq.write_table(table, buffer, compression=compression, row_group_size=2))


def files() -> dict[str, bytes]:
    return {
        "x-idx3-ubyte": idx_bytes(_PIXELS),
        "x-idx3-ubyte.gz": gzip.compress(idx_bytes(_PIXELS)),
        "bytes.npy": into_bytes(np.save, _PIXELS),
        "floats.npy": into_bytes(np.save, _PIXELS / 255),
        "plain.npz": into_bytes(np.savez, images=_PIXELS, labels=np.arange(6)),
        "packed.npz": into_bytes(np.savez_compressed, x_train=_PIXELS, x_test=_PIXELS, y_train=np.arange(6)),
        "a.png": picture("PNG"),
        "b.png": picture("PNG", "P"),
        "a.jpg": picture("JPEG"),
        "a.gif": picture("GIF", "P"),
        "a.bmp": picture("BMP"),
        "a.tif": picture("TIFF", "L"),
        "a.ppm": picture("PPM"),
        "plain.parquet": parquet("none"),
        "packed.parquet": parquet("zstd"),
        "activations.npy": into_bytes(np.save, _PIXELS[0].astype(np.float32)),
        "activations.npz": into_bytes(np.savez, activations=_PIXELS[0].astype(np.float32)),
        "activations.safetensors": save({"x": _PIXELS[0].astype(np.float32)}),
    }


def damaged(data: bytes, chance: random.Random) -> bytes:
    copy = bytearray(data)
    kind = chance.choice(["cut", "header", "anywhere", "insert"])
    if kind == "cut":
        return bytes(copy[: chance.randrange(len(copy))])
    if kind == "insert":
        place = chance.randrange(len(copy))
        copy[place:place] = chance.randbytes(chance.randint(1, 9))
        return bytes(copy)
    for _ in range(chance.randint(1, 8)):
        copy[chance.randrange(min(len(copy), 200) if kind == "header" else len(copy))] = chance.randrange(256)
    return bytes(copy)


@pytest.mark.parametrize("name", list(files()))
def test_damage_is_read_or_told(tmp_path: Path, name: str) -> None:
    whole = files()[name]
    path = tmp_path / name
    given = {"activations" if name.startswith("activations") else "images": str(path)}
    path.write_bytes(whole)
    assert open_source(SourceOptions(**given), "train").n_items > 0
    chance = random.Random(name)
    told: list[str] = []
    for _ in range(_ROUNDS):
        path.write_bytes(damaged(whole, chance))
        try:
            source = open_source(SourceOptions(**given), "train")
            for _ in source.batches():
                pass
            source.item_table(np.arange(source.n_items))
        except UserError as error:
            told.append(error.message)
    assert told
    assert all(str(path) in message for message in told)
