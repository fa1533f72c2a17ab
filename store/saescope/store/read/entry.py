"""One entry of a store: an SAE evaluated on a source, as one immutable version of it."""

from __future__ import annotations

from functools import cached_property

import pyarrow as pa

from saescope.store.annotations import Annotations
from saescope.store.format.manifest import Manifest
from saescope.store.format.paths import VersionPaths
from saescope.store.format.source import SourceDescription, read_source
from saescope.store.format.thresholds import DENSE_CODE
from saescope.store.numbers import significant
from saescope.store.read.connection import Connection
from saescope.store.read.denoising import DenoisingReader
from saescope.store.read.features import FeatureReader
from saescope.store.read.generated import GeneratedReader
from saescope.store.read.index import IndexPool
from saescope.store.read.items import ItemReader
from saescope.store.read.notes import FeatureNotes
from saescope.store.read.queries import FeatureQueries
from saescope.store.read.weights import WeightReader


class Entry:
    """Reads of one version. Opening costs nothing: the index is opened by the first read that needs it.

    An entry keeps showing the version that it was opened with; `store[sae_id]` gives the live one. Any number of
    threads may share an entry. Its calls are those of the readers below it: one feature (`FeatureReader`), all of them
    (`FeatureQueries`), items (`ItemReader`), what denoisers make of them (`DenoisingReader`), weights
    (`WeightReader`), and what people said (`FeatureNotes`).
    """

    def __init__(self, paths: VersionPaths, manifest: Manifest, indexes: IndexPool, annotations: Annotations) -> None:
        self.paths = paths
        """Files of this version."""
        self.manifest = manifest
        """Provenance, options and summary metrics."""
        connection = Connection(paths, manifest, indexes)
        self.has_table = connection.has_table
        self.table = connection.table
        self.sql = connection.sql
        self.check_feature = connection.check_feature
        self.tables = connection.tables
        """Names of the tables that this version has, in the schema's order."""

        notes = FeatureNotes(connection, annotations)
        self.annotation = notes.annotation
        self.annotations = notes.annotations
        self.label = notes.label
        self.star = notes.star

        features = FeatureReader(connection, notes)
        self.feature = features.feature
        self.examples = features.examples
        self.neighbours = features.neighbours
        self.coactivations = features.coactivations
        self.effects = features.effects
        self.top_tokens = features.top_tokens
        self.first_tokens = features.first_tokens
        self.top_logits = features.top_logits

        queries = FeatureQueries(connection, notes, features)
        self.search = queries.search
        self.features_with_text = queries.features_with_text
        self.features_page = queries.features_page
        self.scatter = queries.scatter
        self.histogram = queries.histogram
        self.near_duplicates = queries.near_duplicates
        self.n_near_duplicates = queries.n_near_duplicates

        items = ItemReader(connection)
        self.items = items.items
        self.item = items.item
        self.sample_item_ids = items.sample_item_ids
        self.item_codes = items.item_codes
        self.latent_map = items.latent_map
        self.reconstruction = items.reconstruction

        denoising = DenoisingReader(connection)
        self.denoised = denoising.denoised
        self.denoised_item_ids = denoising.denoised_item_ids
        self.noise_levels = denoising.noise_levels
        self.denoising_metrics = denoising.denoising_metrics

        generated = GeneratedReader(connection)
        self.latents = generated.latents
        self.generated = generated.generated

        self._weights = WeightReader(connection)
        self.atoms = self._weights.atoms
        self.decoder_bias = self._weights.decoder_bias

    def __repr__(self) -> str:
        m = self.manifest
        parts = [f"{m.architecture}, {m.n_features:,} features, {m.n_positions:,} positions"]
        for name in ("l0", "fvu"):
            value = m.metrics.get(name)
            if value is not None:
                parts.append(f"{name}={significant(value)}")
        return f"<Entry {m.sae_id!r}: {', '.join(parts)}>"

    @property
    def sae_id(self) -> str:
        return self.manifest.sae_id

    @property
    def version(self) -> str:
        return self.manifest.version

    @cached_property
    def source(self) -> SourceDescription:
        """Where the activations come from: the manifest's `source`, typed by its kind."""
        return read_source(self.manifest.source)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Name -> value; None where undefined."""
        return self.manifest.metrics

    @property
    def n_features(self) -> int:
        return self.manifest.n_features

    @property
    def n_positions(self) -> int:
        """Evaluated positions N behind every statistic."""
        return self.manifest.n_positions

    @property
    def weights_sha256(self) -> str:
        return self.manifest.weights_sha256

    @property
    def has_atoms(self) -> bool:
        """Whether features have atoms that can be read: the decoder is linear, and the file is not damaged."""
        return self._weights.has_atoms

    @property
    def has_dense_code(self) -> bool:
        """Whether half of the code or more fires on average, as where nothing makes it sparse."""
        share = self.metrics.get("fraction_active")
        return share is not None and share >= DENSE_CODE

    def training_curve(self) -> pa.Table | None:
        """Table `training`, or None where the checkpoint brought none."""
        return self.table("training") if self.has_table("training") else None

    def baselines(self) -> pa.Table | None:
        """Table `baselines`, or None."""
        return self.table("baselines") if self.has_table("baselines") else None
