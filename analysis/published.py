"""What was published about large models: which blocks are most similar, and where answers collapse."""

from dataclasses import dataclass

from analysis.blocks import Block

PAPER = "arXiv:2403.17887"
"""Gromov, Tirumala, Shapourian, Glorioso and Roberts, The Unreasonable Ineffectiveness of the Deeper Layers."""


@dataclass(frozen=True)
class PublishedPath:
    """The most similar block of every size in one model.

    Source: tables in public code that looks like the authors' own; the paper draws these choices and does not print them.
    """

    name: str
    n_layers: int
    starts: tuple[int, ...]
    """l*(n) for n = 1, 2, 3, …, 0-based."""

    def blocks(self) -> list[Block]:
        """The blocks, by size."""
        return [Block(start, n) for n, start in enumerate(self.starts, start=1)]


PATHS = (
    PublishedPath(
        "Llama-2 7B", 32, (23, 24, 23, 23, 23, 22, 22, 21, 20, 19, 18, 18, 17, 16, 15, 8, 8, 7, 4, 4, 4, 2, 2, 2)
    ),
    PublishedPath(
        "Llama-2 13B", 40,
        (33, 32, 31, 30, 29, 28, 27, 27, 27, 26, 25, 24, 24, 23, 22, 22, 20, 19, 18, 18, 17, 17, 15, 3, 3, 3, 3, 3, 3, 3, 3, 3),
    ),
    PublishedPath(
        "Llama-2 70B", 80,
        (62, 62, 61, 62, 61, 60, 61, 58, 59, 58, 58, 57, 56, 55, 54, 53, 53, 53, 53, 53, 51, 50, 49, 50, 49, 49, 48, 48, 46, 46,
         45, 44, 43, 42, 41, 40, 39, 37, 35, 35, 33, 33, 29, 30, 29, 28, 28, 28, 26, 25, 23, 22, 22, 21, 20, 19, 19, 18, 16, 16,
         14, 14, 13, 10),
    ),
    PublishedPath(
        "Mistral 7B", 32, (26, 24, 23, 23, 23, 22, 21, 21, 20, 20, 19, 17, 17, 16, 13, 13, 11, 8, 8, 6, 6, 5, 4, 3)
    ),
)  # fmt: skip


@dataclass(frozen=True)
class PublishedCliff:
    """The share of layers at which a family's answers to MMLU fall to chance.

    Source: the text of the paper. Of Llama-2 70B it says 40-50 % in one place and 45-55 % of its family in another.
    """

    name: str
    low: float
    """Fraction of layers removed, in (0, 1)."""
    high: float


CLIFFS = (
    PublishedCliff("Llama-2 70B", 0.40, 0.55),
    PublishedCliff("Llama-2 7B, 13B", 0.45, 0.55),
    PublishedCliff("Mistral 7B", 0.35, 0.35),
    PublishedCliff("Phi-2", 0.25, 0.25),
    PublishedCliff("Qwen 7B, 14B", 0.20, 0.20),
)
