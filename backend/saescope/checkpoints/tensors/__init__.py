"""Tensors from files, without executing code."""
