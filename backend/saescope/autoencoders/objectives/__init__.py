"""How architectures are trained: what their objectives share."""
