"""Publishing an anomaly report: a folder that appears whole, once, and never changes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from saescope.store.atomic import is_temporary, make_folder, new_folder
from saescope.store.errors import StoreError
from saescope.store.format.anomaly_tables import ANOMALY_TABLES, ReportManifest, report_schema
from saescope.store.format.hashing import hash_file
from saescope.store.format.marker import create_store
from saescope.store.format.paths import AnomalyPaths


def publish_report(root: Path | str, manifest: ReportManifest, tables: Mapping[str, pa.Table]) -> Path:
    """Writes the report to the store at `root`, which is made if it is missing; gives its folder.

    A report of this name that everything decided alike stays as it is. `StoreError` where one of another making has the
    name. What a publication that was cut off left is swept away.
    """
    store = create_store(Path(root))
    paths = store.anomaly(manifest.name)
    make_folder(store.anomalies)
    for leftover in store.anomalies.iterdir():
        if is_temporary(leftover) and leftover.name.startswith(f".{manifest.name}.tmp-"):
            shutil.rmtree(leftover, ignore_errors=True)
    if paths.root.exists():
        found = ReportManifest.read(paths.manifest)
        if found.key == manifest.key:
            return paths.root
        raise StoreError(
            f"the store has another report {manifest.name!r} already, made {found.created_at}",
            "publish under another --name: what is published is never changed",
        )
    with new_folder(paths.root) as temporary:
        inside = AnomalyPaths(temporary)
        for name, rows in tables.items():
            pq.write_table(fitting(name, rows), inside.table(name), compression="zstd")
        files = {f"{name}.parquet": hash_file(inside.table(name)) for name in tables}
        inside.manifest.write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
        for path in temporary.iterdir():
            path.chmod(0o444)
    return paths.root


def fitting(name: str, rows: pa.Table) -> pa.Table:
    """`rows` with the table's columns, in order and type, further ones behind where it is open. `ValueError`
    otherwise."""
    schema = report_schema(name)
    extra = [f for f in rows.schema if f.name not in schema.names]
    if extra and not ANOMALY_TABLES[name].open:
        raise ValueError(f"table {name!r}: unknown columns {[f.name for f in extra]}")
    columns = [rows[f.name].cast(f.type) for f in schema] + [rows[f.name] for f in extra]
    for column, declared in zip(columns, schema, strict=False):
        if column.null_count and not declared.nullable:
            raise ValueError(f"table {name!r}: {declared.name} has nulls")
    return pa.table(columns, schema=pa.schema([*schema, *extra]))
