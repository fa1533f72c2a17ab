"""Published anomaly reports, read-only."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from saescope.store.errors import StoreError, UnknownReport
from saescope.store.format.anomaly_tables import ANOMALY_TABLES, ReportManifest
from saescope.store.format.paths import SAE_ID_PATTERN, AnomalyPaths, StorePaths
from saescope.store.format.tables import read_parquet


class AnomalyReport:
    """One report: `store.anomaly("mnist-7").manifest.metrics`, `.table("scores")`."""

    def __init__(self, paths: AnomalyPaths, manifest: ReportManifest) -> None:
        self.paths, self.manifest = paths, manifest

    def __repr__(self) -> str:
        return f"<AnomalyReport {self.name!r}>"

    @property
    def name(self) -> str:
        return self.manifest.name

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A whole table. `StoreError` for one that the report does not have, or whose columns are not those written."""
        if name not in ANOMALY_TABLES or f"{name}.parquet" not in self.manifest.files:
            raise StoreError(f"report {self.name!r} has no table {name!r}", f"it has {', '.join(self.manifest.files)}")
        found = read_parquet(self.paths.table(name), columns)
        written = {column.name for column in ANOMALY_TABLES[name].columns}
        lacking = sorted((written if columns is None else written & set(columns)) - set(found.column_names))
        if lacking:
            raise self.damaged(f"table {name} lacks {', '.join(lacking)}")
        return found

    def damaged(self, what: str) -> StoreError:
        """An error that says what of the report is not as it was written."""
        return StoreError(f"report {self.name!r} is damaged: {what}", "saescope verify tells all faults of the store")

    def has_table(self, name: str) -> bool:
        return f"{name}.parquet" in self.manifest.files

    def curve(self, kind: str, signal: str | None = None) -> pa.Table:
        """The points of a curve ('roc' or 'precision_recall') of a signal (None: the score's)."""
        table = self.table("curves")
        wanted = pc.and_(
            pc.equal(table["signal"], self.manifest.signal if signal is None else signal), pc.equal(table["kind"], kind)
        )
        return table.filter(wanted)


def report_names(paths: StorePaths) -> list[str]:
    """Names of the published reports, sorted."""
    folder = paths.anomalies
    if not folder.is_dir():
        return []
    return sorted(
        p.name for p in folder.iterdir() if SAE_ID_PATTERN.fullmatch(p.name) and (p / "manifest.json").is_file()
    )


def open_report(paths: StorePaths, name: str) -> AnomalyReport:
    """A published report. `UnknownReport` where there is none of the name."""
    if not SAE_ID_PATTERN.fullmatch(name) or name not in report_names(paths):
        known = ", ".join(report_names(paths)[:8])
        hint = f"it holds {known}" if known else "publish one with saescope anomaly report --store"
        raise UnknownReport(f"the store has no anomaly report {name!r}", hint)
    files = paths.anomaly(name)
    return AnomalyReport(files, ReportManifest.read(Path(files.manifest)))
