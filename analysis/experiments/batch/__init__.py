"""Batches: many curves and healing runs in one request, each stored like a single request.

`run` measures the cells of a batch. There are two kinds: `grid` (models by datasets, texts and
strategies) and `methods` (strategies and healing recipes of one model by sizes).
"""
