"""From options to images read by a vision model."""

from __future__ import annotations

from saescope.progress import SILENT, Progress
from saescope.sources.hooked.options import VisionOptions
from saescope.sources.hooked.vision import HookedImages, open_vision
from saescope.sources.images.opening import find_images, has_splits
from saescope.sources.options import Purpose
from saescope.sources.splits import chosen_split

__all__ = ["has_splits", "open_data"]


def open_data(options: VisionOptions, purpose: Purpose, progress: Progress = SILENT) -> HookedImages:
    """The images that `options` name, and the model that reads them."""
    data = find_images(options)
    return open_vision(options, data, chosen_split(data.splits, options, purpose, progress), progress)
