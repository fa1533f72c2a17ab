"""The probe of an SAE, whatever kind of source it was built from."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from saescope.autoencoders import Autoencoder
from saescope.autoencoders.device import choose_device
from saescope.checkpoints import load_sae
from saescope.models.options import ModelOptions
from saescope.probing.result import ProbeResult, firing_features
from saescope.store.errors import UserError

Takes = Literal["text", "picture"]


class Probe(ABC):
    """An SAE with all that stands before it: a model and its tokenizer, or the cutting of pictures."""

    takes: Takes

    def __init__(self, sae: Autoencoder, source: Mapping[str, Any], device: str) -> None:
        self._device = choose_device(device)
        self._sae, self._source = sae.to(self._device), source

    @staticmethod
    def open(checkpoint: Path, source: Mapping[str, Any], device: str = "auto") -> Probe:
        """The probe of a checkpoint for the kind of source that `source` (a manifest's) tells of.

        Loads the model where there is one. Raises `UserError` where a file of activations is all that is known, or the
        model is not there, is another one, or does not fit the SAE.
        """
        kind = str(source.get("kind"))
        if kind not in _CLASSES:
            raise UserError(
                f"this SAE was built from {_OTHER_KINDS.get(kind, f'a source of kind {kind!r}')}, so there is no way "
                "from a prompt or picture to its input",
                "build it from texts or images, with the model where there is one",
            )
        module, name = _CLASSES[kind]
        chosen: type[Probe] = getattr(importlib.import_module(f"saescope.probing.{module}"), name)
        return chosen(load_sae(checkpoint), source, device)

    @abstractmethod
    def text(self, prompt: str) -> ProbeResult:
        """What fires at each token of a prompt. Raises `UserError` where the SAE takes pictures."""

    @abstractmethod
    def picture(self, image: Image.Image) -> ProbeResult:
        """What fires at each position of a picture. Raises `UserError` where the SAE takes texts."""

    def _codes(self, x: Float[Tensor, "position d_in"]) -> tuple[list[Any], list[Any]]:
        assert x.shape[1] == self._sae.d_in
        return firing_features(self._sae, x.to(self._device))


_CLASSES = {
    "pixels": ("pictures", "PixelProbe"),
    "patches": ("pictures", "PixelProbe"),
    "vision": ("pictures", "VisionProbe"),
    "tokens": ("texts", "TextProbe"),
}
"""Kind of source -> module of this package, and class: imported when asked for, as transformers takes seconds."""
_OTHER_KINDS = {"activations": "a file of activations"}


def model_options(source: Mapping[str, Any], device: str) -> ModelOptions:
    """The model that a manifest tells of, in the arithmetic that it was used in."""
    return ModelOptions(
        name=source["model"],
        revision=source.get("revision"),
        dtype=source.get("dtype") or "auto",
        device=device,
        centred=bool(source.get("centred")),
    )


def check_model(source: Mapping[str, Any], fingerprint: str, width: int, sae: Autoencoder) -> None:
    """Refuse a model that is not the one that the store was built from, or whose hook has another width."""
    recorded = source.get("fingerprint")
    if recorded is not None and recorded != fingerprint:
        raise UserError(
            f"{source['model']} has other weights than the model that this SAE was built from",
            "put the model of that time in its place, or build the SAE again",
        )
    if width != sae.d_in:
        raise UserError(
            f"the SAE takes activations of width {sae.d_in}, but {source['hook']} of {source['model']} has {width}",
            "build the SAE again with the hook that it was trained on",
        )
