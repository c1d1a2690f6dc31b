"""The very last n layers, L-n .. L-1 (arXiv:2411.15558)."""

from analysis.core.blocks import Block
from analysis.experiments.strategies import Given, Strategy, register


def _choose(n: int, given: Given) -> Block:
    return Block(given.n_layers - n, n)


register(Strategy("reverse", title="Reverse", help="the last layers, including the very last.", choose=_choose))
