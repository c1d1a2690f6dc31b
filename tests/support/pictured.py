"""The controls and headings of the pages that the README and the docs show, as a digest that is kept beside the pictures."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

from tests.support import fakes

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "assets"
DIGESTS = FOLDER / "pictures.json"
"""Digest of each page at the time of its picture, written by `make screenshots`."""
PAGES = {"explore": "pages/explore.py", "heal": "pages/heal.py", "learn": "pages/learn.py"}
"""Page of each picture, by the name of its file."""
_NUMBER = re.compile(r"\d[\d,.]*( ?(s|min|h|%|MB|GB|MiB|GiB))?\b")


def digest(name: str) -> str:
    """Return the digest of a page as it is now, on the results that come with the program."""
    at = AppTest.from_file(str(fakes.APP), default_timeout=120)
    at.switch_page(PAGES[name])
    at.run()
    assert not at.exception
    return hashlib.sha256("\n".join(sorted(set(_labels(at._tree)))).encode()).hexdigest()[:16]


def _labels(block: Block) -> Iterator[str]:
    """Yield the kind and label of each control and heading. Numbers vary with the machine and are left out."""
    for child in block.children.values():
        proto = getattr(child, "proto", None)
        label = getattr(proto, "label", "") or (getattr(proto, "body", "") if child.type == "heading" else "")
        if isinstance(label, str) and label:
            yield f"{child.type}: {_NUMBER.sub('#', label)}"
        if isinstance(child, Block):
            yield from _labels(child)


def stored() -> dict[str, str]:
    """Return the digest of each page at the time of its picture."""
    return dict(json.loads(DIGESTS.read_text(encoding="utf-8")))


def write() -> None:
    """Store the digests of the pages as they are now."""
    DIGESTS.write_text(json.dumps({name: digest(name) for name in PAGES}, indent=1) + "\n", encoding="utf-8")
