"""For images: strided convolutions down to a bottleneck of n_features units, transposed ones up again.

Nothing leads around the code: what is rebuilt went through it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Never, Self

from msgspec import Meta

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.defaults import default_rate, steps_of
from saescope.autoencoders.settings.layered import HiddenActivation, ReconstructionLoss
from saescope.autoencoders.settings.run import BY_SIZE, Count, DataSize, RunSettings
from saescope.options import OPEN, Open, filled, flag
from saescope.store.errors import OptionError

SMALLEST = 8
"""Least height and width of an image. By default there are stages until neither is above it, one at least."""
FIRST, WIDEST = 32, 256
"""Width of the default's first stage and of its widest; each stage is twice as wide as the one before."""
RATE = 2.0
"""Learning rate over that of the linear architectures: layers that are normalised over the batch stand more."""


@dataclass(frozen=True)
class ConvolutionalSettings(HiddenActivation[Open], ReconstructionLoss[Open]):
    """Of a convolutional autoencoder."""

    revival: Literal["none"] | Open = OPEN
    output: Literal["linear", "sigmoid"] | Open = field(
        default=OPEN, metadata=flag(default="sigmoid with bce, otherwise linear")
    )
    """What follows the last layer: nothing (`linear`) or a `sigmoid`, for raw data in [0, 1]."""
    channels: tuple[Count, ...] | Open = field(default=OPEN, metadata=BY_SIZE)
    """Channels after each stage of the encoder, which halves height and width; the decoder mirrors them."""
    kernel_size: Annotated[int, Meta(ge=2, le=11)] = 4
    """Height and width of the kernels, in pixels of their stage."""
    input_shape: tuple[Count, Count, Count] | Open = field(
        default=OPEN, metadata=flag(metavar="HEIGHT WIDTH CHANNELS", default="as the data says")
    )
    """Of the images, where activations do not say it: rows of pixels, channels last."""

    @property
    def needs_values(self) -> bool:
        return self.loss == "bce" or self.output == "sigmoid"

    def remarks(self, run: RunSettings[Any], d_in: int) -> tuple[str, ...]:
        if run.n_features < d_in or run.corruption != "none":
            return ()
        return (
            f"the code has {run.n_features} units for {d_in} dimensions and no constraint, so it can copy its input "
            "and need not learn anything of the data: give it fewer, or --corruption",
        )

    def products(self, run: RunSettings[Never], d_in: int) -> int:
        assert self.channels is not None
        assert self.input_shape is not None
        height, width, before = self.input_shape
        before, total = before + run.noise_conditioning, 0
        for after in self.channels:
            height, width = halved(height, self.kernel_size), halved(width, self.kernel_size)
            total += height * width * before * after * self.kernel_size**2
            before = after
        return total + height * width * before * run.n_features

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        if self.loss == "bce" and self.output == "linear":
            raise OptionError("--loss bce needs outputs in (0, 1), but --output is linear", "leave --output out")
        if run.input_transform == "zca":
            raise OptionError(
                "--input-transform zca mixes all pixels of an image, which a convolution cannot take up",
                "use scale or none",
            )
        if self.output == "sigmoid" and run.input_transform not in (None, "none"):
            raise OptionError(
                f"--output sigmoid rebuilds the data as they are, in [0, 1], but the input transform "
                f"{run.input_transform!r} standardises them",
                "use --input-transform none, or --output linear",
            )

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        run, own = super().with_own_defaults(run, size)
        shape = own.input_shape or size.shape
        if shape is None:
            raise OptionError(
                f"a convolutional autoencoder takes images, but these activations of width {size.d_in} do not say that "
                "they are any",
                "give images, or their shape: --input-shape HEIGHT WIDTH CHANNELS",
            )
        if math.prod(shape) != size.d_in or (size.shape is not None and shape != size.shape):
            of_data = size.d_in if size.shape is None else " x ".join(map(str, size.shape))
            raise OptionError(
                f"input_shape is {' x '.join(map(str, shape))}, but the activations are of {of_data}",
                "leave --input-shape out where the data says it",
            )
        check_size(shape)
        own = filled(own, input_shape=shape, channels=default_channels(shape))
        own = filled(own, output="sigmoid" if own.loss == "bce" else "linear")
        if own.output == "sigmoid":
            least, greatest = size.values or (0.0, 1.0)
            if least < 0 or greatest > 1:
                raise OptionError(
                    f"--output sigmoid gives values in [0, 1], but the data lie between {least:g} and {greatest:g}",
                    "use --output linear, or scale the data to [0, 1]",
                )
            run = filled(run, input_transform="none")
        rate = RATE * default_rate(size.d_in, run.n_features, steps_of(run, size))
        return filled(run, bias_rate=1.0, lr=rate), own

    def with_late_defaults(self, run: RunSettings[Never]) -> Self:
        if run.batch_size < 2:
            raise OptionError("batch_size is 1, but batch normalisation compares the positions of a batch", "give 2")
        return super().with_late_defaults(run)


def halved(length: int, kernel_size: int) -> int:
    """Height or width after a stage."""
    return (length + 2 * padding(kernel_size) - kernel_size) // 2 + 1


def padding(kernel_size: int) -> int:
    """Pixels that a stage adds on every side of its input: a length n becomes n / 2, rounded down where the kernel's is
    even and up where it is odd."""
    return (kernel_size - 1) // 2


def check_size(shape: tuple[int, ...]) -> None:
    """`OptionError` for images too small to halve."""
    if len(shape) != 3 or min(shape[:2]) < SMALLEST or shape[2] < 1:
        given = " x ".join(map(str, shape)) or "unknown"
        raise OptionError(
            f"the images are {given}, but a convolutional autoencoder takes {SMALLEST} x {SMALLEST} pixels or more",
            "use a fully connected one, such as undercomplete",
        )


def default_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Channels of the stages for images of a height, a width and channels."""
    n_stages = max(1, math.ceil(math.log2(min(shape[:2]) / SMALLEST)))
    return tuple(min(WIDEST, FIRST * 2**i) for i in range(n_stages))


ARCHITECTURE = Architecture(
    "convolutional",
    settings=ConvolutionalSettings,
    config_at=f"{__name__}.module:ConvolutionalConfig",
    module_at=f"{__name__}.module:ConvolutionalAutoencoder",
    objective_at=f"{__name__}.objective:ConvolutionalObjective",
    constraint="the code is narrower than the image, and shared kernels make it: n_features < d_in",
)
