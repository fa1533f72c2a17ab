"""How an SAE rebuilds the sampled items: the pictures, the errors, and each feature's share in the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from saescope.dashboard.components.pictures import image_pixels
from saescope.dashboard.presentation.choice import presenter

if TYPE_CHECKING:
    from saescope.store import Entry

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Rebuilt:
    """One item. Pictures are [h, w, c] in raw units, or None where the store has none.

    `features` are those that fire anywhere in the item, by the magnitude of their share, largest first; `shares` sum
    to 1 unless the code decodes to nothing. Where the decoder is not linear they are all 0, and the features stand by
    the magnitude of their activation. `activations` are each feature's largest in the item.
    """

    item_id: int
    item: dict[str, Any]
    original: Floats | None
    reconstruction: Floats | None
    value_range: tuple[float, float]
    mse: float | None
    n_firing: int
    n_positions: int
    features: npt.NDArray[np.int64]
    shares: Floats
    activations: Floats

    @property
    def residual(self) -> Floats | None:
        """Input minus reconstruction, raw units."""
        if self.original is None or self.reconstruction is None:
            return None
        return self.original - self.reconstruction


def shares(codes: Floats, atoms: Floats) -> Floats:
    """Share of each feature in what a code decodes to. codes [position, feature], atoms [feature, d_out] -> [feature].

    With r_p = sum_j f_pj d_j (the reconstruction without the decoder's bias), the share of feature j is
    sum_p <f_pj d_j, r_p> / sum_p ||r_p||^2: activation times atom, projected on the whole. Shares sum to 1; a negative
    one works against the rest. All zero where r is zero.
    """
    built = codes @ atoms
    total = float((built**2).sum())
    if total <= 0:
        return np.zeros(codes.shape[1])
    parts: Floats = (codes * (built @ atoms.T)).sum(axis=0) / total
    return parts


def rebuild(entry: Entry, item_ids: Sequence[int]) -> list[Rebuilt]:
    """The items of `item_ids` that the entry keeps, in that order; codes and pictures where it has them."""
    shown = presenter(entry)
    shape, (low, high) = shown.picture_shape, shown.value_range
    items = entry.items(item_ids).to_pylist()
    pictures: dict[int, dict[str, Any]] = {}
    if entry.has_table("reconstructions"):
        pictures = {row["item_id"]: row for row in entry.reconstruction(item_ids).to_pylist()}
    out = []
    for item in items:
        item_id = int(item["item_id"])
        picture = pictures.get(item_id)
        original = None
        image = shown.picture(item)
        if shape is not None and image:
            pixels = image_pixels(image, shape)
            original = None if pixels is None else low + pixels * (high - low)
        rebuilt = None
        if picture is not None and shape is not None and len(picture["reconstruction"]) == shape.size:
            rebuilt = np.asarray(picture["reconstruction"], np.float64).reshape(shape.height, shape.width, -1)
        features, parts, strongest, n_firing, n_positions = _code(entry, item_id)
        mse = None if picture is None else picture["mse"]
        out.append(
            Rebuilt(
                item_id, item, original, rebuilt, (low, high), mse, n_firing, n_positions, features, parts, strongest
            )
        )
    return out


def _code(entry: Entry, item_id: int) -> tuple[npt.NDArray[np.int64], Floats, Floats, int, int]:
    """Features by share, their shares and largest activations, number of firings, number of positions."""
    positions = entry.item_codes(item_id)
    ids = np.array([i for p in positions for i in p.feature_ids], dtype=np.int64)
    values = np.array([a for p in positions for a in p.activations], dtype=np.float64)
    if not len(ids):
        return ids, np.zeros(0), np.zeros(0), 0, len(positions)
    rows = np.repeat(np.arange(len(positions)), [len(p.feature_ids) for p in positions])
    features, column = np.unique(ids, return_inverse=True)
    codes = np.zeros((len(positions), len(features)))
    codes[rows, column] = values
    strongest = codes[np.abs(codes).argmax(axis=0), np.arange(len(features))]
    linear = entry.has_atoms  # else there are no shares
    parts = shares(codes, entry.atoms(features).astype(np.float64)) if linear else np.zeros(len(features))
    order = np.lexsort((features, -np.abs(parts if linear else strongest)))
    return features[order], parts[order], strongest[order], len(ids), len(positions)
