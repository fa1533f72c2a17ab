"""What a variational autoencoder's units tell, and pictures of codes that no item has."""

from __future__ import annotations

import pyarrow as pa

from saescope.store.errors import OptionError, StoreError
from saescope.store.format.schema import GENERATED_KINDS
from saescope.store.read.connection import Connection


class GeneratedReader:
    """Reads of the tables `latents` and `generated`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def latents(self) -> pa.Table | None:
        """Table `latents`, or None where the entry is no variational autoencoder."""
        return self._connection.table("latents") if self._connection.has_table("latents") else None

    def generated(self, kind: str) -> pa.Table:
        """Rows of table `generated` of one kind: sample, traversal_mean, traversal_item or interpolation."""
        if kind not in GENERATED_KINDS:
            raise OptionError(f"no kind of generated pictures {kind!r}", f"use {', '.join(GENERATED_KINDS)}")
        if not self._connection.has_table("generated"):
            raise StoreError(
                f"{self._connection.sae_id} has no generated pictures",
                "only variational autoencoders of images have them",
            )
        return self._connection.sql("SELECT * FROM generated WHERE kind = ? ORDER BY series, step", [kind])
