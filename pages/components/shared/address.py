"""The fields of a page's address, in one table: `state` reads the choices of a session from it and
writes them into it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from analysis.core import blocks
from analysis.core.blocks import Removal
from analysis.core.errors import BlockRangeError
from analysis.experiments.strategies import STRATEGIES, USUAL
from analysis.models.source.model_spec import ModelSpec
from pages.components.shared import words

T = TypeVar("T")

DEFAULT_N = 5
_LONGEST = 200
_RUN = re.compile(r"[a-z][a-z0-9_-]*:[0-9a-f]{20}")
_SIZES = re.compile(r"(\d{1,4})-(\d{1,4})")


class AddressError(ValueError):
    """A text that is no value of a field; the message continues "The address of this page"."""


@dataclass(frozen=True)
class Field(Generic[T]):
    """A field of the query."""

    name: str
    usual: T
    """The value without the field; it is not written."""
    read: Callable[[str], T]
    """Make the value of a text that is not empty; raises `FieldError`."""
    write: Callable[[T], str]
    """Make the text of a value; `read` makes the value of it again."""
    former: Mapping[str, str] = field(default_factory=dict)
    """Texts in older addresses, and the present text of each."""
    part: str = ""
    """The field of `ModelSpec` that it sets; "" for a value of its own."""
    is_always_written: bool = False

    def opened(self, text: str) -> T:
        """Return the value of a text in an address.

        Raises:
            FieldError: when the text is no value of this field.
        """
        return self.read(self.former.get(text, text)) if text else self.usual

    def written(self, value: T) -> str:
        """Return the text of a value; "" if the address needs none."""
        return self.write(value) if self.is_always_written or value != self.usual else ""


def no_such(name: str, text: str, names: Iterable[str], usual: str) -> AddressError:
    """Return the error of a name that does not exist."""
    return AddressError(
        f"asks for the {name} {words.seen(text, 40)!r}, which does not exist. Use one of"
        f" {', '.join(names)}. {usual} is shown instead."
    )


def read_sizes(text: str) -> range | None:
    """Return the range of a text such as "3-9" with both ends in it; None if it is not one."""
    match = _SIZES.fullmatch(text)
    first, last = map(int, match.groups()) if match else (0, 0)
    return range(first, last + 1) if first < last else None


def _number(text: str) -> int:
    if not (text.isdecimal() and len(text) < 5):
        raise AddressError(
            f"asks for n = {words.seen(text, 40)!r}, which is not a number of layers. n ="
            f" {DEFAULT_N} is shown instead."
        )
    return int(text)


def _removal(text: str, fault: str = "names an invalid block") -> Removal:
    try:
        return blocks.parse_removal(text)
    except BlockRangeError as error:
        raise AddressError(f"{fault}: {words.seen(str(error), 300)}") from error


def _protected(text: str) -> frozenset[int]:
    return frozenset(_removal(text, "protects invalid layers").layers)


def _sizes(text: str) -> range:
    sizes = read_sizes(text)
    if sizes is None:
        raise AddressError(
            f"asks for the range {words.seen(text, 40)!r}, which is not a range such as 3-9. All"
            " numbers of removed layers are shown."
        )
    return sizes


def _strategy(text: str) -> str:
    if text not in STRATEGIES:
        raise no_such("strategy", text, STRATEGIES, USUAL)
    return text


def _run(text: str) -> str:
    if not _RUN.fullmatch(text):
        raise AddressError(
            f"has an invalid reference run: {words.seen(text, 40)!r}. A run is a kind and 20"
            " digits, such as sweep:0123456789abcdef0123. No run is the reference."
        )
    return text


def _of_model(name: str, part: str, *, is_always_written: bool = False) -> Field[str]:
    usual: Any = getattr(ModelSpec, part)
    return Field(
        name, usual, str, lambda value: value or "", part=part, is_always_written=is_always_written
    )


def _option(name: str, former: Mapping[str, str] | None = None) -> Field[str]:
    """Return a field for a name that only its page can check; the default is ""."""
    return Field(name, "", lambda text: text[:_LONGEST], str, former or {})


MODEL = _of_model("model", "source", is_always_written=True)
N = Field("n", DEFAULT_N, _number, str, is_always_written=True)
STRATEGY = Field("strategy", USUAL, _strategy, str)
PINNED = Field("pin", "", _run, str)
PRESENTING = Field("present", False, lambda text: text == "1", lambda on: "1")
BLOCK: Field[Removal | None] = Field(
    "block", None, _removal, lambda removed: blocks.written(removed) if removed else ""
)
SIZES: Field[range | None] = Field(
    "range", None, _sizes, lambda sizes: f"{sizes[0]}-{sizes[-1]}" if sizes else ""
)
PROTECTED: Field[frozenset[int]] = Field(
    "keep", frozenset(), _protected, lambda layers: blocks.written(blocks.removal(layers))
)
OPTIONS = {
    one.name: one
    for one in (
        _option("metric"),
        _option("view"),
        _option("tab", {"writing": "generation"}),
        _option("texts"),
        _option("benchmark"),
        _option("step"),
        _option("way", {"Recipe": "Report"}),
        _option("source"),
    )
}
FIELDS: tuple[Field[Any], ...] = (
    MODEL,
    N,
    _of_model("revision", "revision"),
    _of_model("dtype", "dtype"),
    _of_model("device", "device"),
    _of_model("quantization", "quantization"),
    STRATEGY,
    PINNED,
    PRESENTING,
    BLOCK,
    SIZES,
    PROTECTED,
    *OPTIONS.values(),
)
"""All fields, in the order in which an address has them."""
