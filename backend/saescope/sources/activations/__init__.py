"""Cached activations."""
