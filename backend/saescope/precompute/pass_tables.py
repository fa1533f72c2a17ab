"""The tables of an entry that are made of a finished pass."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from jaxtyping import Int64

from saescope.autoencoders.protocol import Autoencoder
from saescope.autoencoders.variational.module import VariationalAutoencoder
from saescope.metrics.latents import LatentStatistics
from saescope.precompute.kernels.records import Postings
from saescope.precompute.one_pass.run import PassFolder, PassResult
from saescope.precompute.one_pass.spill import Spill
from saescope.precompute.options import BuildOptions
from saescope.precompute.tables.coactivations import coactivations
from saescope.precompute.tables.effects import effect_batches
from saescope.precompute.tables.examples import Examples, choose_examples, example_batches
from saescope.precompute.tables.features import feature_table
from saescope.precompute.tables.intervals import Intervals, choose_intervals
from saescope.precompute.tables.item_samples import (
    item_codes,
    latent_map,
    mapped_items,
    reconstructions,
    sample_items,
)
from saescope.precompute.tables.labels import label_features
from saescope.precompute.tables.latents import generated, latent_table
from saescope.precompute.tables.logit_effects import can_reach_logits, logit_effects, top_logits
from saescope.precompute.tables.neighbours import neighbours
from saescope.precompute.tables.tokens import count_tokens, top_tokens
from saescope.precompute.tables.whole_codes import WholeCodes
from saescope.progress import Progress
from saescope.sources.protocol import Source, TokenSource, as_tokens, item_lengths
from saescope.store.format.schema import MAPPED_WIDTHS
from saescope.store.format.source import PixelDescription, SourceDescription
from saescope.store.write.writer import EntryWriter


@dataclass(frozen=True)
class PassTables:
    """Writes every table that the build has not written yet."""

    sae: Autoencoder
    source: Source
    about: SourceDescription
    options: BuildOptions
    result: PassResult
    folder: PassFolder
    writer: EntryWriter
    progress: Progress
    latents: LatentStatistics | None = None

    @cached_property
    def spill(self) -> Spill:
        return Spill.open(self.folder.spill)

    @cached_property
    def codes(self) -> WholeCodes:
        return WholeCodes(self.sae, self.source, self.spill, self.result.state, self.result.n_positions)

    @cached_property
    def tokens(self) -> TokenSource | None:
        return as_tokens(self.source)

    def write(self, further: Int64[np.ndarray, " item"] | None = None) -> None:
        """Items and examples take one core for a while, so that they have threads of their own. `further` are items
        that other tables than these are about."""
        write, has = self.writer.write_table, self.writer.has
        intervals = choose_intervals(self.result.state, self.sae.config.firing_threshold)
        examples = choose_examples(self.result.state, intervals)
        sampled = sample_items(self.source.n_items, self.options.n_sample_items)
        mapped = np.empty(0, np.int64)
        if self.sae.n_features in MAPPED_WIDTHS:
            mapped = mapped_items(self.source.n_items, self.source.positions_per_item)
        with ThreadPoolExecutor(2) as pool:
            about = np.union1d(examples.item, np.union1d(sampled, mapped))
            about = about if further is None else np.union1d(about, further)
            jobs = [pool.submit(self._write_items, about)]
            postings = self.spill.postings(self.result.state.n_firing)
            self._write_features(intervals, postings)
            jobs.append(pool.submit(self._write_examples, examples))
            self._write_relations(postings)
            for job in jobs:
                job.result()
        if not has("item_codes"):
            write("item_codes", item_codes(sampled, self.spill))
        if not has("latent_map") and len(mapped):
            write("latent_map", latent_map(mapped, self.codes))
        if not has("reconstructions") and isinstance(self.about, PixelDescription):
            write("reconstructions", reconstructions(self.sae, self.source, sampled))
        if self.latents is not None:
            self._write_latents(self.latents, sampled)

    def _write_latents(self, latents: LatentStatistics, sampled: Int64[np.ndarray, " item"]) -> None:
        """What units of a variational autoencoder tell, and pictures of codes that it was not given."""
        if not self.writer.has("latents"):
            self.writer.write_table("latents", latent_table(latents))
        if not self.writer.has("generated") and isinstance(self.about, PixelDescription):
            assert isinstance(self.sae, VariationalAutoencoder)
            mean = self.codes.moments().mean
            seed = self.options.seed
            self.writer.write_table("generated", generated(self.sae, self.source, sampled, mean, latents.kl, seed))

    def _write_items(self, items: Int64[np.ndarray, " item"]) -> None:
        if not self.writer.has("items"):
            self.writer.write_table("items", self.source.item_table(items))

    def _write_features(self, intervals: Intervals, postings: Postings) -> None:
        """The features with their labels; for texts also the tokens that fire them."""
        write, has = self.writer.write_table, self.writer.has
        result, state, tokens = self.result, self.result.state, self.tokens
        if has("features") and (tokens is None or has("top_tokens")):
            return
        counts = None
        if tokens is not None:
            counts = count_tokens(self.spill, postings, tokens, self.options.n_top_tokens, self.progress)
            write("top_tokens", top_tokens(counts, state.n_firing, result.n_positions, tokens.vocabulary))
        labels = label_features(
            self.source.metadata(),
            self.about.label_words,
            self.spill.items,
            postings,
            state.n_firing,
            counts,
            () if tokens is None else tokens.vocabulary,
        )
        write("features", feature_table(state, intervals, labels, self.sae, result.n_positions))

    def _write_examples(self, examples: Examples) -> None:
        if self.writer.has("examples"):
            return
        longest = self.source.positions_per_item
        lengths = None if self.tokens is None else partial(item_lengths, self.tokens)
        batches = example_batches(examples, self.sae.n_features, self.spill if longest > 1 else None, longest, lengths)
        self.writer.write_table("examples", batches)

    def _write_relations(self, postings: Postings) -> None:
        """What features have to do with each other, and with the model's predictions."""
        write, has, tokens = self.writer.write_table, self.writer.has, self.tokens
        atoms = self.sae.atoms.detach() if self.sae.has_linear_decoder else None
        if not has("neighbours") and atoms is not None:
            write("neighbours", neighbours(atoms, self.options.n_neighbours, self.progress))
        if not has("effects") and atoms is None:
            write("effects", effect_batches(self.codes, self.progress))
        if not has("top_logits") and atoms is not None and tokens is not None and can_reach_logits(tokens):
            kept, vocabulary = self.options.n_top_logits, tokens.vocabulary
            effects = logit_effects(atoms, tokens.hooked_out.unembedding(), len(vocabulary), kept, self.progress)
            write("top_logits", top_logits(effects, vocabulary))
        if not has("coactivations"):
            kept = self.options.n_coactivations
            write("coactivations", coactivations(self.spill, postings, self.result.state.n_firing, kept, self.progress))
