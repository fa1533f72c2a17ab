"""The smallest real entry, made once as files: what the tests of writing, killing and racing publish."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from saescope.store import FeatureStore
from saescope.store.format.manifest import Manifest
from saescope.store.write.writer import EntryWriter

SAE_ID = "tiny"


def make_parts(folder: Path) -> list[Path]:
    """Two published entries of the same digits with 8 and 12 features, as folders to publish again from."""
    from tests.store.digits_sae import Data, digits, fit, learn_dictionary
    from tests.store.fixture_store import write_entry

    whole = digits()
    data = Data(whole.images[:120], whole.labels[:120], np.ascontiguousarray(whole.x[:120]), None, None, (1, 1))
    parts = []
    for n_features in (8, 12):
        dictionary, curve = learn_dictionary(data.x, n_features, seed=0)
        root = folder / f"part-{n_features}"
        write_entry(root, SAE_ID, data, fit(data.x, dictionary, "topk", 2), curve, None)
        parts.append(FeatureStore(root)[SAE_ID].paths.root)
    return parts


def write_parts(writer: EntryWriter, part: Path) -> Manifest:
    """Write the tables and the checkpoint of `part` that `writer` does not have yet; the manifest to publish."""
    if not writer.has_checkpoint():
        writer.write_checkpoint(part / "sae")
    for path in sorted(part.glob("*.parquet")):
        if not writer.has(path.stem):
            writer.write_table(path.stem, pq.read_table(path))
    manifest = Manifest.read(part / "manifest.json")
    return dataclasses.replace(manifest, files={}, version="", build_key="")


def publish(root: Path, part: Path, key: str, sae_id: str = SAE_ID) -> str:
    with EntryWriter(root, sae_id, key) as writer:
        if writer.published is not None:
            return writer.published
        writer.state_path("progress").touch()
        return writer.publish(write_parts(writer, part))


def table_of(part: Path, name: str) -> pa.Table:
    return pq.read_table(part / f"{name}.parquet")
