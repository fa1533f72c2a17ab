"""Training, sweeping and building from a source to a store, as functions."""
