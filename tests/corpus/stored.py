"""Malformed files in the cache folder: recipes, and the file beside them."""

import json
from collections.abc import Iterator
from typing import Any

from tests.corpus import Bad, files

_ASK = ("heal", "starter", "--block", "1:1", "--recipe", "mine", "--quantization", "none")
_HEAL: dict[str, Any] = {"block": {"start": 1, "size": 1}}
_DEEP = "[" * 100_000
_FILES = {
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "a number": "5",
    "no JSON": "{",
    "deep": _DEEP,
    "no UTF-8": b"\xff",
    "no heal": '{"format": 1, "name": "mine"}',
    "another format": json.dumps({"format": 2, "name": "mine", "heal": _HEAL}),
    "another name": json.dumps({"format": 1, "name": "yours", "heal": _HEAL}),
    "a heal that is a list": '{"format": 1, "name": "mine", "heal": []}',
    "5000 digits": '{"format": 1, "name": "mine", "heal": {"r": ' + "9" * 5000 + "}}",
}
_VALUES: dict[str, tuple[Any, ...]] = {
    "r": (2.5, "four", None, [], 0, True),
    "learning_rate": ("x", -1.0, 0),
    "steps": (1.5, "50", -1),
    "block": (5, "1:1", {"start": 1}, None),
    "lora_on": (5, "full"),
    "separate_documents": (1, "yes"),
    "nosuch": (1,),
}


def entries() -> Iterator[Bad]:
    """All of this file."""
    for name, content in _FILES.items():
        says = "The saved recipe 'mine' cannot be used: "
        yield Bad(f"a recipe: {name}", _ASK, says, files({"cache/recipes/mine.json": content}))
    for field, values in _VALUES.items():
        for value in values:
            text = json.dumps({"format": 1, "name": "mine", "heal": _HEAL | {field: value}})
            yield Bad(
                f"a recipe: {field}={value!r}",
                _ASK,
                "The saved recipe 'mine' cannot be used: ",
                files({"cache/recipes/mine.json": text}),
            )
