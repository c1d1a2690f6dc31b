"""Grids of accuracy curves: every model, question set, text and strategy against each other, in one table.

Request and result are in `spec`, the scores of a finished curve in `cells`, and the measurement of a grid in `grid`.
"""
