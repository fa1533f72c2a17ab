"""Sparse autoencoders: one architecture per file behind one protocol."""

from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig, Output, Selection
from saescope.autoencoders.registry import architecture, architectures, register

__all__ = ["Autoencoder", "AutoencoderConfig", "Output", "Selection", "architecture", "architectures", "register"]
