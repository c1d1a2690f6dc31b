"""Repetition within a text, by token ids."""

from collections.abc import Sequence


def repetition_rate(tokens: Sequence[int], n: int = 4) -> float:
    """Return the share of n-grams of tokens that occurred before: 0 without repetition or for a
    short text, near 1 for a loop.

    Source: seq-rep-n of Welleck et al., arXiv:1908.04319.
    """
    ngrams = [tuple(tokens[begin : begin + n]) for begin in range(len(tokens) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def distinct_rate(tokens: Sequence[int]) -> float:
    """Return the number of distinct tokens per token; 0 for an empty text."""
    return len(set(tokens)) / len(tokens) if tokens else 0.0
