"""The search language: its grammar, and what a query means in SQL."""
