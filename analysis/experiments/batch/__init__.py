"""Batches: many curves and healing runs as one request, each cell stored like a single request.

`run` measures the cells of any batch. Two kinds say which cells there are, and how a cell becomes a row: `grid` (models by
datasets, texts and strategies) and `methods` (strategies and healing recipes of one model by sizes).
"""
