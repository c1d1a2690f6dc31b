"""Random questions for tiny models, and the cuts they are asked of."""

import torch

from analysis.core.blocks import Block
from analysis.experiments.scoring.trees import EncodedOption, EncodedQuestion

CUTS = [None, Block(1, 2), Block(0, 1), Block(3, 3)]


def questions(n=3, seed=0):
    """Random questions: a prefix that all share, contexts, and options of unequal length, some past
    a window of 64.
    """
    generator = torch.Generator().manual_seed(seed)

    def tokens(n):
        return torch.randint(3, 300, (n,), generator=generator).tolist()

    prefix, made = tokens(30), []
    for index in range(n):
        context = [*prefix, *tokens(5 + 29 * index)]
        made.append(
            EncodedQuestion(
                [EncodedOption((*context, *tokens(k)), k) for k in (1, 3, 2)], truncated=False
            )
        )
    return made


def flat(nested):
    values = []
    for entry in nested:
        values += flat(entry).tolist() if isinstance(entry, list) else [entry]
    return torch.tensor(values)
