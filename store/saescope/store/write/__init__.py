"""Building and publishing a version: everything is there in full or not at all."""
