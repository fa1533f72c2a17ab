"""A store with denoised items: an entry of the small digits beside tables that plain filters of SciPy fill."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from scipy import ndimage

from saescope.store import FeatureStore
from saescope.store.format.schema import schema_of
from saescope.store.format.tables import read_parquet
from saescope.store.write.writer import EntryWriter

LEVELS = (0.0, 0.2, 0.4, 0.8)
N_ITEMS = 8
SAE_ID = "digits-relu"


def psnr(clean: np.ndarray, other: np.ndarray) -> float | None:
    """Over a range of 1; None where they are equal."""
    mse = float(((clean - other) ** 2).mean())
    return None if mse == 0 else -10 * float(np.log10(mse))


def make_denoised(digits_store: Path, root: Path) -> Path:
    """`root`: the entry `SAE_ID` of the digits with `N_ITEMS` items at each of `LEVELS`."""
    random = np.random.default_rng(0)
    with FeatureStore(digits_store) as store:
        entry = store[SAE_ID]
        items = entry.items(entry.sample_item_ids()[:N_ITEMS]).to_pylist()
        rows: list[dict[str, Any]] = []
        for item in items:
            clean = np.asarray(Image.open(io.BytesIO(item["image"])), float) / 255
            for level in LEVELS:
                noisy = np.clip(clean + level * random.normal(size=clean.shape), 0, 1)
                smooth = ndimage.gaussian_filter(noisy, 0.5)
                made = {
                    "corrupted": noisy,
                    "gaussian": smooth,
                    "gaussian+curve": np.clip(1.2 * smooth - 0.1, 0, 1),
                    "median": ndimage.median_filter(noisy, 3),
                    "model": (noisy + 3 * clean) / 4,
                }
                rows += [
                    {
                        "item_id": item["item_id"], "level": level, "method": method, "values": values.ravel(),
                        "psnr": psnr(clean, values), "ssim": 0.5,
                    }
                    for method, values in made.items()
                ]  # fmt: skip
        with EntryWriter(root, SAE_ID, "0" * 64) as writer:
            writer.write_checkpoint(entry.paths.root / "sae")
            for name in entry.tables:
                writer.write_table(name, read_parquet(entry.paths.table(name)))
            writer.write_table("denoising", pa.Table.from_pylist(rows, schema_of("denoising")))
            writer.write_table("denoising_metrics", pa.Table.from_pylist(means(rows), schema_of("denoising_metrics")))
            writer.publish(entry.manifest)
    return root


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The table of means over `rows`."""
    groups: dict[tuple[float, str], list[float | None]] = {}
    for row in rows:
        groups.setdefault((row["level"], row["method"]), []).append(row["psnr"])
    return [
        {
            "level": level,
            "method": method,
            "parameters": "sigma=0.5" if method.startswith("gaussian") else "",
            "psnr": None if None in found else float(np.mean([p for p in found if p is not None])),
            "ssim": 0.5,
            "n_items": len(found),
        }
        for (level, method), found in groups.items()
    ]
