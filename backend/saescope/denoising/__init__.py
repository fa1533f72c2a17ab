"""Corrupted inputs, and what models that rebuild the clean ones are used for."""

from __future__ import annotations
