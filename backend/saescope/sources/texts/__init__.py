"""Texts: read from files, tokenised once, cut into items, and seen through a model."""
