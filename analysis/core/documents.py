"""JSON that comes from anywhere: files of people, of other programs, of other versions."""

import json
from typing import Any


def parsed(content: str | bytes) -> Any:
    """Return the value of JSON.

    Raises:
        ValueError: when it is none, is nested deeper than anything of ours, or holds a number of thousands of digits.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


_KINDS = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}


def parsed_object(content: str | bytes) -> dict[str, Any]:
    """Return the value of JSON that must be an object.

    Raises:
        ValueError: as `parsed`, and when it is something else.
    """
    found = parsed(content)
    if not isinstance(found, dict):
        raise ValueError(f"it holds {_KINDS[type(found)]} where an object should be")
    return found
