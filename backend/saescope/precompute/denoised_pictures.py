"""What an entry keeps of a model that denoises: items at several levels of corruption, beside classical denoisers.

Every method sees the same corrupted pictures, the noise of a picture growing with the level alone. Classical denoisers
are chosen for each level on pictures that may be trained on, and nothing is measured on these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int64

from saescope.autoencoders.protocol import Autoencoder
from saescope.autoencoders.settings.corruption import FRACTIONS, CorruptionSettings
from saescope.denoising.denoiser import Denoiser
from saescope.denoising.quality import Pictures, psnr, ssim
from saescope.metrics.evaluation import metric_items
from saescope.precompute.tables.item_samples import sample_items
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import ActivationTable, Source
from saescope.sources.split import held_out_items
from saescope.store.format.schema import schema_of
from saescope.store.format.source import PatchDescription, PixelDescription

if TYPE_CHECKING:
    from saescope.denoising.classical import ClassicalDenoiser

MOST_ITEMS, MOST_MEASURED, MOST_CHOSEN_ON = 16, 1_000, 200
"""Items kept, items measured, training items that classical denoisers are chosen on."""
KEPT_VALUES, MEASURED_VALUES, CHOSEN_ON_VALUES = 2**22, 160_000, 25_000
"""Values that they may have, so that larger pictures are fewer."""
METHODS = 16
"""Kept of an item at a level: about so many."""
NOISE_SEED, TRAINING_SEED = 0, 1


class DividedPictures(Protocol):
    """What may be trained on, and what was held out from it."""

    @property
    def source(self) -> Source: ...

    @property
    def table(self) -> ActivationTable: ...

    @property
    def held_out(self) -> dict[str, Any] | None: ...


class ClassicalReference:
    """Classical denoisers of a source, each chosen when it is first asked for: entries of a sweep share them."""

    def __init__(self, divided: Callable[[], DividedPictures]) -> None:
        self._divide = divided
        self._divided: DividedPictures | None = None
        self._chosen: dict[tuple[Any, ...], list[ClassicalDenoiser]] = {}

    @property
    def divided(self) -> DividedPictures:
        """The source, opened to train."""
        self._divided = self._divided or self._divide()
        return self._divided

    def chosen(self, model: Denoiser, level: float) -> list[ClassicalDenoiser]:
        """The classical denoisers of that corruption at that level."""
        from saescope.denoising.classical import choose  # scikit-image, which builds of other models do without

        settings = model.settings
        key = (settings.corruption, settings.noise_range, settings.noise_patch, model.value_range, level)
        if key not in self._chosen:
            table = self.divided.table
            rows = sample_items(table.n_rows, _number(MOST_CHOSEN_ON, CHOSEN_ON_VALUES, table.d_in))
            clean = table.rows(rows).numpy().reshape(-1, *model.shape)
            noisy = model.corrupted(clean, level, TRAINING_SEED)
            self._chosen[key] = list(choose(clean, noisy, *model.value_range))
        return self._chosen[key]


def denoises(config: Mapping[str, Any], about: Any) -> bool:
    """Whether a checkpoint (cfg.json) was trained to denoise, and the source is whole pictures."""
    recorded = (config.get("training") or {}).get("config") or {}
    return (
        isinstance(about, PixelDescription)
        and not isinstance(about, PatchDescription)
        and recorded.get("corruption", "none") != "none"
    )


class Measured(NamedTuple):
    """What one method makes of corrupted items, against the clean ones."""

    level: float
    method: str
    parameters: str
    pictures: Pictures
    psnr: Float[np.ndarray, " item"]
    ssim: Float[np.ndarray, " item"]


@dataclass(frozen=True, eq=False)
class DenoisedPictures:
    """The rows of both tables, for one entry."""

    model: Denoiser
    source: Source
    reference: ClassicalReference
    judged: Int64[np.ndarray, " judged"]
    """Items that nothing was learned from."""

    @classmethod
    def of(
        cls, sae: Autoencoder, config: Mapping[str, Any], source: Source, reference: ClassicalReference
    ) -> DenoisedPictures | None:
        """None where pictures of another size were trained on, or none is left to judge by."""
        model = Denoiser.of(sae, config, "the checkpoint")
        about = source.describe()
        assert isinstance(about, PixelDescription)
        metric, trained_on = metric_items(config, source)
        divided = reference.divided
        same = divided.source.data_sha256 == source.data_sha256
        if tuple(about.input_shape) != model.shape or trained_on or (same and divided.held_out is None):
            return None
        judged: Bool[np.ndarray, " n_items"] = np.ones(source.n_items, bool) if metric is None else metric
        if same and divided.held_out is not None:
            judged = judged & held_out_items(source, divided.held_out["seed"], divided.held_out["fraction"])
        return cls(model, source, reference, np.flatnonzero(judged)) if judged.any() else None

    @property
    def levels(self) -> list[float]:
        """Levels that are shown."""
        return levels_of(self.model.settings)

    @property
    def items(self) -> Int64[np.ndarray, " kept"]:
        """Items that are kept denoised, ascending."""
        size = int(np.prod(self.model.shape)) * len(self.levels) * METHODS
        return self._sampled(max(2, _number(MOST_ITEMS, KEPT_VALUES, size)))

    def item_table(self, progress: Progress = SILENT) -> pa.Table:
        """The store's `denoising`."""
        items = self.items
        rows = [
            {
                "item_id": int(item),
                "level": each.level,
                "method": each.method,
                "values": picture.reshape(-1).astype(np.float32),
                "psnr": _finite(ratio),
                "ssim": _finite(similarity),
            }
            for each in self._measured(items, progress, "denoising kept items")
            for item, picture, ratio, similarity in zip(items, each.pictures, each.psnr, each.ssim, strict=True)
        ]
        ordered = sorted(rows, key=lambda row: (row["item_id"], row["level"], row["method"]))
        return pa.Table.from_pylist(ordered, schema=schema_of("denoising"))

    def metric_table(self, progress: Progress = SILENT) -> pa.Table:
        """The store's `denoising_metrics`."""
        items = self._sampled(_number(MOST_MEASURED, MEASURED_VALUES, int(np.prod(self.model.shape))))
        means = [
            {
                "level": each.level,
                "method": each.method,
                "parameters": each.parameters,
                "psnr": _finite(each.psnr.mean()),
                "ssim": _finite(each.ssim.mean()),
                "n_items": len(items),
            }
            for each in self._measured(items, progress, "measuring denoisers")
        ]
        ordered = sorted(means, key=lambda row: (row["level"], row["method"]))
        return pa.Table.from_pylist(ordered, schema=schema_of("denoising_metrics"))

    def _sampled(self, n: int) -> Int64[np.ndarray, " sampled"]:
        return self.judged[sample_items(len(self.judged), n)]

    def _measured(self, items: Int64[np.ndarray, " item"], progress: Progress, stage: str) -> Iterator[Measured]:
        """What each method makes of the items at each level."""
        low, high = self.model.value_range
        chosen = np.zeros(self.source.n_items, bool)
        chosen[items] = True
        clean = self.source.table(chosen).rows(np.arange(len(items))).numpy().reshape(-1, *self.model.shape)
        for at, level in enumerate(self.levels):
            progress.update(stage, at, len(self.levels))
            noisy = self.model.corrupted(clean, level, NOISE_SEED)
            for method, parameters, found in self._methods(noisy, level):
                yield Measured(
                    level, method, parameters, found, psnr(clean, found, high - low), ssim(clean, found, high - low)
                )
        progress.update(stage, len(self.levels), len(self.levels))

    def _methods(self, noisy: Pictures, level: float) -> list[tuple[str, str, Pictures]]:
        low, high = self.model.value_range
        found = [("corrupted", "", noisy), ("model", "", self.model.rebuilt(noisy, level))]
        found += [(d.name, d.chosen, d.denoise(noisy, low, high)) for d in self.reference.chosen(self.model, level)]
        return found


def levels_of(settings: CorruptionSettings) -> list[float]:
    """Levels to show: nine over the trained range and one beyond, or quarters of a single level up to half beyond."""
    assert settings.noise is not None
    low, high = settings.noise[0], settings.noise[-1]
    if low == high:
        levels = [high * quarter / 4 for quarter in range(7)]
    else:
        levels = [low + (high - low) / 8 * step for step in range(-1, 10)]
    most = 1.0 if settings.corruption in FRACTIONS else math.inf
    return sorted({round(level, 6) for level in levels if 0 <= round(level, 6) <= most})


def _number(most: int, values: int, size: int) -> int:
    return max(1, min(most, values // size))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
