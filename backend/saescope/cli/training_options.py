"""The options that decide a training run, the same for train and sweep: one for each field of `TrainingConfig`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from saescope.cli.extras import need

if TYPE_CHECKING:
    from saescope.training.config import TrainingConfig

F = TypeVar("F", bound=Callable[..., Any])


def _number(name: str, kind: type, help: str) -> Callable[[F], F]:
    flag = "--" + name.replace("_", "-")
    return click.option(flag, name, type=kind, default=None, metavar="N" if kind is int else "X", help=help)


def _choice(name: str, choices: list[str], help: str) -> Callable[[F], F]:
    return click.option("--" + name.replace("_", "-"), name, type=click.Choice(choices), default=None, help=help)


def _whole_numbers(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(word) for word in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of whole numbers such as 64,192", context, parameter) from None


def _widths(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    return () if text == "0" else _whole_numbers(context, parameter, text)


_BASIC = {
    "architecture": click.option(
        "--arch",
        "architecture",
        required=True,
        metavar="A",
        help="Architecture: topk, batchtopk, matryoshka, abstopk, groupmax, relu (L1), gated, jumprelu, kl, deep, ...",
    ),
    "n_features": click.option("--n-features", type=int, required=True, metavar="M", help="Width of the code."),
}
_SPARSITY = {
    "k": _number("k", int, "topk and its kin: features kept per position (batchtopk, matryoshka: on average)."),
    "l1": _number("l1", float, "relu, gated, deep: weight of sum |f| beside sum (x - x_hat)^2 per position."),
    "l0_weight": _number("l0_weight", float, "jumprelu: weight of the number of firing features beside that sum."),
    "rho": _number("rho", float, "kl: target of each feature's mean activation, e.g. 0.05."),
    "target_l0": _number("target_l0", float, "Any architecture, instead of its own setting: the L0 to arrive at."),
}
SPARSITY = frozenset(_SPARSITY)
"""The options that decide how sparse the code is, one of which a sweep varies."""

_FURTHER = {
    "recipe": _choice("recipe", ["2023", "april2024"], "relu: published settings as defaults instead of ours."),
    "steps": _number("steps", int, "Optimiser steps.  [default: by the size of the data]"),
    "seed": _number("seed", int, "Of weights, order of the data and every draw.  [default: 0]"),
    "batch_size": _number("batch_size", int, "Positions per step."),
    "lr": _number("lr", float, "Peak learning rate of Adam."),
    "bias_rate": _number("bias_rate", float, "Learning rate of b_enc over that of the other weights."),
    "lr_warmup": _number("lr_warmup", float, "Fraction of the steps over which the rate rises."),
    "lr_decay": _number("lr_decay", float, "Fraction of the steps, at the end, over which it falls."),
    "adam_beta1": _number("adam_beta1", float, "Decay of Adam's mean of gradients.  [default: 0.9]"),
    "adam_beta2": _number("adam_beta2", float, "Decay of Adam's mean of squares.  [default: 0.999]"),
    "adam_epsilon": _number("adam_epsilon", float, "Added to Adam's root of squares.  [default: 1e-8]"),
    "grad_clip": _number("grad_clip", float, "Largest norm of the gradient; 0 = no clipping."),
    "weight_decay": _number("weight_decay", float, "Of the two matrices, in the loss."),
    "input_transform": _choice(
        "input_transform", ["none", "scale", "zca"], "Space to train in: raw, centred and scaled, or whitened."
    ),
    "zca_epsilon": _number("zca_epsilon", float, "zca: added to eigenvalues, in parts of their mean.  [default: 0.01]"),
    "decoder_norm": _choice("decoder_norm", ["unit", "free"], "Whether atoms keep norm 1."),
    "first_norm": _number("first_norm", float, "Norm of the atoms before the first step; 0 = by the data."),
    "first_b_dec": _choice("first_b_dec", ["mean", "geometric_median"], "b_dec before the first step."),
    "autocast": click.option(
        "--autocast/--no-autocast", "autocast", default=None, help="CUDA: matrix products in bfloat16.  [default: no]"
    ),
    "tied": click.option(
        "--tied/--untied", "tied", default=None, help="Whether the encoder is the transposed decoder.  [default: no]"
    ),
    "apply_b_dec_to_input": click.option(
        "--pre-bias/--no-pre-bias",
        "apply_b_dec_to_input",
        default=None,
        help="Whether b_dec is subtracted from the input before encoding.  [default: no]",
    ),
    "skip": click.option(
        "--skip/--no-skip",
        "skip",
        default=None,
        help="Transcoders: add a linear path from the input to the output.  [default: no]",
    ),
    "l1_reduction": _choice(
        "l1_reduction", ["sum", "mean"], "relu: mean is the textbook form (terms averaged, raw inputs)."
    ),
    "l1_weighting": _choice("l1_weighting", ["none", "decoder_norm"], "relu, gated: weigh |f| by its atom's norm."),
    "gate_decoder": _choice("gate_decoder", ["held", "learns"], "gated: whether gates train the decoder as well."),
    "l1_warmup": _number("l1_warmup", float, "relu, gated, jumprelu: part of the steps over which the penalty rises."),
    "refit": _number(
        "refit", float, "relu: fraction of the steps, at the end, that fit the decoder on a kept support."
    ),
    "p_end": _number("p_end", float, "relu: exponent of |f| that the penalty ends with (p-annealing).  [default: 1]"),
    "p_from": _number("p_from", float, "relu: fraction of the steps from which it falls.  [default: 0.3]"),
    "l0_penalty": _choice("l0_penalty", ["step", "tanh"], "jumprelu: count firing features, or a smooth form of it."),
    "bandwidth": _number("bandwidth", float, "jumprelu: width of the window that gives thresholds a gradient."),
    "initial_threshold": _number("initial_threshold", float, "jumprelu: thresholds before the first step."),
    "tanh_scale": _number("tanh_scale", float, "jumprelu: c in tanh(c |f| ||atom||)."),
    "pre_activation_weight": _number(
        "pre_activation_weight", float, "jumprelu: pull of dead features towards their thresholds."
    ),
    "group_sizes": click.option(
        "--group-sizes",
        "group_sizes",
        default=None,
        callback=_whole_numbers,
        metavar="N1,N2,...",
        help="matryoshka: features of each nested group, from the most general.",
    ),
    **{
        f"{side}_widths": click.option(
            f"--{side}-widths",
            f"{side}_widths",
            default=None,
            callback=_widths,
            metavar="N1,N2,...",
            help=f"deep: widths of the {side}'s hidden layers; 0 for none.  [default: one of twice the input's width]",
        )
        for side in ("encoder", "decoder")
    },
    "kl_weight": _number("kl_weight", float, "kl: weight of the divergence beside the error."),
    "revival": _choice(
        "revival", ["auxk", "resample", "both", "pre_activation", "none"], "What brings dead features back."
    ),
    "dead_after": _number("dead_after", int, "Positions without firing after which a feature counts as dead."),
    "aux_weight": _number("aux_weight", float, "auxk: weight of the auxiliary loss."),
    "aux_k": _number("aux_k", int, "auxk: most dead features used per position."),
    "resample_every": _number("resample_every", int, "resample: steps between two rounds."),
    "resample_until": _number("resample_until", float, "resample: fraction of the steps after which none takes place."),
}

device_option = click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu or cuda.")


def training_options(sparsity: bool) -> Callable[[F], F]:
    """Adds the options; the command gets those that were given as one `training: dict`.

    `sparsity` False leaves out those that decide how sparse the code is, for a sweep that varies them.
    """
    options = {**_BASIC, **(_SPARSITY if sparsity else {}), **_FURTHER}

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def gathered(*args: Any, **given: Any) -> Any:
            training = {name: given.pop(name) for name in options}
            return command(*args, training={n: v for n, v in training.items() if v is not None}, **given)

        decorated: Any = gathered
        for option in reversed(options.values()):
            decorated = option(decorated)
        return decorated

    return decorate


def configured(training: dict[str, Any]) -> TrainingConfig:
    """The options as training takes them; `UserError` for a bad combination."""
    need("backend")
    from saescope.training.config import TrainingConfig

    return TrainingConfig(**training)
