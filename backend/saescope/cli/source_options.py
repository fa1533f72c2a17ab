"""The options that name a source of activations, the same for train, sweep, build and evaluate."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from saescope.cli.extras import need

if TYPE_CHECKING:
    from saescope.sources import SourceOptions

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--images",
        metavar="PATH",
        help="IDX file or MNIST-style folder, .npy, .npz, a folder of pictures, Parquet; "
        "or embedded:digits, embedded:photos.",
    ),
    click.option("--activations", metavar="PATH", help="Cached activations: .npy, .npz or .safetensors."),
    click.option("--patch", type=int, metavar="P", help="Cut images into P x P patches; without it an image is one."),
    click.option("--stride", type=int, metavar="PIXELS", help="Pixels between neighbouring patches.  [default: P]"),
    click.option(
        "--image-mode",
        type=click.Choice(["grey", "colour"]),
        help="Convert to one or three channels.  [default: as is]",
    ),
    click.option(
        "--split",
        type=click.Choice(["train", "test", "all"]),
        help="Of data with splits.  [default: train for training, test for evaluate and build]",
    ),
    click.option("--layout", type=click.Choice(["nhw", "nhwc", "nchw"]), help="Axes of an array of images."),
    click.option(
        "--value-range",
        type=(float, float),
        default=None,
        metavar="LOW HIGH",
        help="Values of an array that stand for black and white.  [default: 0 255 for integers]",
    ),
    click.option("--data-key", metavar="NAME", help="Array, tensor or column to read of a file with several."),
    click.option("--label-key", metavar="NAME", help="Array or column with the labels."),
)
_NAMES = (
    "images",
    "activations",
    "patch",
    "stride",
    "image_mode",
    "split",
    "layout",
    "value_range",
    "data_key",
    "label_key",
)


def source_options(command: F) -> F:
    """Adds SOURCE's options; the command gets them as one `source: dict` of the fields of `SourceOptions`."""

    @functools.wraps(command)
    def gathered(*args: Any, **options: Any) -> Any:
        return command(*args, source={name: options.pop(name) for name in _NAMES}, **options)

    decorated: Any = gathered
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def parsed(source: dict[str, Any]) -> SourceOptions:
    """The options as the sources take them; `UserError` for a bad combination."""
    need("backend")
    from saescope.sources import SourceOptions

    return SourceOptions(**source)
