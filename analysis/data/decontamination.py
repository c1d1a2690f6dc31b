"""Overlap between texts used for fitting and the questions and texts used for measuring.

A question contained in the training text may be answered from memory. A text that was used to
choose the removed layers underestimates the loss increase.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.core.bounds import Count
from analysis.core.errors import CorpusError
from analysis.data import near_copies
from analysis.data.tasks import Question

N_WORDS = 8
"""Length of a shared run of words that flags a question. Many questions are shorter than the 13
words used for GPT-3 (arXiv:2005.14165)."""
_MIN_WORDS = 6
"""Minimum words of a flagged question."""


@dataclass(frozen=True)
class Overlap:
    """Questions that share a run of words with a text and may be answered from memory."""

    n_words: Count
    """Length of a run in words."""
    n_questions: Count
    """Number of checked questions."""
    ids: list[str]
    """Ids of the questions with a shared run."""


def shared_questions(questions: Sequence[Question], texts: Iterable[str]) -> Overlap:
    """Find the questions that share eight consecutive words with a text, ignoring case and
    punctuation.

    Worked examples are ignored. A question that, with its right answer, has six or seven words must
    be contained entirely. Shorter questions are never flagged.

    Args:
        questions: questions to check.
        texts: texts, which are iterated once.
    """
    wanted: dict[int, dict[int, set[str]]] = {}
    for question in questions:
        context, right = question.pairs()[question.gold]
        text = context.rpartition("\n\n")[2] + " " + right
        length = min(N_WORDS, len(near_copies.words(text)))
        if length >= _MIN_WORDS:
            for run in near_copies.runs(text, length).tolist():
                wanted.setdefault(length, {}).setdefault(run, set()).add(question.id)
    quoted: set[str] = set()
    for text in texts:
        for length, ids in wanted.items():
            quoted.update(
                *(ids[run] for run in near_copies.runs(text, length).tolist() if run in ids)
            )
    return Overlap(
        N_WORDS, len(questions), [question.id for question in questions if question.id in quoted]
    )


def shared_runs(earlier: Iterable[str], measured: Sequence[str]) -> float:
    """Return the largest share, in [0, 1], of the word runs of a measured text that earlier texts
    contain.
    """
    runs = [near_copies.runs(text) for text in earlier]
    all_runs = np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *runs]))
    return max(
        (near_copies.share(near_copies.runs(text), all_runs) for text in measured), default=0.0
    )


def refuse_shared(
    earlier: Iterable[str], measured: Sequence[str], *, measured_title: str, earlier_title: str
) -> float:
    """Return `shared_runs` after checking that it is at most `near_copies.MAX_QUOTED`.

    Args:
        earlier, measured: texts as in `shared_runs`.
        measured_title: name of the measured texts, such as "report text (C4)".
        earlier_title: name of the earlier texts, such as "search text (C4)".

    Raises:
        CorpusError: if the share is larger.
    """
    share = shared_runs(earlier, measured)
    if share > near_copies.MAX_QUOTED:
        raise CorpusError(
            f"The {measured_title} repeats the {earlier_title}: it shares {100 * share:.0f} % of a"
            " text's eight-word sequences. Pruning looks too good on the text that chose it."
            " Choose another text for one of them."
        )
    return share
