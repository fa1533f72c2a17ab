"""What each atom does to the next token: through the final norm's gain and the unembedding, in blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from saescope.precompute import kernels
from saescope.precompute.kernels.records import Extremes
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import TokenSource
from saescope.store.format.schema import schema_of

if TYPE_CHECKING:  # transformers takes seconds to load, and most builds need none
    from saescope.models import Unembedding

FEATURES_AT_ONCE = 1024
TOKENS_AT_ONCE = 4096
"""A block of effects holds 4 million values (16 MiB), whatever the width of the code and the vocabulary: small enough
to be read again while the processor's cache holds it."""
FEATURES_PER_BATCH = 4096
"""Features per batch of the table."""


@dataclass(frozen=True)
class LogitEffects:
    """The strongest effects of every feature on tokens, strongest first; of equal ones, the lower token."""

    raised: Extremes
    lowered: Extremes


def can_reach_logits(source: TokenSource) -> bool:
    """Whether atoms are directions of the residual stream of a causal language model, or of what is added to it."""
    hooked = source.hooked_out
    return hooked.loaded.kind == "causal" and hooked.hook.is_residual


@torch.inference_mode()
def logit_effects(
    atoms: Float[Tensor, "feature d_model"],
    unembedding: Unembedding,
    n_tokens: int,
    n_kept: int = 10,
    progress: Progress = SILENT,
) -> LogitEffects:
    """The `n_kept` tokens whose logits each atom raises most, and lowers most, among the first `n_tokens` of the
    unembedding (the rest is padding that no tokenizer produces).

    effect = W_U (gain * atom), the atom centred first where the final norm centres; the norm's division by the length
    of the residual stream, the same for all tokens, is left out (nostalgebraist's logit lens, 2020, for a direction).
    """
    n_features = len(atoms)
    n_tokens = min(n_tokens, len(unembedding.weight))
    n_kept = min(n_kept, n_tokens)
    shape = (n_features, n_kept)
    raised = Extremes(np.zeros(shape, np.int32), np.full(shape, -np.inf, np.float32))
    lowered = Extremes(np.zeros(shape, np.int32), np.full(shape, np.inf, np.float32))
    n_threads = os.cpu_count() or 1
    done, total = 0, n_features * n_tokens
    with ThreadPoolExecutor(n_threads) as pool:
        for first_token in range(0, n_tokens, TOKENS_AT_ONCE):
            tokens = unembedding.weight[first_token : min(first_token + TOKENS_AT_ONCE, n_tokens)].float()
            times_tokens = _multiplication(tokens)
            for first in range(0, n_features, FEATURES_AT_ONCE):
                block = unembedding.through_norm(atoms[first : first + FEATURES_AT_ONCE]) * unembedding.scale
                effects = times_tokens(block.to(tokens.device)).cpu().numpy()

                def part(rows: np.ndarray, effects: np.ndarray = effects, first: int = first) -> None:
                    piece = slice(first + rows[0], first + rows[-1] + 1)
                    kernels.keep_extremes(
                        effects[rows[0] : rows[-1] + 1],
                        first_token,  # noqa: B023 - run before the loop goes on
                        Extremes(raised.column[piece], raised.value[piece]),
                        Extremes(lowered.column[piece], lowered.value[piece]),
                    )

                list(pool.map(part, [p for p in np.array_split(np.arange(len(effects)), n_threads) if len(p)]))
                done += effects.size
                progress.update("logit effects", done, total)
    return LogitEffects(raised, lowered)


def _multiplication(
    tokens: Float[Tensor, "token d_model"],
) -> Callable[[Float[Tensor, "feature d_model"]], Float[Tensor, "feature token"]]:
    """The function x -> x tokens^T."""
    from saescope.models.packed_linear import can_pack, packed, times_packed

    if not can_pack(tokens):
        return lambda x: x @ tokens.T
    weight = packed(tokens)
    return lambda x: times_packed(x, weight)


def top_logits(effects: LogitEffects, vocabulary: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The store's `top_logits`."""
    texts = pa.array(vocabulary, pa.string())
    (raised, raised_by), (lowered, lowered_by) = effects.raised, effects.lowered
    n_features, n_kept = raised.shape
    for first in range(0, n_features, FEATURES_PER_BATCH):
        piece = slice(first, first + FEATURES_PER_BATCH)
        token = np.stack([lowered[piece], raised[piece]], axis=1)
        by = np.stack([lowered_by[piece], raised_by[piece]], axis=1)
        n = len(token)
        yield pa.RecordBatch.from_pydict(
            {
                "feature_id": np.repeat(np.arange(first, first + n, dtype=np.int32), 2 * n_kept),
                "sign": np.tile(np.repeat(np.array([-1, 1], np.int8), n_kept), n),
                "rank": np.tile(np.arange(n_kept, dtype=np.int16), 2 * n),
                "token_id": token.reshape(-1),
                "token": texts.take(pa.array(token.reshape(-1))),
                "logit": by.reshape(-1),
            },
            schema_of("top_logits"),
        )
