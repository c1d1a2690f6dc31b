"""How much a text repeats itself, from its token ids alone."""

from collections.abc import Sequence


def repetition_rate(tokens: Sequence[int], n: int = 4) -> float:
    """Share of the runs of `n` tokens that have occurred before: 0 for no repetition or too short a text, near 1 for a loop.

    Source: seq-rep-n of Welleck et al., arXiv:1908.04319.
    """
    runs = [tuple(tokens[begin : begin + n]) for begin in range(len(tokens) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def distinct_rate(tokens: Sequence[int]) -> float:
    """Distinct tokens per token; 0 for nothing written."""
    return len(set(tokens)) / len(tokens) if tokens else 0.0
