"""How much two dictionaries have in common: largest cosines both ways, and pairs one to one.

Cosines are computed in blocks; never are all pairs in memory. An atom of norm zero has cosine 0 with everything.

Shape symbols: `a` atoms of the one dictionary, `b` of the other, `d` dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.protocol import Autoencoder
from saescope.metrics.defaults import MATCH_COSINE
from saescope.metrics.registry import Over, register
from saescope.progress import SILENT, Progress
from saescope.store.errors import DataError, OptionError

BLOCK_ROWS, BLOCK_COLUMNS = 1024, 16_384
"""Cosines computed at a time: 64 MiB."""
MOST_CANDIDATES = 32
"""Partners that an atom of the first dictionary may choose among: those with the largest cosine."""

_MMCS = "mean over the atoms of {} of the largest cosine with an atom of {}"
_PAIRS = f"pairs of atoms, one to one, of cosine --match-cosine ({MATCH_COSINE}) or more and largest sum of cosines,"
register(
    Over.OTHER,
    {
        "max_atom_cosine": "mean over features of the largest cosine of its atom with another feature's",
        "max_encoder_cosine": "mean over features of the largest cosine of its encoder row with another feature's",
        "mmcs_to_other": _MMCS.format("this SAE", "the other"),
        "mmcs_from_other": _MMCS.format("the other SAE", "this one"),
        "n_matched_with_other": f"{_PAIRS} of this SAE and the other",
        "n_unmatched_here": "this SAE's atoms in no such pair",
        "n_unmatched_there": "the other SAE's atoms in no such pair",
        "mmcs_true_to_learned": _MMCS.format("the true dictionary", "the SAE"),
        "mmcs_learned_to_true": _MMCS.format("the SAE", "the true dictionary"),
        "n_true_matched": f"{_PAIRS} of the true dictionary and the SAE",
        "n_true_unmatched": "true features in no such pair",
        "n_learned_unmatched": "the SAE's atoms in no such pair",
    },
)


@dataclass(frozen=True)
class DictionaryComparison:
    """What two dictionaries have in common."""

    best_in_second: Float32[np.ndarray, " a"]
    """For each atom of the first dictionary the largest cosine with an atom of the second."""
    best_in_first: Float32[np.ndarray, " b"]
    """The other way round."""
    pairs: Int64[np.ndarray, "pair 2"]
    """Matched atoms of the first and the second dictionary, ascending. Each occurs once at most."""

    @property
    def mmcs(self) -> tuple[float, float]:
        """Mean max cosine similarity (Sharkey et al. 2022): of the first dictionary in the second, and back."""
        return float(self.best_in_second.mean(dtype=np.float64)), float(self.best_in_first.mean(dtype=np.float64))

    @property
    def unmatched(self) -> tuple[int, int]:
        """Atoms of the first and of the second dictionary that are in no pair."""
        return len(self.best_in_second) - len(self.pairs), len(self.best_in_first) - len(self.pairs)


@torch.inference_mode()
def compare_dictionaries(
    first: Float[Tensor, "a d"],
    second: Float[Tensor, "b d"],
    threshold: float = MATCH_COSINE,
    progress: Progress = SILENT,
) -> DictionaryComparison:
    """Compare on the device of `first`. `UserError` where the widths differ.

    The pairs have cosines of at least `threshold` and are one to one such that the sum of their cosines is largest
    (the assignment problem of Kuhn's Hungarian method, solved by LAPJVsp over the candidate pairs alone).
    """
    if first.shape[1] != second.shape[1]:
        raise DataError(
            f"atoms of {first.shape[1]} and of {second.shape[1]} dimensions cannot be compared",
            "compare dictionaries of the same activations",
        )
    if not 0 < threshold <= 1:
        raise OptionError(f"the threshold is {threshold}; expected a cosine above 0 and up to 1")
    ours, theirs = _unit(first), _unit(second.to(first.device))
    in_second = torch.full((len(ours),), -1.0, device=ours.device)
    in_first = torch.full((len(theirs),), -1.0, device=ours.device)
    found: list[_Candidates] = []
    for row in range(0, len(ours), BLOCK_ROWS):
        rows = slice(row, row + BLOCK_ROWS)
        near: list[_Candidates] = []
        for column in range(0, len(theirs), BLOCK_COLUMNS):
            columns = slice(column, column + BLOCK_COLUMNS)
            cosines = (ours[rows] @ theirs[columns].T).clamp_(-1, 1)
            in_second[rows] = torch.maximum(in_second[rows], cosines.amax(1))
            in_first[columns] = torch.maximum(in_first[columns], cosines.amax(0))
            near.append(_candidates(cosines, threshold, row, column))
        found.append(_joined(near).strongest())
        progress.update("comparing dictionaries", min(row + BLOCK_ROWS, len(ours)), len(ours))
    pairs = _assigned(_joined(found), len(theirs))
    return DictionaryComparison(in_second.cpu().numpy(), in_first.cpu().numpy(), pairs)


@torch.inference_mode()
def largest_cosines(vectors: Float[Tensor, "a d"], progress: Progress = SILENT) -> Float[Tensor, " a"]:
    """For each vector the largest cosine with another one of the same set (at least two)."""
    unit = _unit(vectors)
    best = torch.full((len(unit),), -1.0, device=unit.device)
    for row in range(0, len(unit), BLOCK_ROWS):
        rows = slice(row, row + BLOCK_ROWS)
        for column in range(0, len(unit), BLOCK_COLUMNS):
            cosines = (unit[rows] @ unit[column : column + BLOCK_COLUMNS].T).clamp_(-1, 1)
            own = torch.arange(len(cosines), device=unit.device)
            place = own + row - column
            here = (place >= 0) & (place < cosines.shape[1])
            cosines[own[here], place[here]] = -2.0
            best[rows] = torch.maximum(best[rows], cosines.amax(1))
        progress.update("comparing features", min(row + BLOCK_ROWS, len(unit)), len(unit))
    return best


def similarity_metrics(sae: Autoencoder, progress: Progress = SILENT) -> dict[str, float | None]:
    """How much the features of a linear decoder resemble each other; nothing of a single one."""
    if sae.n_features < 2:
        return {}
    metrics: dict[str, float | None] = {"max_atom_cosine": _mean(largest_cosines(sae.atoms.detach(), progress))}
    if isinstance(sae, LinearAutoencoder):
        metrics["max_encoder_cosine"] = _mean(largest_cosines(sae.W_enc.detach().T, progress))
    return metrics


def _mean(cosines: Float[Tensor, " a"]) -> float:
    return float(cosines.double().mean())


def comparison_metrics(between: DictionaryComparison) -> dict[str, float | None]:
    """Of an SAE and another one."""
    (to_other, from_other), (here, there) = between.mmcs, between.unmatched
    return {
        "mmcs_to_other": to_other,
        "mmcs_from_other": from_other,
        "n_matched_with_other": float(len(between.pairs)),
        "n_unmatched_here": float(here),
        "n_unmatched_there": float(there),
    }


def recovery_metrics(between: DictionaryComparison) -> dict[str, float | None]:
    """Of the true dictionary and an SAE."""
    (to_learned, to_true), (true, learned) = between.mmcs, between.unmatched
    return {
        "mmcs_true_to_learned": to_learned,
        "mmcs_learned_to_true": to_true,
        "n_true_matched": float(len(between.pairs)),
        "n_true_unmatched": float(true),
        "n_learned_unmatched": float(learned),
    }


@dataclass(frozen=True)
class _Candidates:
    """Pairs whose cosine reaches the threshold."""

    first: Int64[np.ndarray, " pair"]
    second: Int64[np.ndarray, " pair"]
    cosine: Float32[np.ndarray, " pair"]

    def strongest(self) -> _Candidates:
        """At most `MOST_CANDIDATES` of each atom of the first dictionary."""
        order = np.lexsort((self.second, -self.cosine, self.first))
        starts = np.flatnonzero(np.diff(self.first[order], prepend=-1))
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        kept = order[rank < MOST_CANDIDATES]
        return _Candidates(self.first[kept], self.second[kept], self.cosine[kept])


def _unit(atoms: Float[Tensor, "a d"]) -> Float[Tensor, "a d"]:
    return torch.nn.functional.normalize(atoms.detach().float(), dim=1, eps=1e-30)


def _candidates(cosines: Float[Tensor, "row column"], threshold: float, row: int, column: int) -> _Candidates:
    """The pairs of a block that begins at atoms `row` and `column`."""
    near = cosines >= threshold
    if int(near.sum(1).max()) > MOST_CANDIDATES:
        values, places = torch.topk(cosines, MOST_CANDIDATES, dim=1)
        rows, ranks = torch.nonzero(values >= threshold, as_tuple=True)
        columns, kept = places[rows, ranks], values[rows, ranks]
    else:
        rows, columns = torch.nonzero(near, as_tuple=True)
        kept = cosines[rows, columns]
    return _Candidates((rows + row).cpu().numpy(), (columns + column).cpu().numpy(), kept.cpu().numpy())


def _joined(parts: list[_Candidates]) -> _Candidates:
    first, second, cosine = (np.concatenate([getattr(p, n) for p in parts]) for n in ("first", "second", "cosine"))
    return _Candidates(first, second, cosine)


def _assigned(near: _Candidates, n_second: int) -> Int64[np.ndarray, "pair 2"]:
    """The one-to-one pairs with the largest sum of cosines. Atoms of the first dictionary may stay alone: each has a
    place of its own beside the second dictionary, at next to no weight."""
    if not len(near.first):
        return np.empty((0, 2), np.int64)
    rows, place = np.unique(near.first, return_inverse=True)
    alone = np.arange(len(rows))
    weights = np.concatenate([near.cosine.astype(np.float64), np.full(len(rows), 1e-9)])
    graph = coo_array(
        (weights, (np.concatenate([place, alone]), np.concatenate([near.second, n_second + alone]))),
        shape=(len(rows), n_second + len(rows)),
    )
    chosen_rows, chosen = min_weight_full_bipartite_matching(graph.tocsr(), maximize=True)
    matched = chosen < n_second
    pairs = np.stack([rows[chosen_rows[matched]], chosen[matched]], axis=1).astype(np.int64)
    return pairs[np.argsort(pairs[:, 0])]
