"""Text that leaves the program: control and direction characters are shown as their escapes, wherever the text came from.

Names of folders, tensors and Hub repositories may hold terminal commands (ESC), or turn the line around them (U+202E). Every
line for a terminal, a log, a shown command, a report, a sheet, a model card or a CSV file passes `visible` here. Pages, which
show one line of Markdown, build on `is_hidden` (`pages.components.shared.words`).
"""

import logging
import os
import re
import traceback
import unicodedata
from collections.abc import Callable, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: control, format, surrogate, private and unassigned characters, line and paragraph separators."""
_LAYOUT = "\n\t"
_FORMULA = ("=", "+", "-", "@")
_PLAIN = re.compile(r"[\n\t -~]*")


def is_hidden(letter: str) -> bool:
    """Return True for a character that nobody sees, or that moves its neighbours."""
    return unicodedata.category(letter) in _HIDDEN


def visible(text: str) -> str:
    r"""Return the text with every hidden character as its Python escape ("\x1b", "\u202e"); line breaks and tabs stay."""
    if _PLAIN.fullmatch(text):
        return text
    return "".join(ascii(letter)[1:-1] if letter not in _LAYOUT and is_hidden(letter) else letter for letter in text)


def command(words: Sequence[str]) -> str:
    r"""Return words as one line for a shell. A word with hidden characters is quoted as bash has it: $'\x1b[31m'."""
    return " ".join(_ansi_quoted(word) if any(map(is_hidden, word)) else quote(word) for word in words)


def _ansi_quoted(word: str) -> str:
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in os.fsencode(word))
    return f"$'{''.join(plain)}'"


def csv(table: "DataFrame") -> bytes:
    """Return a table as the bytes of a CSV file in which no cell is a formula.

    A text that begins with =, +, - or @ (behind blanks, too) gets an apostrophe in front, as spreadsheets write such text
    themselves. Numbers stay numbers. Column heads follow the same rule.
    """
    cells = table.map(_cell)
    cells.columns = [_cell(name) for name in cells.columns]
    return cells.to_csv(index=False).encode(errors="backslashreplace")


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


def guard_logs() -> None:
    """Let every message and traceback of `logging` pass `visible`, whichever library wrote it; a second call does nothing."""
    make: Callable[..., logging.LogRecord] = logging.getLogRecordFactory()
    if getattr(make, "is_guarded", False):
        return

    def guarded(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        get_message = record.getMessage
        record.getMessage = lambda: visible(get_message())  # type: ignore[method-assign]
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = visible("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        return record

    guarded.is_guarded = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(guarded)
