"""The paper's simple heuristic: layers L-1-n .. L-2 (arXiv:2403.17887)."""

from analysis.core.blocks import Block
from analysis.experiments.strategies import Given, Strategy, register


def _choose(n: int, given: Given) -> Block:
    return Block(given.n_layers - 1 - n, n)


register(
    Strategy(
        "deepest",
        title="Deepest",
        help="the deepest layers, but the last one stays (the paper's simple heuristic).",
        choose=_choose,
    )
)
