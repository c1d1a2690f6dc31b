"""Search for sets of layers that a model can do without, by the measured effect of their
removal.
"""
