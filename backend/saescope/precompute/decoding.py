"""Reconstructions from the codes that the pass saw, by whichever way is cheaper."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders import Autoencoder
from saescope.precompute.blocks import CodeBlock
from saescope.store.errors import UserError

SPARSE_GAIN = 24
"""A gathered multiply-add costs about as much as this many of a dense matrix product (measured on x86)."""


class Decoder:
    """Decodes blocks: by gathered atoms where few features fire, by the dense product otherwise."""

    def __init__(self, sae: Autoencoder) -> None:
        self.sae = sae
        self.atoms: Tensor | None
        try:
            self.atoms = sae.atoms.detach().contiguous()
        except UserError:
            self.atoms = None
        bias = sae.decoder_bias
        self.bias = None if bias is None else bias.detach()
        # a threshold above zero hides codes that reconstruction needs, so only the dense way is right
        self.gathers = (
            self.atoms is not None and sae.config.firing_threshold == 0 and type(sae).forward is Autoencoder.forward
        )

    @torch.inference_mode()
    def __call__(
        self,
        x: Float[Tensor, "row d_in"],
        codes: CodeBlock,
        rows: Int64[np.ndarray, " chosen"] | None = None,
    ) -> Float[Tensor, "chosen d_out"]:
        """Reconstructions of a block whose input is `x`, or of its chosen rows."""
        if self.gathers and self.atoms is not None:
            n_rows = len(codes.row_ptr) - 1
            if codes.selection is not None:
                indices, values = codes.selection
                if rows is not None:
                    chosen = torch.from_numpy(rows).to(indices.device)
                    indices, values = indices[chosen], values[chosen]
                return self._add_bias(
                    functional.embedding_bag(indices, self.atoms, per_sample_weights=values, mode="sum")
                )
            if len(codes.features) * SPARSE_GAIN < n_rows * self.sae.n_features and not self.atoms.is_cuda:
                gathered = functional.embedding_bag(
                    torch.from_numpy(codes.features),
                    self.atoms,
                    offsets=torch.from_numpy(codes.row_ptr.astype(np.int32)),
                    per_sample_weights=torch.from_numpy(codes.values),
                    mode="sum",
                    include_last_offset=True,
                )
                return self._add_bias(gathered if rows is None else gathered[torch.from_numpy(rows)])
        dense = codes.dense if codes.dense is not None else self.sae.encode(x)
        if rows is not None:
            dense = dense[torch.from_numpy(rows).to(dense.device)]
        return self.sae.decode(dense)

    def _add_bias(self, reconstruction: Tensor) -> Tensor:
        return reconstruction if self.bias is None else reconstruction.add_(self.bias)
