"""Feature absorption (Chanin et al. 2024): a feature for a letter goes silent where a narrower one says it already.

As in SAEBench, a probe of the activations says which words begin with a letter, k-sparse probes say which features are
the letter's main ones, and the words that the probe finds are looked at: do other features add what the main ones leave
out? Unlike there, words are taken from the source's own contexts. All items count, whether the SAE was trained on them
or not: it saw no letters.

Shape symbols: `word` positions at which words begin, `letter` letters that are measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy.sparse import csr_array
from torch import Tensor

from saescope.autoencoders.code_rows import CodeRows
from saescope.autoencoders.input_normalization import spread_of
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.protocol import Autoencoder
from saescope.metrics.absorption.main_features import LEAST_GAIN, main_features
from saescope.metrics.absorption.projections import (
    LEAST_SHARE,
    MOST_ABSORBERS,
    Projections,
    absorbed_fraction,
    is_fully_absorbed,
)
from saescope.metrics.absorption.words import FEWEST_TOKENS, LETTERS, Words, choose_words
from saescope.metrics.logistic import LogisticProbe, f1, fit_logistic
from saescope.metrics.registry import Over, register
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source, as_tokens
from saescope.store.errors import DataError, OptionError

LEAST_F1 = 0.6
"""A letter is measured where its probe's F1, on tokens that it was not fitted on, is above this."""

register(
    Over.OTHER,
    {
        "absorption_full": "fraction of the words that a first-letter probe finds, among tokens that it was not fitted "
        f"on, where no main feature of the letter fires and the feature that adds most to x . probe adds {LEAST_SHARE} "
        "of it or more; by letter, or the letters' mean",
        "absorption_fraction": f"mean over the same words of the part of x . probe that up to {MOST_ABSORBERS} other "
        "features have taken over from the main ones; by letter, or the letters' mean",
        "absorption_split": "main features of a letter: k-sparse probes grow while one more raises F1 by more than "
        f"{LEAST_GAIN}; by letter, or the letters' mean",
        "absorption_probe_f1": "F1 of the letter's probe on tokens that it was not fitted on; none where too few "
        "tokens begin with the letter; by letter, or the letters' mean",
        "absorption_letters": "letters that absorption is measured on: with enough tokens, a probe of F1 above "
        f"{LEAST_F1} and a feature that speaks for them",
    },
)


