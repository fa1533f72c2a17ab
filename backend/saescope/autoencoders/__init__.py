"""Sparse autoencoders: one architecture per folder, behind one protocol."""

from saescope.autoencoders.registry import Architecture, architecture, architectures

__all__ = ["Architecture", "architecture", "architectures"]
