"""What a teacher should know of a step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """A step, for the one who teaches it."""

    ask: str
    """What to ask the class."""
    beware: str
    """What is often misunderstood."""
