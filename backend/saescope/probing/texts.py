"""A prompt, through the tokenizer and the model of a text source."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.models.hooked import HookedModel
from saescope.models.loading import load_model, load_tokenizer
from saescope.models.silence import quiet
from saescope.probing.probe import Probe, check_model, model_options
from saescope.probing.result import ProbeResult
from saescope.sources.texts.framing import excluded_tokens, frame_of, tokenizer_sha256
from saescope.sources.texts.source import longest_context
from saescope.sources.texts.vocabulary import token_texts
from saescope.store.errors import CheckpointError, DataError
from saescope.store.format.source import TextDescription

MOST_TOKENS = 2048
"""Tokens of a prompt at most, what is added at its ends included: attention over more takes too long to wait for."""


class TextProbe(Probe):
    """For texts. A prompt is one item: what the source adds at an item's ends (BOS) is added here,
    and what counts there counts here."""

    takes = "text"

    def __init__(self, sae: Autoencoder, source: TextDescription, device: str) -> None:
        super().__init__(sae, device)
        self._source = source
        options = model_options(source, device)
        self._tokenizer = load_tokenizer(options)
        if tokenizer_sha256(self._tokenizer) != source.tokenizer_sha256:
            raise CheckpointError(
                f"the tokenizer of {options.name} is not the one that this store's texts were read with",
                "put the tokenizer of that time in its place, or build the SAE again",
            )
        loaded = load_model(options)
        self._hooked = HookedModel(loaded, source.hook, source.head)
        check_model(source, loaded.fingerprint, self._hooked.width, sae)
        self._frame = frame_of(self._tokenizer, "auto" if source.bos or source.eos else "no")
        n_tokens = max(loaded.model.get_input_embeddings().weight.shape[0], len(self._tokenizer))
        self._texts = token_texts(self._tokenizer, n_tokens)
        self._excluded = excluded_tokens(self._tokenizer, source.exclude_tokens, self._frame, n_tokens)
        self._most = min(longest_context(self._hooked) or MOST_TOKENS, MOST_TOKENS)

    def text(self, prompt: str) -> ProbeResult:
        with quiet():  # of prompts longer than the model's context, which are refused below
            content = self._tokenizer(prompt, add_special_tokens=False)["input_ids"]
        ids = [*self._frame.before, *content, *self._frame.after]
        if not content:
            raise DataError("the prompt is empty", "type a few words")
        if len(ids) > self._most:
            raise DataError(f"the prompt has {len(ids):,} tokens; at most {self._most:,} are read", "shorten it")
        x = self._hooked.activations(torch.tensor([ids]))[0]
        if self._source.activation_dtype == "float16":
            x = x.half().float()
        features, values = self._codes(x)
        counts = ~torch.from_numpy(self._excluded[ids]) & ~self._outliers(x).cpu()
        return ProbeResult([self._texts[i] for i in ids], ids, counts.tolist(), features, values, None)

    def picture(self, image: Image.Image) -> ProbeResult:
        raise DataError("this SAE takes texts, not pictures", "type a prompt")

    def _outliers(self, x: Float[Tensor, "position d_in"]) -> Bool[Tensor, " position"]:
        """Positions that the source leaves out for their norm."""
        limit = self._source.excluded_norm
        if limit is None:
            return torch.zeros(len(x), dtype=torch.bool)
        return torch.linalg.vector_norm(x, dim=1) > limit.threshold
