"""A trained model as a denoiser of pictures, with what its checkpoint says of the corruption that it was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import msgspec
import numpy as np
import torch

from saescope.autoencoders.protocol import Autoencoder
from saescope.autoencoders.settings.corruption import CorruptionSettings
from saescope.denoising.corruption import Corruption, shape_of
from saescope.denoising.cycle_spinning import cycle_spun
from saescope.denoising.quality import Pictures
from saescope.denoising.tiles import Picture, through_tiles
from saescope.store.errors import CheckpointError, OptionError

HALVINGS = 10
"""Of the interval that an estimated level is looked for in."""


@dataclass(frozen=True, eq=False)
class Denoiser:
    """Rebuilds corrupted pictures, whose values are in the units that the model was trained in."""

    sae: Autoencoder
    shape: tuple[int, int, int]
    """Height, width and channels of what the model takes."""
    settings: CorruptionSettings
    """How its inputs were corrupted in training."""
    value_range: tuple[float, float]
    """Least and greatest value of a picture; what is denoised is clipped to it."""
    from_pairs: bool = False
    """Whether it learned from two noisy captures of the same fields."""

    @classmethod
    def of(cls, sae: Autoencoder, config: Mapping[str, Any], called: str) -> Denoiser:
        """From a checkpoint's cfg.json. `CheckpointError` where it was not trained on pictures."""
        training = config.get("training") or {}
        about = training.get("source") or {}
        shape = shape_of(about)
        if shape is None or sae.config.transcoder:
            raise CheckpointError(
                f"{called} was not trained to rebuild pictures (it does not record their size)",
                "give a checkpoint that `saescope train --images ... --corruption ...` wrote",
            )
        settings = corruption_of(training.get("config") or {})
        low, high = settings.noise_range or about.get("value_range") or (0.0, 1.0)
        return cls(sae, shape, settings, (float(low), float(high)), bool(about.get("pair")))

    @property
    def low_high(self) -> tuple[float, float] | None:
        """Least and greatest level of training; None where nothing was corrupted."""
        return None if self.settings.noise is None else (self.settings.noise[0], self.settings.noise[-1])

    @property
    def is_told(self) -> bool:
        """Whether the model is told the level."""
        return self.sae.config.noise_input

    @cached_property
    def device(self) -> torch.device:
        return next(self.sae.parameters()).device

    @torch.no_grad()
    def rebuilt(self, pictures: Pictures, level: float | None = None) -> Pictures:
        """Pictures of the model's own size, denoised. `level` is that of all of them."""
        x = torch.from_numpy(np.ascontiguousarray(pictures, np.float32)).reshape(len(pictures), -1).to(self.device)
        if self.is_told:
            assert level is not None
            x = torch.cat([x, x.new_full((len(x), 1), level)], dim=1)
        found = self.sae(x).reconstruction.clamp(*self.value_range)
        return found.reshape(pictures.shape).cpu().numpy()

    def denoised(self, picture: Picture, level: float | None = None, cycle_spinning: bool = False) -> Picture:
        """A picture of any size; with `cycle_spinning` the mean over shifts of each tile, five times the work."""
        rebuild = partial(self.rebuilt, level=level)
        spun = partial(cycle_spun, rebuild=rebuild)
        return through_tiles(picture, self.shape[:2], spun if cycle_spinning else rebuild)

    def corrupted(self, pictures: Pictures, level: float, seed: int) -> Pictures:
        """Pictures of any size, corrupted as in training."""
        if self.settings.corruption == "none":
            raise OptionError(
                "noise is to be added, but the model was trained without corruption", "give corrupted pictures"
            )
        settings = replace(self.settings, noise=(level,), noise_power=1.0, noise_conditioning=False)
        settings.check_corruption()
        corruption = Corruption(settings, (pictures.shape[1], pictures.shape[2], pictures.shape[3]))
        x = torch.from_numpy(np.ascontiguousarray(pictures, np.float32)).reshape(len(pictures), -1)
        noisy, _ = corruption.draw(x, torch.Generator().manual_seed(seed))
        return noisy.reshape(pictures.shape).numpy()

    def estimated_level(self, picture: Picture) -> float | None:
        """Level of the Gaussian noise in a picture; None for what cannot be estimated.

        Donoho and Johnstone's estimate from the finest wavelet coefficients (scikit-image's `estimate_sigma`) is too
        small where values are clipped. There it is the level at which the denoised picture, corrupted anew, gives the
        estimate that the picture itself gives.
        """
        if self.settings.corruption != "gaussian" or min(picture.shape[:2]) < 4:
            return None
        seen = _sigma(picture)
        if self.settings.noise_range is None:
            return seen
        low, high = 0.0, self.value_range[1] - self.value_range[0]
        for _ in range(HALVINGS):
            level = (low + high) / 2
            simulated = _sigma(self.corrupted(self.denoised(picture, level)[None], level, 0)[0])
            low, high = (level, high) if simulated < seen else (low, level)
        return (low + high) / 2


def corruption_of(recorded: Mapping[str, Any]) -> CorruptionSettings:
    """The settings of a run's corruption, from its record of all settings. `CheckpointError` where that is damaged."""
    values = {field.name: recorded[field.name] for field in fields(CorruptionSettings) if field.name in recorded}
    try:
        found = msgspec.convert(values, CorruptionSettings)
        found.check_corruption()
    except (msgspec.ValidationError, OptionError) as error:
        raise CheckpointError(f"the checkpoint's record of its corruption is damaged: {error}") from None
    return found


def _sigma(picture: Picture) -> float:
    """Mean over the channels; 0 for one without any detail, of which scikit-image makes NaN."""
    from skimage.restoration import estimate_sigma  # a large package, which most users of this module do without

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = [estimate_sigma(channel) for channel in np.moveaxis(picture, -1, 0)]
    return float(np.nan_to_num(found).mean())
