"""Comparison of methods on one model: strategies of choosing layers, with and without healing, and the best of them."""
