"""A model's spec, size and files: found, identified and checked without a model library."""
