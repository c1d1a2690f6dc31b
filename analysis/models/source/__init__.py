"""The spec, the size and the files of a model, read and checked without a model library."""
