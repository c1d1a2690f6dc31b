"""Whether a text gives questions away: runs of words that both share."""

import re
from collections.abc import Iterable, Sequence

from analysis.results import Overlap
from analysis.tasks import Question

N_WORDS = 8
"""Words in a row, by which a question counts as seen. Benchmarks' questions are short: the 13 of GPT-3 (arXiv:2005.14165) would
miss most of them."""
_WORD = re.compile(r"\w+")


def find(questions: Sequence[Question], texts: Iterable[str]) -> Overlap:
    """The questions of which eight words in a row stand in some text, whatever the case and the punctuation.

    Worked examples before a question do not count. Of a question with fewer words, with its right answer, all must stand there
    in a row; one of under six words is never flagged.

    Args:
        questions: those that are asked.
        texts: all of the text; read once, word by word.
    """
    wanted: dict[tuple[str, ...], set[str]] = {}
    lengths: set[int] = set()
    for question in questions:
        context, right = question.pairs()[question.gold]
        words = _words(context.rpartition("\n\n")[2] + " " + right)
        length = min(N_WORDS, len(words))
        if length < 6:
            continue
        lengths.add(length)
        for start in range(len(words) - length + 1):
            wanted.setdefault(tuple(words[start : start + length]), set()).add(question.id)
    found: set[str] = set()
    for text in texts:
        words = _words(text)
        for length in lengths:
            for start in range(len(words) - length + 1):
                hit = wanted.get(tuple(words[start : start + length]))
                if hit:
                    found |= hit
    return Overlap(N_WORDS, len(questions), [question.id for question in questions if question.id in found])


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
