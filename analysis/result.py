"""The base of all results: a frozen dataclass saved as JSON and safetensors, and read back without torch."""

import contextlib
import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from analysis import storage
from analysis.errors import CorruptResultError, SpecError
from analysis.progress import OnProgress, Progress
from analysis.spec import Spec


@dataclass(frozen=True)
class Result:
    """Base of all results: the spec that was answered, and where and how it was computed."""

    kind: ClassVar[str] = "result"
    spec_type: ClassVar[type[Spec]] = Spec

    spec: Any
    """The resolved spec: concrete dtype, device and identities."""
    versions: dict[str, str]
    """Python packages, layerscope included, and the processor or accelerator."""
    wall_s: float
    """Seconds of computing, without loading the model."""
    n_tokens: int
    """Tokens that went through the model's layers (each counted once, however many cuts were measured)."""
    complete: bool
    """False while running or after a cancel: usable, and a new run goes on from here."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without arrays."""
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in self.array_names()}
        return typing.cast(dict[str, Any], _plain(data))

    @classmethod
    def array_names(cls) -> tuple[str, ...]:
        """Names of the fields that are stored as arrays."""
        return ()

    def save(self) -> None:
        """Store under the spec's fingerprint, atomically.

        Raises:
            StorageError: when the disk is full or the cache cannot be written.
        """
        arrays = {name: getattr(self, name) for name in self.array_names() if getattr(self, name) is not None}
        storage.save_result(self.kind, self.spec.fingerprint(), self.to_json(), [arrays] if arrays else [])

    @classmethod
    def load(cls, spec: Spec, on_progress: OnProgress | None = None) -> Self | None:
        """The stored result of a resolved spec, or None.

        A corrupt one is moved aside, `on_progress` is told, and None is returned so that it is computed again.
        """
        try:
            stored = storage.load_result(cls.kind, spec.fingerprint())
            return None if stored is None else cls.read(stored)
        except CorruptResultError as error:
            storage.discard_result(cls.kind, spec.fingerprint())
            if on_progress is not None:
                on_progress(Progress("reading the cache", message=f"{error} It was moved aside and is computed again."))
            return None

    @classmethod
    def all_current(cls) -> list[Self]:
        """Every readable result of this kind that this version of the code has stored, newest first.

        Precomputed ones do not count: they are only ever shown.
        """
        found = []
        for stored in storage.find_results(cls.kind):
            with contextlib.suppress(CorruptResultError):
                result = None if stored.precomputed else cls.read(stored)
                if result is not None and result.spec.fingerprint() == stored.path.name:
                    found.append(result)
        return found

    @classmethod
    def read(cls, stored: storage.Stored) -> Self:
        """Turn a stored result into this dataclass.

        Raises:
            CorruptResultError: when a field is missing or unknown.
        """
        try:
            values = dict(stored.data)
            values["spec"] = cls.spec_type.from_json(values["spec"])
            hints = typing.get_type_hints(cls)
            for name, hint in hints.items():
                if name in values and name != "spec":
                    values[name] = _revive(hint, values[name])
            if cls.array_names():
                arrays = stored.arrays()
                values.update({name: arrays.get(name) for name in cls.array_names()})
            return cls(**values)
        except (KeyError, TypeError, ValueError, SpecError) as error:
            raise CorruptResultError(f"The stored result in {stored.path} does not fit {cls.__name__}: {error!r}.") from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _revive(hint: Any, value: Any) -> Any:
    """Rebuild nested dataclasses from JSON: plain ones, lists of them, and optional ones."""
    arguments = typing.get_args(hint)
    if value is None:
        return None
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{name: _revive(hints[name], entry) for name, entry in value.items()})
    if typing.get_origin(hint) is list and arguments:
        return [_revive(arguments[0], entry) for entry in value]
    if typing.get_origin(hint) is dict and len(arguments) == 2:
        return {key: _revive(arguments[1], entry) for key, entry in value.items()}
    for option in arguments:
        if isinstance(option, type) and dataclasses.is_dataclass(option):
            return _revive(option, value)
    return value
