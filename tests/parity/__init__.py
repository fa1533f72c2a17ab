"""Checkpoints that other libraries wrote, and what those libraries compute from them: see docs/checkpoints.md."""