class Absorption:
    """Chooses words before a pass, collects their activations and codes while it goes by, and measures afterwards.

    `UserError` for what it cannot be measured on: sources without tokens, transcoders (their atoms are not directions
    of what probes read), decoders that are not linear, texts with too few words.
    """

    def __init__(self, sae: Autoencoder, source: Source) -> None:
        tokens = as_tokens(source)
        if tokens is None:
            raise OptionError(
                f"absorption is measured on the words of texts, but the source holds {source.kind}",
                "give --texts and --model, or leave --absorption out",
            )
        if sae.config.transcoder:
            raise OptionError(
                "absorption compares atoms with probes of the input, but a transcoder's atoms are directions of its "
                "target",
                "leave --absorption out",
            )
        if not sae.has_linear_decoder:
            raise OptionError(
                f"architecture {sae.config.architecture!r} has no linear decoder, so it has no atoms, and absorption "
                "compares atoms with probes",
                "leave --absorption out",
            )
        self._atoms = sae.atoms.detach()
        self._sae = sae
        self._words = choose_words(tokens)
        if not self._words.measurable():
            raise DataError(
                f"too few words to measure absorption on: no letter has {FEWEST_TOKENS} different tokens in each half, "
                "such as ' the', that begin with it",
                "give more text, or leave --absorption out",
            )
        self._positions_per_item = tokens.positions_per_item
        self._places = self._place(self._words.items, self._words.positions)
        self._x = np.zeros((len(self._words), sae.d_in), np.float32)
        self._seen = np.zeros(len(self._words), bool)
        nothing = np.empty(0, np.int64)
        self._entries = [(nothing, nothing, np.empty(0, np.float32))]

    def _place(self, items: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return items * self._positions_per_item + positions

    def add(
        self,
        x: Float[Tensor, "row d_in"],
        codes: CodeRows,
        items: Int64[np.ndarray, " row"],
        positions: Int64[np.ndarray, " row"],
    ) -> None:
        """Add a block of the pass: activations, their codes, and where they are."""
        here = self._place(items, positions)
        word = np.minimum(np.searchsorted(self._places, here), len(self._places) - 1)
        wanted = self._places[word] == here
        chosen = torch.from_numpy(np.flatnonzero(wanted)).to(x.device)
        self._x[word[wanted]] = x[chosen].float().cpu().numpy()
        self._seen[word[wanted]] = True
        per_row = np.diff(codes.row_ptr)
        taken = np.repeat(wanted, per_row)
        of_each = np.repeat(word, per_row)[taken]
        self._entries.append((of_each, codes.features[taken].astype(np.int64), codes.values[taken]))

    def metrics(self, progress: Progress = SILENT) -> dict[str, float | None]:
        """What the pass came to, by name.

        Words that the pass left out (a norm out of the ordinary) do not count. Where no letter can be measured, means
        are None and `absorption_letters` is 0.
        """
        shape = (len(self._words), self._sae.n_features)
        rows, features, values = (np.concatenate(part) for part in zip(*self._entries, strict=True))
        codes = csr_array((values, (rows, features)), shape=shape)[self._seen]
        return measure(
            self._words[self._seen], self._x[self._seen], codes, self._atoms, self._scales(), progress=progress
        )

    def _scales(self) -> Float[np.ndarray, " word"]:
        """What a code is multiplied by to be in the units of x: 1, but for inputs that are normalised one by one."""
        n = int(self._seen.sum())
        if not isinstance(self._sae, LinearAutoencoder) or self._sae.config.input_normalization == "none":
            return np.ones(n)
        spread = spread_of(torch.from_numpy(self._x[self._seen]), self._sae.config.input_normalization)
        return spread.scale[:, 0].double().numpy()


def measure(
    words: Words,
    x: Float32[np.ndarray, "word d_in"],
    codes: csr_array,
    atoms: Float[Tensor, "n_features d_in"],
    scales: Float[np.ndarray, " word"],
    progress: Progress = SILENT,
) -> dict[str, float | None]:
    """Absorption by letter (`absorption_full.a`) and its means over the letters that are measured.

    `codes` [word, feature] holds firings only; `scales` is what a word's codes are multiplied by beside the atoms.
    """
    judging = words.judging
    of_letter: dict[str, float | None] = {}
    probes: dict[int, LogisticProbe] = {}
    measurable = words.measurable()
    for at, letter in enumerate(measurable):
        y = words.letters == letter
        probe = fit_logistic(x[~judging], y[~judging], balanced=True)
        quality = f1(probe.scores(x[judging]) > 0, y[judging])
        of_letter[f"absorption_probe_f1.{LETTERS[letter]}"] = quality
        if quality > LEAST_F1:
            probes[letter] = probe
        progress.update("probing first letters", at + 1, len(measurable))
    directions = [probe.direction for probe in probes.values()]
    along, cosines = _along(atoms, directions)
    for at, (letter, probe) in enumerate(probes.items()):
        y = words.letters == letter
        main = main_features(codes, y, judging)
        found = np.flatnonzero(y & judging)
        found = found[probe.scores(x[found]) > 0]
        if main:
            totals = x[found].astype(np.float64) @ directions[at]
            places = _projections(codes[found], scales[found], along[:, at], cosines[:, at], main, totals)
            name = LETTERS[letter]
            of_letter[f"absorption_full.{name}"] = _mean([float(is_fully_absorbed(place)) for place in places])
            of_letter[f"absorption_fraction.{name}"] = _mean([absorbed_fraction(place) for place in places])
            of_letter[f"absorption_split.{name}"] = float(len(main))
        progress.update("measuring absorption", at + 1, len(probes))
    for letter, name in enumerate(LETTERS):
        if letter not in measurable:
            of_letter[f"absorption_probe_f1.{name}"] = None
    return _means(of_letter) | of_letter


def _along(
    atoms: Float[Tensor, "n_features d_in"], directions: Sequence[Float[np.ndarray, " d_in"]]
) -> tuple[Float[np.ndarray, "n_features letter"], Float[np.ndarray, "n_features letter"]]:
    """d_i . p of each atom and direction, and their cosines: 0 where an atom has norm 0."""
    if not directions:
        return np.empty((len(atoms), 0)), np.empty((len(atoms), 0))
    columns = torch.from_numpy(np.stack(directions, axis=1)).to(atoms.device, atoms.dtype)
    along = (atoms @ columns).double().cpu().numpy()
    norms = torch.linalg.vector_norm(atoms, dim=1).double().cpu().numpy()[:, None]
    return along, np.divide(along, norms, out=np.zeros_like(along), where=norms > 0)


def _projections(
    codes: csr_array,
    scales: Float[np.ndarray, " word"],
    along: Float[np.ndarray, " n_features"],
    cosines: Float[np.ndarray, " n_features"],
    main: Sequence[int],
    totals: Float[np.ndarray, " word"],
) -> list[Projections]:
    """What fires at each word, seen along one letter's direction."""
    is_main = np.zeros(codes.shape[1], bool)
    is_main[list(main)] = True
    found = []
    for word, (start, stop) in enumerate(zip(codes.indptr, codes.indptr[1:], strict=False)):
        features = codes.indices[start:stop]
        added = codes.data[start:stop] * scales[word] * along[features]
        found.append(Projections(added, cosines[features], is_main[features], float(totals[word])))
    return found


def _means(of_letter: Mapping[str, float | None]) -> dict[str, float | None]:
    """Means over the letters that have a value."""
    means: dict[str, float | None] = {}
    for metric in ("absorption_full", "absorption_fraction", "absorption_split", "absorption_probe_f1"):
        values = [v for name, v in of_letter.items() if name.startswith(f"{metric}.") and v is not None]
        means[metric] = _mean(values) if values else None
    n_letters = sum(name.startswith("absorption_full.") for name in of_letter)
    return means | {"absorption_letters": float(n_letters)}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def unmeasured_letters(metrics: Mapping[str, float | None]) -> str | None:
    """What to tell people of the letters that were not measured, and why; None where all were, or nothing was."""
    of_letter = {name[-1]: v for name, v in metrics.items() if name.startswith("absorption_probe_f1.")}
    few = ", ".join(name for name, quality in sorted(of_letter.items()) if quality is None)
    weak = ", ".join(name for name, quality in sorted(of_letter.items()) if quality is not None and quality <= LEAST_F1)
    silent = ", ".join(
        name
        for name, quality in sorted(of_letter.items())
        if quality is not None and quality > LEAST_F1 and f"absorption_full.{name}" not in metrics
    )
    reasons = {
        f"too few different words begin with {few}": few,
        f"probes find {weak} with an F1 of {LEAST_F1} or less": weak,
        f"no feature speaks for {silent}": silent,
    }
    why = "; ".join(reason for reason, letters in reasons.items() if letters)
    return f"absorption is not measured where {why}" if why else None
