"""The exception tree: one base to catch, one leaf per kind of trouble.

`LayerscopeError`:

- ModelNotFoundError: the model's id, folder or file is not there or cannot be reached.
- HubError: the hub cannot be reached, refuses the request, or sends something else.
- UnsupportedModelError: it is there, but not a causal decoder this tool can take apart.
- NotEnoughMemoryError: its weights do not fit in the free memory.
- BlockRangeError: a block or a number of layers outside the model.
- CorpusError: text that cannot be used.
- BenchmarkError: a question set that cannot be used.
- RecipeError: a healing run that cannot work with these settings.
- PackError: a result pack that cannot be made or opened.
- SpecError: a request with an unknown or malformed field.
- AccessError: something that the operator of this dashboard does not let its visitors do.
- MixedConditionsError: two numbers that were not measured in the same way are to be compared.
- NotFiniteError: a measured figure is NaN or infinite, so nothing is stored.
- StorageError: the cache folder cannot be read or written.
    - CorruptResultError: a stored result does not match its checksum or schema.
        - UnknownRequestError: its method, setting or extension is not part of this installation.
- JobError: a job that does not exist or is in the wrong state.

Every message is one sentence with the request, the possible values and the action to take. Pages and the command line
catch `LayerscopeError`. For anything else `failures.in_a_sentence` says the cause, or that nobody foresaw it.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from analysis.core import escapes

_LONG_WORD = 200
"""Characters of a word in a sentence: nobody reads a number of 5000 digits."""


class LayerscopeError(Exception):
    """Something the user can understand and act on; `str(error)` is the sentence to show."""


class ModelNotFoundError(LayerscopeError):
    """The model's id, folder or file is not there or cannot be reached."""


class HubError(LayerscopeError):
    """The hub cannot be reached, refuses the request, or sends something else."""


class UnsupportedModelError(LayerscopeError):
    """The model is not a causal decoder that can be taken apart layer by layer, or its files are not safe to load."""


class NotEnoughMemoryError(LayerscopeError):
    """The model's weights, a training step or an adapter do not fit in the memory that is free."""


class BlockRangeError(LayerscopeError):
    """A block, or a number of layers to remove, outside the model."""


class CorpusError(LayerscopeError):
    """Text that cannot be used: missing, empty, not UTF-8, or too short."""


class BenchmarkError(LayerscopeError):
    """A question set that is missing or cannot be used."""


class RecipeError(LayerscopeError):
    """A heal that cannot work as asked."""


class PackError(LayerscopeError):
    """A result pack that cannot be made, or whose content is refused."""


class SpecError(LayerscopeError):
    """A request with an unknown, missing or malformed field."""


class AccessError(LayerscopeError):
    """Something that the operator of the dashboard does not let this visitor do."""


class MixedConditionsError(LayerscopeError):
    """Two numbers that were measured on other models, in another precision or on other material are to be compared."""


class NotFiniteError(LayerscopeError):
    """A measured figure is NaN or infinite, so nothing is stored."""


class StorageError(LayerscopeError):
    """The cache folder cannot be read or written."""


class BusyError(StorageError):
    """Another process holds a file for longer than a short wait; later it can be written."""


class CorruptResultError(StorageError):
    """A stored result does not match its checksum or its schema."""


class UnknownRequestError(CorruptResultError):
    """The request of a stored result names a method, a setting or an extension that this installation does not have."""


class JobError(LayerscopeError):
    """A job that does not exist or is in the wrong state for the action."""


def one_line(text: str) -> str:
    """A sentence as one line: line breaks as spaces, other control characters as their escapes, and no endless words."""
    line = " ".join(text.split())
    line = escapes.visible(line)
    return re.sub(rf"\S{{{_LONG_WORD},}}", lambda match: f"{match[0][:60]}…{match[0][-20:]}", line)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the question "Did you mean NAME?" with the nearest of some names; "" if none is near."""
    nearest = get_close_matches(name, list(names), 1, 0.7)
    return f"Did you mean {nearest[0]}?" if nearest else ""
