"""The probe of an SAE, whatever kind of source it was built from."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from saescope.autoencoders.device import choose_device
from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints import load_sae
from saescope.models.options import DType, ModelOptions
from saescope.probing.result import ProbeResult, firing_features
from saescope.store.errors import CheckpointError
from saescope.store.format.source import (
    ActivationDescription,
    HookedDescription,
    PixelDescription,
    SourceDescription,
    TextDescription,
    VisionDescription,
    read_source,
)

Takes = Literal["text", "picture"]


class Probe(ABC):
    """An SAE with all that stands before it: a model and its tokenizer, or the cutting of pictures."""

    takes: Takes

    def __init__(self, sae: Autoencoder, device: str) -> None:
        self._device = choose_device(device)
        self._sae = sae.to(self._device)

    @staticmethod
    def open(checkpoint: Path, source: Mapping[str, Any], device: str = "auto") -> Probe:
        """The probe of a checkpoint for the kind of source that `source` (a manifest's) tells of.

        Loads the model where there is one. Raises `CheckpointError` where a file of activations is all that is known,
        or the model is not there, is another one, or does not fit the SAE.
        """
        described = source if isinstance(source, SourceDescription) else read_source(source)
        for described_as in type(described).__mro__:
            if described_as in _CLASSES:
                module, name = _CLASSES[described_as]
                chosen: Any = getattr(importlib.import_module(f"saescope.probing.{module}"), name)
                probe: Probe = chosen(load_sae(checkpoint), described, device)
                return probe
        cached = isinstance(described, ActivationDescription)
        raise CheckpointError(
            f"this SAE was built from {'a file of activations' if cached else f'a source of kind {described.kind!r}'}, "
            "so there is no way from a prompt or picture to its input",
            "build it from texts or images, with the model where there is one",
        )

    @abstractmethod
    def text(self, prompt: str) -> ProbeResult:
        """What fires at each token of a prompt. Raises `DataError` where the SAE takes pictures."""

    @abstractmethod
    def picture(self, image: Image.Image) -> ProbeResult:
        """What fires at each position of a picture. Raises `DataError` where the SAE takes texts."""

    def _codes(self, x: Float[Tensor, "position d_in"]) -> tuple[list[Any], list[Any]]:
        if x.shape[1] != self._sae.d_in:
            raise CheckpointError(
                f"the SAE takes activations of width {self._sae.d_in}, but its source as described gives {x.shape[1]}",
                "build the SAE again: the checkpoint and the manifest's source are not of one build",
            )
        return firing_features(self._sae, x.to(self._device))


_CLASSES: dict[type, tuple[str, str]] = {
    PixelDescription: ("pictures", "PixelProbe"),
    VisionDescription: ("pictures", "VisionProbe"),
    TextDescription: ("texts", "TextProbe"),
}
"""What describes a source -> module of this package, and class: imported when asked for, as transformers takes
seconds."""


def model_options(source: HookedDescription, device: str) -> ModelOptions:
    """The model that a manifest tells of, in the arithmetic that it was used in."""
    return ModelOptions(
        name=source.model,
        revision=source.revision,
        dtype=cast("DType", source.dtype or "auto"),
        device=device,
        centred=source.centred,
    )


def check_model(source: HookedDescription, fingerprint: str, width: int, sae: Autoencoder) -> None:
    """Refuse a model that is not the one that the store was built from, or whose hook has another width."""
    if source.fingerprint is not None and source.fingerprint != fingerprint:
        raise CheckpointError(
            f"{source.model} has other weights than the model that this SAE was built from",
            "put the model of that time in its place, or build the SAE again",
        )
    if width != sae.d_in:
        raise CheckpointError(
            f"the SAE takes activations of width {sae.d_in}, but {source.hook} of {source.model} has {width}",
            "build the SAE again with the hook that it was trained on",
        )
