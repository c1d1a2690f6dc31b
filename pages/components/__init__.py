"""One control or panel per file; pages put them together."""
