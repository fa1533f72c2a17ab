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
    click.option(
        "--texts",
        metavar="PATH",
        help="Parquet, Arrow, JSON Lines, CSV or plain text (file or folder), hf:NAME (a Hugging Face data set), "
        "or embedded:python. Needs --model and --hook.",
    ),
    click.option(
        "--activations",
        metavar="PATH",
        help="Cached activations: .npy, .npz, .safetensors, .pt, Parquet or Arrow, or a folder of such shards.",
    ),
    click.option(
        "--toy",
        metavar="SETTINGS",
        help="Sparse sums of known features, drawn as they are read: FEATURESxDIMENSIONS[:p=P,c=LOW..HIGH,items=N,"
        "groups=G,awake=Q,seed=S], e.g. 256x64:p=0.02.",
    ),
    click.option(
        "--model",
        metavar="NAME",
        help="Model that reads the texts or images: hub name, folder, .gguf file, or embedded:smollm2.",
    ),
    click.option(
        "--hook",
        metavar="HOOK",
        help="Where in the model: blocks.15.hook_resid_post (TransformerLens) or a module path, model.layers.15.",
    ),
    click.option(
        "--head",
        type=int,
        metavar="H",
        help="Read one attention head alone, from 0 on: at attn.hook_q, hook_k, hook_v or hook_z.",
    ),
    click.option(
        "--hook-out",
        metavar="HOOK",
        help="Transcoders: where the target comes from, named as --hook; read in the same forward pass.",
    ),
    click.option(
        "--targets", metavar="PATH", help="Transcoders: with --activations, a second file with each row's target."
    ),
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
    click.option(
        "--text-key",
        metavar="NAME",
        help="Column with texts, conversations or tokens.  [default: text, ..., messages, ..., input_ids]",
    ),
    click.option("--context", type=int, metavar="N", help="Texts: positions of an item at most.  [default: 128]"),
    click.option(
        "--context-stride",
        type=int,
        metavar="N",
        help="Texts: tokens between items.  [default: no overlap]",
    ),
    click.option(
        "--packing",
        type=click.Choice(["pieces", "packed"]),
        help="Texts: items within a document, or cut from documents joined together.  [default: pieces]",
    ),
    click.option("--max-tokens", type=int, metavar="N", help="Texts: read so many tokens, documents chosen by a hash."),
    click.option(
        "--bos",
        type=click.Choice(["auto", "yes", "no"]),
        help="Texts: begin items with the token for that.  [default: auto, where the tokenizer has one]",
    ),
    click.option(
        "--exclude-tokens",
        metavar="TOKENS",
        help="Texts: tokens that do not count: special, bos, none, tokens or ids, with commas.  [default: special]",
    ),
    click.option(
        "--exclude-norm",
        type=float,
        metavar="R",
        help="Models: positions over R times the median norm do not count; 0: all do.  [default: 10]",
    ),
    click.option(
        "--special-positions",
        type=click.Choice(["out", "in"]),
        help="Vision models: whether CLS and register tokens count.  [default: out]",
    ),
    click.option("--revision", metavar="REV", help="Branch, tag or commit of a hub model."),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        help="Of the model's weights.  [default: auto, float32 on a CPU]",
    ),
    click.option(
        "--centred/--not-centred",
        "centred",
        default=None,
        help="Subtract the residual stream's mean, as TransformerLens does.  [default: no]",
    ),
    click.option(
        "--cache",
        type=click.Choice(["auto", "on", "off"]),
        help="Whether a model's activations to train on are kept on disk.  [default: auto, up to a limit]",
    ),
    click.option("--cache-dtype", type=click.Choice(["float32", "float16"]), help="Of those.  [default: float32]"),
)
_NAMES = (
    "images",
    "texts",
    "activations",
    "toy",
    "model",
    "hook",
    "head",
    "hook_out",
    "targets",
    "patch",
    "stride",
    "image_mode",
    "split",
    "layout",
    "value_range",
    "data_key",
    "label_key",
    "text_key",
    "context",
    "context_stride",
    "packing",
    "max_tokens",
    "bos",
    "exclude_tokens",
    "exclude_norm",
    "special_positions",
    "revision",
    "dtype",
    "centred",
    "cache",
    "cache_dtype",
)


def source_options(command: F) -> F:
    """Adds SOURCE's options; the command gets those that were given as one `source: dict` of fields of
    `SourceOptions`."""

    @functools.wraps(command)
    def gathered(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in _NAMES}
        return command(*args, source={name: v for name, v in given.items() if v is not None}, **options)

    decorated: Any = gathered
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def parsed(source: dict[str, Any], device: str) -> SourceOptions:
    """The options as the sources take them; `UserError` for a bad combination. A model runs on `device`."""
    need("backend")
    from saescope.sources import SourceOptions

    return SourceOptions(**source, device=device)
