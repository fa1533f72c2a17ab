"""Models' hook points as sources: forward passes in windows, activations kept on disk or computed as needed."""
