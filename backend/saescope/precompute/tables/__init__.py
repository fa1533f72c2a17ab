"""The tables that are made of what the pass kept."""
