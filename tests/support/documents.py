"""Documents of made-up sentences: easy to learn, since few words are in them, and no near-copies of
each other.
"""

import json
import random
import re
from pathlib import Path

_WORDS = re.findall(
    r"\w+",
    """river stone window garden winter lantern copper ladder morning basket valley thunder pocket orchard mirror harbour candle
    feather meadow bridge whistle saddle kettle anchor blanket chimney hammer needle pepper ribbon shovel turnip""",
)


def sentences(n: int, seed: int = 0, *, words: int = 90) -> list[str]:
    """`n` documents of so many words each."""
    draw = random.Random(seed)
    documents = []
    for number in range(n):
        drawn = [draw.choice(_WORDS) for _ in range(words)]
        parts = [
            " ".join(drawn[begin : begin + 9]).capitalize() + "." for begin in range(0, words, 9)
        ]
        documents.append(f"Text {number}. " + " ".join(parts))
    return documents


def write(path: Path, n: int = 60, seed: int = 0) -> str:
    """A JSONL file of such documents; its path."""
    path.write_text("\n".join(json.dumps({"text": text}) for text in sentences(n, seed)))
    return str(path)


def two_kinds(folder: Path) -> tuple[str, str]:
    """A text to heal on and one to judge the heal by, of the same words but of no common
    sentence.
    """
    return write(folder / "texts.jsonl"), write(folder / "others.jsonl", 14, seed=1)
