"""Every fault of a store at once."""
