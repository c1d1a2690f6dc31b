"""Exceptions of Layerscope, all derived from `LayerscopeError`.

Each message states the problem, the possible values and the fix. Pages and the command line catch
`LayerscopeError`; `failures.in_a_sentence` explains any other exception.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from analysis.core import escapes

_MAX_WORD = 200
"""Maximum length of a word in a message; longer ones are shortened."""


class LayerscopeError(Exception):
    """Base of all errors that a user can fix; `str(error)` is the message."""


class ModelNotFoundError(LayerscopeError):
    """The id, folder or file of a model does not exist or cannot be reached."""


class HubError(LayerscopeError):
    """The Hub cannot be reached, refuses the request, or sends an unexpected response."""


class UnsupportedModelError(LayerscopeError):
    """The model is not a supported causal decoder, or its files are not safe to load."""


class NotEnoughMemoryError(LayerscopeError):
    """The weights, a training step or an adapter do not fit in the free memory."""


class BlockRangeError(LayerscopeError):
    """A block or a number of removed layers is out of range for the model."""


class CorpusError(LayerscopeError):
    """A text is missing, empty, not UTF-8, or too short."""


class BenchmarkError(LayerscopeError):
    """A question set is missing or cannot be used."""


class RecipeError(LayerscopeError):
    """A healing run cannot work with the requested settings."""


class PackError(LayerscopeError):
    """A result pack cannot be created, or its content is refused."""


class SpecError(LayerscopeError):
    """A request has an unknown, missing or malformed field."""


class AccessError(LayerscopeError):
    """The operator of the dashboard does not allow the action for this visitor."""


class MixedConditionsError(LayerscopeError):
    """Two numbers cannot be compared, because their models, precisions or materials differ."""


class NotFiniteError(LayerscopeError):
    """A measured value is NaN or infinite, so the result is not stored."""


class StorageError(LayerscopeError):
    """The cache folder cannot be read or written."""


class BusyError(StorageError):
    """Another process has locked a file; a later attempt may succeed."""


class CorruptResultError(StorageError):
    """A stored result does not match its checksum or schema."""


class UnknownRequestError(CorruptResultError):
    """The request of a stored result needs a method, setting or extension that is not installed."""


class JobError(LayerscopeError):
    """A job does not exist, or is in the wrong state for the action."""


def one_line(text: str) -> str:
    """Return a text as one line: with spaces for line breaks, escapes for control characters, and
    shortened long words.
    """
    line = escapes.visible(" ".join(text.split()))
    return re.sub(rf"\S{{{_MAX_WORD},}}", lambda match: f"{match[0][:60]}…{match[0][-20:]}", line)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return "Did you mean NAME?" with the most similar of some names; "" if none is similar."""
    nearest = get_close_matches(name, list(names), 1, 0.7)
    return f"Did you mean {nearest[0]}?" if nearest else ""
