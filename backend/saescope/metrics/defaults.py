"""What metrics take unless something else is chosen. Needs no torch."""

from __future__ import annotations

N_CE_POSITIONS = 4096
"""Predictions that cross-entropy is measured on."""
MATCH_COSINE = 0.7
"""Atoms that are to count as the same have at least this cosine."""
