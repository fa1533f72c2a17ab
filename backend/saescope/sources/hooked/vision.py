"""Pictures through a vision transformer's hook point: a position is one of the model's patches, a CLS token or a
register.

Shape symbols: `item` pictures, `position` the model's positions of a picture, `d_in` width of an activation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from saescope.models import HookedModel
from saescope.progress import SILENT, Progress
from saescope.sources.hooked.options import VisionOptions
from saescope.sources.hooked.picture_inputs import PictureInputs
from saescope.sources.hooked.source import HookedSource, shared_model
from saescope.sources.images.image_data import ImageData
from saescope.sources.images.opening import load_images
from saescope.sources.images.parquet_images import ParquetData
from saescope.sources.images.picture_folder import PictureData
from saescope.sources.images.pixels import PixelSource
from saescope.sources.images.png import encode_png
from saescope.sources.options import Split
from saescope.store.errors import CheckpointError
from saescope.store.format.source import VisionDescription

_AT_ONCE = 32
"""Pictures that are brought to the model's size together, to be shown."""


def open_vision(
    options: VisionOptions, data: ImageData, split: Split | None, progress: Progress = SILENT
) -> HookedImages:
    """The images of `options`, read by the model of `options`. Raises `CheckpointError` where they do not go together.

    Pictures of unequal size are brought to the model's as they are decoded.
    """
    model = options.model_options
    loaded = shared_model(options, progress)
    if loaded.kind != "vision":
        raise CheckpointError(
            f"model {options.model} reads texts, not images ({type(loaded.model).__name__})",
            "use a ViT, CLIP or DINOv2 model, or give --texts in the place of --images",
        )
    hooked = HookedModel(loaded, options.hook, options.head)
    inputs = PictureInputs.of(model, progress)
    if isinstance(data, PictureData | ParquetData):
        data = replace(data, fit=inputs.fit)
    images = load_images(data, split, options, progress)
    pixels = PixelSource(images, path=options.path, format=data.format, split=split, labels=options, progress=progress)
    return HookedImages(pixels, hooked, inputs, options, is_fitted=images.is_fitted, progress=progress)


class HookedImages(HookedSource):
    """Images, read by a model after its own image processor has resized, cropped and normalised them.

    Items keep all of the model's positions, in its order: first `prefix_positions` that are no patch (CLS, registers),
    then the patches row by row over `grid`. Unless `special_positions` is 'in', the former count in no statistic.
    """

    kind = "vision"
    _options: VisionOptions

    def __init__(
        self,
        pixels: PixelSource,
        hooked: HookedModel,
        inputs: PictureInputs,
        options: VisionOptions,
        *,
        is_fitted: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        super().__init__(hooked, options, progress)
        self._pixels, self._inputs, self._is_fitted = pixels, inputs, is_fitted
        first = self._pixel_values(np.zeros(1, dtype=np.int64))
        height, width = int(first.shape[2]), int(first.shape[3])
        self.input_shape = (height, width, 3)
        """Of a picture as the model sees it."""
        self._n_positions = self._checked_positions(first)
        self.patch = _patch_size(hooked.loaded.model.config)
        self.grid = (height // self.patch, width // self.patch)
        self.prefix_positions = self._n_positions - self.grid[0] * self.grid[1]
        if self.prefix_positions < 0:
            raise CheckpointError(
                f"hook {options.hook}: {self._n_positions} positions for {self.grid[0]} x {self.grid[1]} patches",
                "use a hook whose positions are the model's patches, such as blocks.0.hook_resid_post",
            )

    @property
    def n_items(self) -> int:
        return self._pixels.n_items

    @property
    def positions_per_item(self) -> int:
        return self._n_positions

    @property
    def data_sha256(self) -> str:
        """Of the images, whichever model reads them; of pictures of unequal size, as the model sees them."""
        return self._pixels.data_sha256

    @property
    def n_evaluated(self) -> int:
        return self.n_items * (self._n_positions - self._n_left_out)

    def lengths(self, items: Int64[np.ndarray, " item"]) -> Int64[np.ndarray, " item"]:
        return np.full(len(items), self._n_positions, dtype=np.int64)

    def evaluated(self, items: Int64[np.ndarray, " item"]) -> Bool[np.ndarray, "item position"]:
        return np.tile(np.arange(self._n_positions) >= self._n_left_out, (len(items), 1))

    def forward(self, items: Int64[np.ndarray, " item"]) -> Float[Tensor, "item position width"]:
        return self._activations(self._pixel_values(items))

    def item_table(self, item_ids: Int64[np.ndarray, " item"]) -> pa.Table:
        """Pictures are as the model sees them."""
        return self._pixels.item_table_with(item_ids, self._shown)

    def metadata(self) -> Mapping[str, Any]:
        return self._pixels.metadata()

    def inputs(self) -> dict[str, Any]:
        return {"processor": self._inputs.settings, "n_left_out": self._n_left_out}

    def describe(self) -> VisionDescription:
        stored = self._pixels.describe()
        excluded = {"CLS and register tokens": self.n_items * self._n_left_out} if self._n_left_out else {}
        return VisionDescription(
            **self._about(),
            format=stored.format,
            split=stored.split,
            label_words=stored.label_words,
            n_files=stored.n_files,
            only_labels=stored.only_labels,
            without_labels=stored.without_labels,
            stored_shape=None if self._is_fitted else stored.input_shape,
            excluded=excluded,
            input_shape=self.input_shape,
            image_mode="colour",
            patch=self.patch,
            stride=self.patch,
            grid=self.grid,
            prefix_positions=self.prefix_positions,
            special_positions=self._options.special_positions,
        )

    @property
    def _n_left_out(self) -> int:
        """Positions at the beginning of each item that do not count."""
        return 0 if self._options.special_positions == "in" else self.prefix_positions

    def _pixel_values(self, items: Int64[np.ndarray, " item"]) -> Float[Tensor, "item 3 model_height model_width"]:
        return self._inputs.prepare(self._pixels.pictures(items), self._is_fitted)

    def _shown(self, items: Int64[np.ndarray, " item"]) -> list[bytes]:
        """PNGs of items as the model sees them."""
        return [
            encode_png(picture)
            for start in range(0, len(items), _AT_ONCE)
            for picture in self._inputs.shown(self._pixel_values(items[start : start + _AT_ONCE]))
        ]

    def _checked_positions(self, first: Tensor) -> int:
        """Positions of a picture, from the first one."""
        try:
            return int(self.hooked.activations(first).shape[1])
        except ValueError as error:  # of another size than the model's position embedding
            raise CheckpointError(
                f"model {self._options.model} does not take pictures of {first.shape[2]} x {first.shape[3]}, which its "
                f"image processor makes: {error}",
                "check that preprocessor_config.json belongs to the model, or crop the pictures to squares first",
            ) from error


def _patch_size(config: Any) -> int:
    """Side of the model's patches, in pixels."""
    size = getattr(config, "patch_size", None)
    side = size[0] if isinstance(size, list | tuple) else size
    if not isinstance(side, int) or (isinstance(size, list | tuple) and len(set(size)) > 1):
        raise CheckpointError(
            f"a {config.model_type} model has no square patches (patch_size is {size})",
            "use a ViT, CLIP or DINOv2 model",
        )
    return side
