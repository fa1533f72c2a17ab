"""Sparse sums of known features."""
