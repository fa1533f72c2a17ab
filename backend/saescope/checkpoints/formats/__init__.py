"""Checkpoint formats, one per file."""
