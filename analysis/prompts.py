"""Between a prompt and tokens: encoding it, and the text of each single token."""

from collections.abc import Sequence
from typing import Any

from analysis.errors import SpecError

_UNFINISHED = "\ufffd"
"""What decoders give for a letter whose bytes are not all there yet."""


def encode(tokenizer: Any, prompt: str) -> list[int]:
    """The prompt as the tokenizer gives it to its model, special tokens included.

    Raises:
        SpecError: when nothing is left of it.
    """
    ids = [int(token) for token in tokenizer(prompt).input_ids]
    if not ids:
        raise SpecError("The tokenizer of this model makes no token of this prompt; write another one.")
    return ids


class Pieces:
    """Splits a text that grows token by token into the text of each token."""

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        """Begin after the tokens `before`, whose text decides about a leading space."""
        self._tokenizer = tokenizer
        self._ids = list(before)
        self._shown = len(self._decode())

    def add(self, token: int) -> str:
        """The text that this token adds; empty while a letter is unfinished, and then all of it with its last token."""
        self._ids.append(token)
        text = self._decode()
        if text.endswith(_UNFINISHED):
            return ""
        piece = text[self._shown :]
        self._shown = len(text)
        return piece

    def rest(self) -> str:
        """What was held back, at the end of the text."""
        return self._decode()[self._shown :]

    def _decode(self) -> str:
        # Tidying up spaces would change letters that were given out before.
        text: str = self._tokenizer.decode(self._ids, clean_up_tokenization_spaces=False)
        return text


def split(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each token; joined they are the whole text."""
    pieces = Pieces(tokenizer)
    found = [pieces.add(token) for token in ids]
    if found:
        found[-1] += pieces.rest()
    return found


def alone(tokenizer: Any, token: int) -> str:
    """The text of one token in the middle of a text, with its leading space; a part of a letter is the mark for one."""
    pieces = Pieces(tokenizer, tokenizer("a", add_special_tokens=False).input_ids)
    return pieces.add(token) or pieces.rest()
