"""What a page shows: its address, the controls that change it, and the cached reads behind it."""
