"""Reading a published version: features, items, weights, and all of them together."""
