"""Corrupted items and what denoisers make of them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from saescope.store.errors import StoreError
from saescope.store.read.connection import Connection


class DenoisingReader:
    """Reads of the tables `denoising` and `denoising_metrics`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def denoised_item_ids(self) -> list[int]:
        """The items that are kept denoised, ascending; empty where the model was not trained to denoise."""
        return self._distinct("item_id")

    def noise_levels(self) -> list[float]:
        """The levels that they are kept at, ascending."""
        return self._distinct("level")

    def denoised(self, item_id: int, level: float) -> pa.Table:
        """Rows of table `denoising`: one item at one of `noise_levels()`, a row per method."""
        if not self._connection.has_table("denoising"):
            raise StoreError(
                f"{self._connection.sae_id} has no denoised items", "only models of whole images that denoise have them"
            )
        return self._connection.sql(
            "SELECT * FROM denoising WHERE item_id = ? AND level = ? ORDER BY method", [int(item_id), float(level)]
        )

    def denoising_metrics(self) -> pa.Table | None:
        """Table `denoising_metrics`, or None."""
        name = "denoising_metrics"
        return self._connection.table(name) if self._connection.has_table(name) else None

    def _distinct(self, column: str) -> list[Any]:
        if not self._connection.has_table("denoising"):
            return []
        rows = self._connection.rows(f"SELECT DISTINCT {column} FROM denoising ORDER BY {column}")  # noqa: S608 - ours
        return [row[0] for row in rows]
