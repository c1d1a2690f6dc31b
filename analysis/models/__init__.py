"""A language model: its files, its architecture, loading it, and running it."""
