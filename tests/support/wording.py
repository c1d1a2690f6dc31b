"""Wording that the writing guide forbids in sentences on measured numbers."""

import re

PRIVATE = re.compile(
    r"lost loss|\blos(e|es|t) (the )?(nats|loss)|\btold (from|apart)|\btells? [^.]{0,30}\b(apart|from)\b|cannot tell|\bmend|"
    r"foretell|foretold|\breckon|\bgives? back|\bsuffers first",
    re.IGNORECASE,
)
"""Words without a direction, and private words for significance, prediction and recovery."""


def private(text: str) -> list[str]:
    """Every such wording with the words around it."""
    return [text[max(0, found.start() - 40) : found.end() + 40] for found in PRIVATE.finditer(text)]
