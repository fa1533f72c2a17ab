"""Whether an SAE fits the activations that it is given, and which of the usual mistakes would explain it if not.

A checkpoint that is read wrongly, or activations that are not those that it was trained on, show in FVU and L0. Where
they look wrong, the mistakes that people make are tried out on a sample, one at a time: the input's scale, subtraction
of the decoder's bias, its scale (SAELens before 4.1 did not fold it), matrices that are stored the other way round, the
units of thresholds, a normalisation of each input, and a residual stream that should be centred.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.corrections import corrected
from saescope.metrics.reconstruction import MetricSums
from saescope.sources.protocol import Source, flat_positions
from saescope.store.errors import DataError, UserError

N_SAMPLE = 512
"""Positions that alternatives are tried on."""
N_PLACES = 8
"""Places of a source that they are taken from, spread over it."""
SUSPICIOUS_FVU = 0.3
"""From which FVU on alternatives are tried: a good SAE may have more, so that alone is no reason to warn."""
SUSPICIOUS_FRACTION = 0.1
"""From which L0 / n_features on alternatives are tried."""
BETTER = 0.5
"""An alternative explains a bad fit where its FVU is below this part of what it was; or its L0 is a quarter or less,
with no worse an FVU."""


@dataclass(frozen=True)
class Reading:
    """The SAE read in one way, on the sample."""

    fvu: float
    l0: float
    assume: dict[str, Any] = field(default_factory=dict)
    """What has to be assumed for it; nothing for the SAE as it is."""
    centred: bool = False
    """Whether each activation is given less its own mean over the width."""

    @property
    def advice(self) -> str:
        """The options that read it so."""
        if self.centred:
            return "--centred"
        return " ".join(f"--assume {name}={_spelled(value)}" for name, value in self.assume.items())


@dataclass(frozen=True)
class Plausibility:
    """How the SAE fits the sample, and the readings that fit clearly better, the best first."""

    as_read: Reading
    better: tuple[Reading, ...]
    n_positions: int
    n_features: int
    sparse: bool = True
    """Whether the code is meant to be."""

    @property
    def warning(self) -> str | None:
        """What to tell people; None where nothing looks wrong."""
        fvu, l0 = self.as_read.fvu, self.as_read.l0
        wrong = f"FVU is {fvu:.3g} and L0 {l0:.3g} of {self.n_features} on {self.n_positions} positions"
        if self.better:
            tried = "; ".join(
                f"{_MISTAKES[_mistake(r)]}, {r.advice} (FVU {r.fvu:.3g}, L0 {r.l0:.3g})" for r in self.better
            )
            return f"{wrong}. It fits better when read otherwise. Likely mistakes: {tried}"
        if fvu >= 1 or (self.sparse and l0 > self.n_features / 2) or l0 == 0:
            return (
                f"{wrong}, which looks wrong. No other scale, subtraction of b_dec, transposition, threshold or "
                "normalisation fits better: check the model, hook and layer, and the activation function"
            )
        return None


_MISTAKES = {
    "subtract_b_dec": "b_dec's subtraction from the input",
    "input_scale": "the input's scale",
    "input_normalization": "the input's normalisation",
    "transposed": "matrices that are stored the other way round",
    "b_dec_scale": "b_dec's scale (SAELens before 4.1)",
    "threshold_scale": "the thresholds' units",
    "threshold_times_norm": "the thresholds' units, without the norms of atoms",
    "centred": "activations that are not centred",
}


def _mistake(reading: Reading) -> str:
    return "centred" if reading.centred else next(iter(reading.assume))


def check_on_source(sae: Autoencoder, source: Source, device: torch.device | None = None) -> Plausibility:
    """`check` on a sample of a source: the evaluated positions of items spread over it."""
    inputs, targets = list[Tensor](), list[Tensor]()
    wanted = N_SAMPLE // N_PLACES
    n_items = max(1, math.ceil(wanted / source.positions_per_item))
    for start in np.unique(np.linspace(0, max(source.n_items - n_items, 0), N_PLACES).astype(int)):
        batch = next(iter(source.batches(int(start), n_items)), None)
        rows = None if batch is None else flat_positions(batch)[0]
        if batch is None or rows is None or not len(rows):
            continue
        chosen = torch.from_numpy(np.unique(np.linspace(0, len(rows) - 1, wanted).astype(int))).to(rows.device)
        inputs.append(rows[chosen].float())
        if batch.targets is not None:
            flat = batch.targets.reshape(-1, batch.targets.shape[-1])
            targets.append((flat if batch.mask is None else flat[batch.mask.reshape(-1)])[chosen].float())
    if not inputs:
        raise DataError("the source has no evaluated positions to check the SAE on")
    x = torch.cat(inputs).to(device or "cpu")
    return check(sae, x, torch.cat(targets).to(x.device) if targets else None)


def looks_wrong(fvu: float | None, l0: float | None, n_features: int, sparse: bool = True) -> bool:
    """Whether a closer look is worth while. `sparse` says whether the code is meant to be."""
    if fvu is None or l0 is None:
        return False
    many = sparse and l0 > SUSPICIOUS_FRACTION * n_features
    return not fvu < SUSPICIOUS_FVU or many or l0 < 1


@torch.inference_mode()
def check(
    sae: Autoencoder, x: Float[Tensor, "row d_in"], target: Float[Tensor, "row d_out"] | None = None
) -> Plausibility:
    """How `sae` fits `x` (a transcoder: `target`), and which corrections fit better. Few rows (500) are enough."""
    goal = x if target is None else target
    as_read = Reading(*_fit(sae, x, goal))
    better: list[Reading] = []
    if looks_wrong(as_read.fvu, as_read.l0, sae.n_features) and isinstance(sae, LinearAutoencoder):
        for assume in _corrections(sae, x):
            reading = _read(sae, assume, x, goal)
            if reading is not None and _explains(reading, as_read, sae.n_features):
                better.append(reading)
        if target is None:
            centred = x - x.mean(1, keepdim=True)
            reading = Reading(*_fit(sae, centred, centred), centred=True)
            if _explains(reading, as_read, sae.n_features):
                better.append(reading)
    best = min((reading.fvu for reading in better), default=0.0)
    # of equally good ones the simplest first, then in the order in which they were tried: the commonest mistakes first
    better.sort(key=lambda r: (r.fvu > 1.1 * best + 0.01, len(r.assume)))
    return Plausibility(as_read, tuple(better[:3]), len(x), sae.n_features, sae.config.has_sparse_code)


def _read(sae: LinearAutoencoder, assume: dict[str, Any], x: Tensor, goal: Tensor) -> Reading | None:
    try:
        other = corrected(sae, assume)
    except UserError:
        return None
    return Reading(*_fit(other.to(x.device), x, goal), assume)


def _corrections(sae: LinearAutoencoder, x: Float[Tensor, "row d_in"]) -> list[dict[str, Any]]:
    """What is tried, by the names of `corrections.CORRECTIONS`. The scale gives the sample mean norm sqrt(d_in)."""
    config, found = sae.config, list[dict[str, Any]]()
    scale = math.sqrt(sae.d_in) / max(float(x.norm(dim=1).mean()), 1e-30)
    scaled = abs(math.log(scale)) > 0.05
    biased = bool(sae.b_dec.any()) and not config.transcoder
    other = {"subtract_b_dec": not config.apply_b_dec_to_input}
    if biased:
        found.append(other)
    if scaled and not config.transcoder:
        found += [{"input_scale": scale}, {"input_scale": 1 / scale}]
        if biased:
            found += [{**other, "input_scale": scale}, {"b_dec_scale": 1 / scale}, {"b_dec_scale": scale}]
    if sae.d_in == sae.n_features == sae.d_out:
        found.append({"transposed": True})
    thresholds = sae.tensors().get("threshold")
    if thresholds is not None and bool((thresholds > 0).any()):
        if scaled:
            found += [{"threshold_scale": scale}, {"threshold_scale": 1 / scale}]
        if thresholds.ndim and float((sae.decoder_norms - 1).abs().max()) > 0.01:
            found.append({"threshold_times_norm": True})
    if not config.transcoder:
        kinds = [kind for kind in ("none", "layer_norm", "norm") if kind != config.input_normalization]
        found += [{"input_normalization": kind} for kind in kinds]
    return found


def _fit(sae: Autoencoder, x: Tensor, goal: Tensor) -> tuple[float, float]:
    """FVU and L0."""
    codes, rebuilt = sae(x)
    sums = MetricSums(goal.shape[1])
    sums.add(goal, rebuilt, int((codes.abs() > sae.config.firing_threshold).sum()), float(codes.abs().sum()))
    found = sums.values(sae.n_features)
    return math.inf if found["fvu"] is None else found["fvu"], found["l0"] or 0.0


def _explains(other: Reading, as_read: Reading, n_features: int) -> bool:
    """Whether another reading is so much better that it is likely the right one."""
    if not math.isfinite(other.fvu) or other.fvu >= 1 or other.l0 > n_features / 2:
        return False
    if as_read.l0 >= 1 and other.l0 > 4 * as_read.l0:
        return False  # with more of everything any SAE fits better
    return other.fvu < BETTER * as_read.fvu or (other.l0 < as_read.l0 / 4 and other.fvu <= 1.1 * as_read.fvu)


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
