"""Reconstructions from the codes that the pass saw, by whichever way is cheaper."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders import Autoencoder
from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute import kernels
from saescope.precompute.one_pass.blocks import CodeBlock
from saescope.precompute.one_pass.threads import N_THREADS, threads

GATHER_COST = 3.0
"""Adding one firing's atom costs about as much as this many features of a dense product (measured on x86)."""


class Decoder:
    """Decodes blocks: by adding the atoms that fire where they are few, by the dense product otherwise."""

    def __init__(self, sae: Autoencoder) -> None:
        self.sae = sae
        self.atoms: Tensor | None = None
        bias = sae.decoder_bias
        # a threshold above zero hides codes that reconstruction needs, so only the dense way is right there
        if sae.has_linear_decoder and sae.config.firing_threshold == 0 and bias is not None:
            self.atoms = sae.atoms.detach().float().contiguous()
            self.bias = bias.detach().float().contiguous()

    @torch.inference_mode()
    def __call__(
        self,
        x: Float[Tensor, "row d_in"],
        codes: CodeBlock,
        rows: Int64[np.ndarray, " chosen"] | None = None,
    ) -> Float[Tensor, "chosen d_out"]:
        """Reconstructions of a block whose input is `x`, or of its chosen rows."""
        decoded = self._decoded(x, codes, rows)
        if not self.sae.needs_input:
            return decoded
        x = x.to(decoded)
        return self.sae.restore(x if rows is None else x[_on(rows, x)], decoded)

    def _decoded(self, x: Tensor, codes: CodeBlock, rows: Int64[np.ndarray, " chosen"] | None) -> Tensor:
        """What the SAE's `decode` gives."""
        if self.atoms is not None and self.atoms.is_cuda and codes.selection is not None:
            indices, values = (t if rows is None else t[_on(rows, t)] for t in codes.selection)
            return functional.embedding_bag(indices, self.atoms, per_sample_weights=values, mode="sum") + self.bias
        few = len(codes.sparse.features) * GATHER_COST < codes.sparse.n_rows * self.sae.n_features
        if self.atoms is not None and not self.atoms.is_cuda and (few or codes.dense is None):
            return self._gather(self.atoms, codes.sparse, np.arange(codes.sparse.n_rows) if rows is None else rows)
        dense = codes.dense if codes.dense is not None else self.sae.encode(x)
        return self.sae.decode(dense if rows is None else dense[_on(rows, dense)])

    def _gather(self, atoms: Tensor, codes: CodeRows, rows: Int64[np.ndarray, " chosen"]) -> Tensor:
        out = np.empty((len(rows), atoms.shape[1]), np.float32)
        pieces = np.array_split(np.arange(len(rows)), N_THREADS)

        def part(piece: np.ndarray) -> None:
            if len(piece):
                kernels.gather(rows[piece], codes, atoms.numpy(), self.bias.numpy(), out[piece[0] : piece[-1] + 1])

        list(threads().map(part, pieces))
        return torch.from_numpy(out)


def _on(rows: Int64[np.ndarray, " chosen"], like: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(like.device)
