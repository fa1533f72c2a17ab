"""Reconstructions from the codes that the pass saw, by whichever way is cheaper."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders.code_rows import CodeRows
from saescope.autoencoders.protocol import Autoencoder
from saescope.precompute import kernels
from saescope.precompute.one_pass.blocks import CodeBlock, Encoded
from saescope.precompute.one_pass.threads import N_THREADS, threads

GATHER_COST = 3.0
"""Adding one firing's atom costs about as much as this many features of a dense product (measured on x86)."""


class Decoder:
    """Decodes blocks, on a CPU by adding the atoms that fire where they are few, by the dense product otherwise."""

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
        return self.sae.restore(_chosen(x.to(decoded), rows), decoded)

    @torch.inference_mode()
    def on_device(
        self, block: Encoded, rows: Int64[np.ndarray, " chosen"] | None = None
    ) -> Float[Tensor, "chosen d_out"]:
        """The same of a block that the host has not received: nothing of it is waited for."""
        if self.atoms is not None and block.selection is not None:
            indices, values = (_chosen(t, rows) for t in block.selection)
            decoded = functional.embedding_bag(indices, self.atoms, per_sample_weights=values, mode="sum") + self.bias
        else:
            dense = block.dense if block.dense is not None else self.sae.encode(block.x)
            decoded = self.sae.decode(_chosen(dense, rows))
        return self.sae.restore(_chosen(block.x, rows), decoded) if self.sae.needs_input else decoded

    def _decoded(self, x: Tensor, codes: CodeBlock, rows: Int64[np.ndarray, " chosen"] | None) -> Tensor:
        """What the SAE's `decode` gives."""
        few = len(codes.sparse.features) * GATHER_COST < codes.sparse.n_rows * self.sae.n_features
        if self.atoms is not None and (few or codes.dense is None):
            return self._gather(self.atoms, codes.sparse, np.arange(codes.sparse.n_rows) if rows is None else rows)
        dense = codes.dense if codes.dense is not None else self.sae.encode(x)
        return self.sae.decode(_chosen(dense, rows))

    def _gather(self, atoms: Tensor, codes: CodeRows, rows: Int64[np.ndarray, " chosen"]) -> Tensor:
        out = np.empty((len(rows), atoms.shape[1]), np.float32)
        pieces = np.array_split(np.arange(len(rows)), N_THREADS)

        def part(piece: np.ndarray) -> None:
            if len(piece):
                kernels.gather(rows[piece], codes, atoms.numpy(), self.bias.numpy(), out[piece[0] : piece[-1] + 1])

        list(threads().map(part, pieces))
        return torch.from_numpy(out)


def _chosen(values: Tensor, rows: Int64[np.ndarray, " chosen"] | None) -> Tensor:
    return values if rows is None else values[torch.from_numpy(rows).to(values.device)]
