"""The items that a version keeps, their codes and their reconstructions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from saescope.store.errors import StoreError, UnknownItem
from saescope.store.format.schema import TABLES
from saescope.store.read.connection import Connection, among
from saescope.store.records import Item, ItemCode


class ItemReader:
    """Reads of items."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def items(self, item_ids: Sequence[int] | npt.NDArray[np.integer]) -> pa.Table:
        """Rows of table `items` in the order of `item_ids` (each once); ids that are not kept are left out."""
        wanted = list(dict.fromkeys(int(i) for i in item_ids))
        return self._by_item("items", wanted)

    def item(self, item_id: int) -> Item:
        """One item. Raises `UnknownItem` where the store does not keep it."""
        rows = self.items([item_id]).to_pylist()
        if not rows:
            raise UnknownItem(
                f"{self._connection.sae_id} does not keep item {item_id}", "it keeps the items of its examples"
            )
        own = {c.name: rows[0].pop(c.name, None) for c in TABLES["items"].columns}
        return Item(**own, metadata=rows[0])

    def sample_item_ids(self) -> list[int]:
        """The fixed sample of items with codes (and, for pixels, reconstructions), ascending."""
        for name in ("item_codes", "reconstructions"):
            if self._connection.has_table(name):
                rows = self._connection.rows(f"SELECT DISTINCT item_id FROM {name} ORDER BY item_id")  # noqa: S608
                return [row[0] for row in rows]
        return []

    def item_codes(self, item_id: int) -> list[ItemCode]:
        """The code of each position of a sampled item; empty for other items."""
        if not self._connection.has_table("item_codes"):
            return []
        rows = self._connection.rows(
            "SELECT item_id, position, feature_ids, activations FROM item_codes WHERE item_id = ? ORDER BY position",
            [int(item_id)],
        )
        return [ItemCode(*row) for row in rows]

    def latent_map(self) -> pa.Table | None:
        """Table `latent_map` with the items' labels as column `label`, or None where codes are wider than 3 units."""
        if not self._connection.has_table("latent_map"):
            return None
        return self._connection.sql(
            "SELECT m.item_id, position, values, label FROM latent_map m JOIN items i ON i.item_id = m.item_id "
            "ORDER BY m.item_id, position"
        )

    def reconstruction(self, item_ids: Sequence[int] | npt.NDArray[np.integer]) -> pa.Table:
        """Rows of table `reconstructions` in the order of `item_ids`; ids outside the sample are left out."""
        if not self._connection.has_table("reconstructions"):
            raise StoreError(f"{self._connection.sae_id} has no reconstructions", "only SAEs of pixels have them")
        return self._by_item("reconstructions", list(dict.fromkeys(int(i) for i in item_ids)))

    def _by_item(self, table: str, wanted: list[int]) -> pa.Table:
        return self._connection.sql(
            f"SELECT * FROM {table} WHERE {among('item_id', len(wanted))} "  # noqa: S608 - the name is ours
            "ORDER BY list_position(?::BIGINT[], item_id)",
            [*wanted, wanted],
        )
