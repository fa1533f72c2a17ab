"""Texts: read from files, tokenised once, cut into items."""
