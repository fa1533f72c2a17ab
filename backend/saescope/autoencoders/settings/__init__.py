"""What training takes: settings of all runs, and what the settings of architectures share. No torch."""
