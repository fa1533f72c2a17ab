"""One entry of a store, from a checkpoint and a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from saescope.precompute import BuildOptions, build_entry
from saescope.precompute.denoised_pictures import ClassicalReference
from saescope.progress import SILENT, Progress
from saescope.sources import DataOptions, open_source
from saescope.store import FeatureStore
from saescope.store.errors import OptionError, StoreError
from saescope.store.format.paths import validate_sae_id
from saescope.workflows.divided_source import open_to_train
from saescope.workflows.notes import Note, warn
from saescope.workflows.trained_columns import as_trained

IN_SAMPLE = "the metrics are over positions that the SAE was trained on: its training held nothing out"


@dataclass(frozen=True)
class Built:
    """A published version of an entry."""

    sae_id: str
    version: str


def build(
    checkpoint: Path | str,
    source: DataOptions,
    store: Path | str,
    *,
    sae_id: str | None = None,
    options: BuildOptions | None = None,
    format: str | None = None,
    assume: Mapping[str, Any] | None = None,
    note: Note = warn,
    progress: Progress = SILENT,
) -> Built:
    """Precomputes what every feature of the SAE in `checkpoint` (a path or a hub name) does on `source`, and publishes
    it in `store` as entry `sae_id` (None: the checkpoint folder's name).

    On the data that the SAE was trained on, metrics come from what its training held out alone. A build that was cut
    goes on; one with the same weights, data and options is not made twice. `format` and `assume` as in `load_sae`.
    `note` hears what the checkpoint leaves out, before the work begins, and where metrics are in-sample. Raises
    `UserError`; what is published stays.
    """
    name = validate_sae_id(sae_id) if sae_id is not None else entry_name_of(checkpoint)
    trained_on = source if source.split == "all" else replace(source, split=None)
    version = build_entry(
        checkpoint,
        open_source(as_trained(source, checkpoint), "evaluate", progress),
        Path(store),
        sae_id=name,
        options=options,
        reference=ClassicalReference(lambda: open_to_train(trained_on)),
        format=format,
        assume=assume,
        note=note,
        progress=progress,
    )
    with FeatureStore(store) as opened:
        if opened[name].manifest.config.get("metrics_are_in_sample"):
            note(IN_SAMPLE)
    return Built(name, version)


def entry_name_of(checkpoint: Path | str) -> str:
    """The checkpoint folder's name, where it can name an entry; else `OptionError`."""
    name = Path(checkpoint).resolve().name.lower()
    try:
        return validate_sae_id(name)
    except StoreError as error:
        raise OptionError(f"the folder's name {name!r} cannot name an entry", f"add --sae-id; {error.hint}") from None
