"""Escaping of control and direction characters in all output.

Names of folders, tensors and Hub repositories may contain terminal commands (ESC) or reverse the
line around them (U+202E). All text for terminals, logs, command lines, reports, sheets, model cards
and CSV files is escaped by `visible`. Pages, which show single lines of Markdown, use `is_hidden`
(`pages.components.shared.words`).
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
"""Unicode categories: control, format, surrogate, private and unassigned characters, line and
paragraph separators."""
_FORMULA = ("=", "+", "-", "@")
_PLAIN = re.compile(r"[\n\t -~]*")


def is_hidden(letter: str) -> bool:
    """Return whether a character is invisible or changes the direction of its neighbours."""
    return unicodedata.category(letter) in _HIDDEN


def visible(text: str) -> str:
    r"""Replace every hidden character by its Python escape ("\x1b", "\u202e"), except line breaks
    and tabs.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(
        ascii(letter)[1:-1] if letter not in "\n\t" and is_hidden(letter) else letter
        for letter in text
    )


def command(words: Sequence[str]) -> str:
    r"""Return words as a shell command. Words with hidden characters use the quoting of bash:
    $'\x1b[31m'.
    """
    return " ".join(
        _ansi_quoted(word) if any(map(is_hidden, word)) else quote(word) for word in words
    )


def _ansi_quoted(word: str) -> str:
    plain = (
        chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f"$'{''.join(plain)}'"


def csv(table: "DataFrame") -> bytes:
    """Return a table as the bytes of a CSV file in which no cell is a formula.

    Texts and column names that begin with =, +, - or @, also after blanks, are prefixed with an
    apostrophe, as spreadsheets do.
    """
    cells = table.map(_cell)
    cells.columns = [_cell(name) for name in cells.columns]
    return cells.to_csv(index=False).encode(errors="backslashreplace")


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def guard_logs() -> None:
    """Escape the messages and tracebacks of all loggers, including those of libraries. Repeated
    calls have no effect.
    """
    make: Callable[..., logging.LogRecord] = logging.getLogRecordFactory()
    if getattr(make, "is_guarded", False):
        return

    def guarded(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        get_message = record.getMessage
        record.getMessage = lambda: visible(get_message())  # type: ignore[method-assign]
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = visible(
                "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            )
        return record

    guarded.is_guarded = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(guarded)
