"""Written forms of the values of options: from the text to the value, and back."""

import argparse
import math
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from analysis.core.blocks import Block, Removal, parse_removal, written


@dataclass(frozen=True)
class ValueForm:
    """How the values of a type are written."""

    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    metavar: str
    name: str
    example: str = ""


def whole_number(text: str) -> int:
    """A number as everybody writes it: Python itself also takes 1_000 and the digits of other scripts.

    Raises:
        ValueError: when it is none, or has thousands of digits.
    """
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", text):
        raise ValueError("not a whole number")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or "_" in text:
        raise ValueError("not a number")
    return number


FORMS = {
    int: ValueForm(whole_number, str, "N", "a whole number"),
    float: ValueForm(_number, str, "X", "a number"),
    str: ValueForm(str, str, "TEXT", "text"),
    Block: ValueForm(Block.parse, written, "START:SIZE", "START:SIZE", "11:5"),
    Removal: ValueForm(parse_removal, written, "START:SIZE", "START:SIZE", "11:5, or 3:1+7:2, or a12+m15 for sublayers"),
}


def _list_form(item: ValueForm) -> ValueForm:
    """Several values of a type, joined by commas."""
    return ValueForm(
        lambda text: tuple(item.parse(part.strip()) for part in text.split(",") if part.strip()),
        lambda values: ",".join(map(item.write, values)),
        f"{item.metavar},…",
        f"{item.name}, several joined by commas",
        f"{item.example}, joined by commas" if item.example else "joined by commas",
    )


def form_of(hint: Any) -> ValueForm | None:
    """Return the written form of values of this type; None for a nested request, and for an on-off switch."""
    if typing.get_origin(hint) is tuple:
        item = form_of(typing.get_args(hint)[0])
        return None if item is None else _list_form(item)
    return FORMS.get(hint)


def plain_number(text: str) -> int:
    """The whole number that the text of an option which is no field of a request stands for.

    Raises:
        argparse.ArgumentTypeError: when it stands for none.
    """
    try:
        return whole_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, not {text!r}") from error
