"""Checkpoints of sae-lens 4."""

from __future__ import annotations

from tests.parity.cases import destination
from tests.parity.flat_sae_lens import TOPK, save_all


def main() -> None:
    save_all(
        destination(),
        {
            "standard": {"architecture": "standard"},
            "gated": {"architecture": "gated"},
            "jumprelu": {"architecture": "jumprelu"},
            "topk": {"architecture": "topk", **TOPK},
        },
    )


if __name__ == "__main__":
    main()
