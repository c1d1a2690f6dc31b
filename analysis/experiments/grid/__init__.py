"""The question that a lab asks overnight: every model, question set, text and strategy against each other, in one table.

What is asked and found is in `spec`, what a finished curve says of itself in `cells`, and how a grid is measured in `grid`.
"""
