"""Notes for a teacher on a step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """A step, for the one who teaches it."""

    ask: str
    """A question to the class."""
    beware: str
    """A common misunderstanding."""
