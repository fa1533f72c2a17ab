"""Publishing the smallest entry from its files: what the tests of writing, killing and racing do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from saescope.store.format.manifest import Manifest
from saescope.store.write.writer import EntryWriter

SAE_ID = "tiny"


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
