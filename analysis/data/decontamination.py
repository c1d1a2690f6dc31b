"""Shared runs of words between the text that a model is fitted to and the material that measures it.

A question that stands in the training text may be answered from memory. A text that chose the removed layers makes pruning
look too good.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.core.errors import CorpusError
from analysis.data import near_copies
from analysis.data.tasks import Question

N_WORDS = 8
"""Words in a row, by which a question counts as seen. Benchmarks' questions are short: the 13 of GPT-3 (arXiv:2005.14165) would
miss most of them."""
_LEAST_WORDS = 6
"""A question of fewer words is never flagged."""


@dataclass(frozen=True)
class Overlap:
    """Number of questions that share a run of words with some text, and so may have been answered from memory."""

    n_words: int
    """Length of the run."""
    n_questions: int
    """Questions looked at."""
    ids: list[str]
    """Identifiers of the questions that share one."""


def shared_questions(questions: Sequence[Question], texts: Iterable[str]) -> Overlap:
    """Find the questions that share eight consecutive words with some text, regardless of case and punctuation.

    Worked examples before a question do not count. A question that has fewer words with its right answer must stand there
    whole. A question of under six words is never flagged.

    Args:
        questions: of the question set.
        texts: all of the text; read once, word by word.
    """
    wanted: dict[int, dict[int, set[str]]] = {}
    for question in questions:
        context, right = question.pairs()[question.gold]
        asked = context.rpartition("\n\n")[2] + " " + right
        length = min(N_WORDS, len(near_copies.words(asked)))
        if length >= _LEAST_WORDS:
            for run in near_copies.runs(asked, length).tolist():
                wanted.setdefault(length, {}).setdefault(run, set()).add(question.id)
    quoted: set[str] = set()
    for text in texts:
        for length, ids in wanted.items():
            quoted.update(*(ids[run] for run in near_copies.runs(text, length).tolist() if run in ids))
    return Overlap(N_WORDS, len(questions), [question.id for question in questions if question.id in quoted])


def shared_runs(earlier: Iterable[str], measured: Sequence[str]) -> float:
    """Return the largest share of a measured text's runs of words that stands in the earlier texts, in [0, 1]."""
    runs = [near_copies.runs(text) for text in earlier]
    all_runs = np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *runs]))
    return max((near_copies.share(near_copies.runs(text), all_runs) for text in measured), default=0.0)


def refuse_shared(earlier: Iterable[str], measured: Sequence[str], *, measured_title: str, earlier_title: str) -> float:
    """Return the share of `shared_runs`, and refuse more than `near_copies.MOST_QUOTED`.

    Args:
        earlier, measured: as for `shared_runs`.
        measured_title: name of the measured texts: "report text (C4)".
        earlier_title: name of the earlier texts: "search text (C4)".

    Raises:
        CorpusError: with one sentence.
    """
    share = shared_runs(earlier, measured)
    if share > near_copies.MOST_QUOTED:
        raise CorpusError(
            f"The {measured_title} repeats the {earlier_title}: it shares {100 * share:.0f} % of a text's eight-word "
            "sequences. Pruning looks too good on the text that chose it. Choose another text for one of them."
        )
    return share
