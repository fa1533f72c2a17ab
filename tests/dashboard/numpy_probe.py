"""A probe of the small stores in NumPy, with the interface of `saescope.probing`: real codes, no torch."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from tests.store.texts_sae import END, Texts, Tokenizer, documents, texts


@dataclass(frozen=True)
class ProbeResult:
    tokens: list[str] | None
    token_ids: list[int] | None
    evaluated: list[bool]
    feature_ids: list[np.ndarray]
    activations: list[np.ndarray]
    image: bytes | None


@cache
def _texts() -> tuple[Texts, Tokenizer]:
    return texts(), Tokenizer([document.text for document in documents()])


class Probe:
    """The SAE of a checkpoint of `digits_sae`; of texts, a position's input is made as `texts_sae` makes it."""

    def __init__(self, checkpoint: Path, source: Mapping[str, Any]) -> None:
        self.weights = load_file(checkpoint / "sae.safetensors")
        self.k = json.loads((checkpoint / "cfg.json").read_text()).get("k")
        self.source = source
        self.takes: Literal["text", "picture"] = "text" if source["kind"] == "tokens" else "picture"

    @staticmethod
    def open(checkpoint: Path, source: Mapping[str, Any], device: str = "auto") -> Probe:
        return Probe(checkpoint, source)

    def text(self, prompt: str) -> ProbeResult:
        data, tokenizer = _texts()
        ids = [END, *tokenizer.ids(prompt)]
        before = data.vectors[[END, *ids[:-1]]]
        found = self._codes(data.vectors[ids] + np.float32(0.5) * before)
        evaluated = [i > 0 for i in range(len(ids))]
        return ProbeResult([data.vocabulary[i] for i in ids], ids, evaluated, *found, None)

    def picture(self, image: Image.Image) -> ProbeResult:
        seen = image.convert("L").resize((8, 8))
        pixels = np.asarray(seen, np.float32) / 255
        patch, stride = self.source["patch"] or 8, self.source["stride"] or 8
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (patch, patch))[::stride, ::stride]
        x = windows.reshape(-1, patch * patch)
        buffer = io.BytesIO()
        seen.save(buffer, "PNG")
        return ProbeResult(None, None, [True] * len(x), *self._codes(x), buffer.getvalue())

    def _codes(self, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        z = np.maximum(x @ self.weights["W_enc"] + self.weights["b_enc"], 0)
        if self.k is not None:
            np.put_along_axis(z, np.argpartition(-z, self.k, axis=1)[:, self.k :], 0, axis=1)
        ids, values = [], []
        for row in z:
            fired = np.flatnonzero(row)
            fired = fired[np.lexsort((fired, -row[fired]))]
            ids.append(fired)
            values.append(row[fired])
        return ids, values
