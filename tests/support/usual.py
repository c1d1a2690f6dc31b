"""The request of a kind with its default settings."""

import contextlib
import typing
from dataclasses import MISSING, fields
from typing import Any

from analysis.core.errors import SpecError
from analysis.core.experiment import Experiment
from analysis.core.options import Option
from analysis.core.record import Spec


def usual(experiment: Experiment, model: Any) -> Spec | None:
    """Return the request with every field at its default; None if a field is required or this model
    has no such request.
    """
    hints = typing.get_type_hints(experiment.spec, include_extras=True)
    for spec_field in fields(experiment.spec):
        notes = getattr(hints[spec_field.name], "__metadata__", ())
        if any(isinstance(note, Option) and note.required for note in notes):
            return None
        if spec_field.default is MISSING and spec_field.default_factory is MISSING:
            return None
    with contextlib.suppress(SpecError):
        return experiment.spec(**({"model": model} if "model" in hints else {}))
    return None
