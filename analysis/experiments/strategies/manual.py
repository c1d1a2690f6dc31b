"""Cuts of one's own: a sweep receives them, one point of its curve for each."""

from analysis.experiments.strategies import BLOCKS, Strategy, register

register(Strategy("manual", title="Manual", help="blocks that you name.", choose=None, needs=(BLOCKS,)))
