"""Checkpoints of sae-lens 4."""

from __future__ import annotations

from tests.parity.cases import destination
from tests.parity.flat_sae_lens import ARCHITECTURES, save_all


def main() -> None:
    save_all(destination(), ARCHITECTURES)


if __name__ == "__main__":
    main()
