"""The pass over a source: encoding in fixed blocks, and what is kept of all features together."""
