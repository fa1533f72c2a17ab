"""Images: the files that hold them, and pixels and patches as activations."""
