"""What a store is on disk: its tables, manifest, paths and marker."""
