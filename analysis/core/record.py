"""Base of every request and every result: a frozen dataclass with a JSON form, a key, and a place on disk."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pydantic
from pydantic_core import core_schema, to_jsonable_python

from analysis.core import bounds, host, index, index_table, store
from analysis.core.errors import CorruptResultError, LayerscopeError, NotFiniteError, SpecError, UnknownRequestError
from analysis.core.progress import OnProgress, Progress
from analysis.core.table import Table, of_values

VALUES = "values"
"""Name of the table of a result that has no list of its own."""


SpecT = typing.TypeVar("SpecT", bound="Spec")
_CONFIG = pydantic.ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)


def require(condition: bool, message: str) -> None:
    """Raise `SpecError` with `message` unless `condition` holds."""
    if not condition:
        raise SpecError(message)


@typing.dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def spec_dataclass(cls: type[SpecT]) -> type[SpecT]:
    """Decorate a kind of request: a frozen dataclass whose fields pydantic validates, without conversions.

    A field of the wrong type or outside of its `bounds.Bound` raises `SpecError` as the request is made.
    """
    made: Any = pydantic.dataclasses.dataclass(frozen=True, config=_CONFIG)(cls)
    validate = made.__init__

    @functools.wraps(validate)
    def init(self: SpecT, *values: Any, **named: Any) -> None:
        try:
            validate(self, *values, **named)
        except pydantic.ValidationError as error:
            raise bounds.field_error(cls, error) from None

    made.__init__ = init
    return typing.cast(type[SpecT], made)


@spec_dataclass
class Spec:
    """Base of all requests: conversion to and from JSON, and the fingerprint."""

    if typing.TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]

    kind: ClassVar[str] = "spec"
    version: ClassVar[int] = 3
    """Part of the fingerprint. A kind raises its own when the same spec would now give another result. Then only the results
    of that kind are orphaned, so a kind that rests on it raises its own too."""
    later: ClassVar[tuple[str, ...]] = ()
    """Fields that came after results were stored: at their default they are not part of the fingerprint, which so stays."""
    withdrawn: ClassVar[Mapping[str, Any]] = {}
    """Former fields with the value that this version still computes. Stored requests with another value are refused. The value
    stays part of the fingerprint, unless the field is in `later`."""
    asked_by: ClassVar[str] = ""
    """`module:function` that makes the request from the values of the command line, where that is more than its fields. It
    is called with those values, nested as the fields are, and with the values of plain `--set` settings."""

    asked_defaults: ClassVar[Mapping[str, str]] = {}
    """Defaults of options in words, by the option's name without dashes, where `asked_by` chooses them."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: pydantic.GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Accept nested requests as objects, too; the values of their fields are not converted."""
        schema = handler(source)
        inner: Any = schema
        while inner["type"] != "dataclass":
            inner = inner["schema"]
        inner["strict"] = False
        return core_schema.no_info_wrap_validator_function(bounds.captured, schema)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_stored(cls, data: Any) -> Any:
        """Prepare the fields of a stored request: lists become tuples, and withdrawn fields are left out."""
        if not isinstance(data, dict):
            return data
        for name, value in cls.withdrawn.items():
            require(data.get(name, value) == value, f"{name} {bounds.shown(data.get(name))} was withdrawn from {cls.kind}.")
        return {name: _without_lists(value) for name, value in data.items() if name not in cls.withdrawn}

    def also_keyed(self) -> dict[str, Any]:
        """Return more entries of the fingerprint: a way of computing that changed for some requests of a kind alone."""
        return {}

    @property
    def request(self) -> Self:
        """The request as it is asked again: without the identities of the files of the machine that answered it."""

        def without_identities(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(without_identities, value))
            return value.request if isinstance(value, Spec) else value

        values = {f.name: without_identities(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: "" if name == "identity" else value for name, value in values.items()})

    def check_depth(self, n_layers: int) -> None:
        """Check that a model is deep enough for this request and its parts, by its number of decoder layers.

        Raises:
            BlockRangeError: if a removed layer is not in the model, or too many would be removed.
        """
        for part in self.nested():
            part.check_depth(n_layers)

    def check_readable(self) -> None:
        """Check that the texts and questions of this request and of its parts can be read, before anything is computed.

        Raises:
            LayerscopeError: with the first that cannot be read.
        """
        for part in self.nested():
            part.check_readable()

    def nested(self) -> "Iterator[Spec]":
        """Return the requests inside this one, such as its models, texts and questions."""
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            yield from (part for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, Spec))

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON types, nested specs as objects."""
        return typing.cast(dict[str, Any], to_jsonable_python(self))

    @classmethod
    def from_json(cls, data: typing.Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            SpecError: on an unknown field, a missing one, or a value out of range.
        """
        try:
            return typing.cast(Self, _reader(cls).validate_python(data))
        except pydantic.ValidationError as error:
            raise bounds.field_error(cls, error) from None

    @classmethod
    def check_fields(cls, values: Mapping[str, Any]) -> None:
        """Check values of some fields, as JSON, before a request is made of them.

        Raises:
            SpecError: for the first that its field cannot take.
        """
        try:
            _reader(cls).validate_python(dict(values))
        except pydantic.ValidationError as error:
            if any(fault["loc"] and fault["type"] not in bounds.MISSING for fault in error.errors()):
                raise bounds.field_error(cls, error) from None

    def fingerprint(self) -> str:
        """Twenty hexadecimal digits that change with every field, source and device among them, and with the kind's version.

        Results are stored under that of the resolved request. Fields in `later` count only where they differ from the default.
        """
        content = {"kind": self.kind, "code_version": self.version, "spec": _keyed(self)}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:20]


def _keyed(value: Any) -> Any:
    """A spec as the fingerprint has it, nested ones included."""
    if isinstance(value, Spec):
        added = {f.name: f.default for f in dataclasses.fields(value) if f.name in value.later}
        values = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        changed = {name: _keyed(item) for name, item in values.items() if name not in added or item != added[name]}
        withdrawn = {name: item for name, item in value.withdrawn.items() if name not in value.later}
        return changed | withdrawn | value.also_keyed()
    return [_keyed(item) for item in value] if isinstance(value, list | tuple) else value


def _without_lists(value: Any) -> Any:
    return tuple(_without_lists(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Result:
    """Base of all results: the spec that was answered, and where and how it was computed."""

    kind: ClassVar[str] = "result"
    array_names: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that are stored as arrays: each one array, or arrays by name, or None."""
    gaps: ClassVar[tuple[str, ...]] = ()
    """Array fields in which NaN stands for a value that was not measured, and infinity for one that is no number."""
    spec_type: ClassVar[type[Spec]] = Spec
    withdrawn: ClassVar[tuple[str, ...]] = ()
    """Former fields, which are left out when a stored result is read."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = {"arbitrary_types_allowed": True, "extra": "forbid"}
    """A stored result with an unknown field is corrupt. Arrays are no type of pydantic."""

    spec: Any
    """The resolved spec: concrete dtype, device and identities."""
    versions: dict[str, str]
    """Python packages, layerscope included, and the processor or accelerator."""
    wall_s: float
    """Seconds of computing, without loading the model."""
    n_tokens: int
    """Tokens that went through the model's layers (each counted once, however many cuts were measured)."""
    complete: bool
    """False while running or after a cancel: usable, and a new run resumes from here."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without arrays."""
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in self.array_names}
        return typing.cast(dict[str, Any], to_jsonable_python(data, fallback=np.generic.item))

    @property
    def ran_on(self) -> str:
        """The device; of a model that was spread over several their number too, as in "cuda x2"."""
        return self.versions.get("device") or str(self.spec.model.device)

    @property
    def is_from_this_machine(self) -> bool:
        """Return whether it was measured on a machine with the same CPU, which says less if a GPU computed."""
        return self.versions.get("processor", "").rpartition(",")[0] == host.processor()

    @property
    def precision_in_words(self) -> str:
        """Precision and format of the stored weights, as in "float32 from Q4_1 weights"."""
        return str(self.spec.model.precision_in_words(getattr(self, "model", None)))

    @property
    def ran_in(self) -> str:
        """Precision, format of the stored weights and device, as in "float32 from Q4_1 weights on cpu"."""
        return f"{self.precision_in_words} on {self.ran_on}"

    def tables(self) -> dict[str, Table]:
        """Its numbers as tables, by name, the main one first.

        A kind that says nothing of its own gives its lists of dataclasses or, where it has none, its plain values as one row.
        """
        values = self.own_values()
        lists = {name: rows for name, rows in values.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)}
        return {name: of_values(name, rows, self.measured_on()) for name, rows in (lists or {VALUES: [values]}).items()}

    def table(self, name: str = "") -> Table:
        """One of its tables, the main one where none is named.

        Raises:
            SpecError: when there is no table of this name.
        """
        tables = self.tables()
        require(not name or name in tables, f"A result of {self.kind} has no table {name!r}. It has {', '.join(tables)}.")
        return tables[name or next(iter(tables))]

    def own_values(self) -> dict[str, Any]:
        """The fields that other kinds do not have, by name, arrays left out."""
        shared = {f.name for f in dataclasses.fields(Result)}
        return {name: value for name, value in self.to_json().items() if name not in shared}

    def measured_on(self) -> str:
        """Return data, amount and precision of the measurement in a sentence; "" where nothing of it is known."""
        model = getattr(self.spec, "model", None)
        return f"{self.ran_in}." if model is not None else ""

    @classmethod
    def arrays_in(cls, stored: store.StoredResult) -> dict[str, Any]:
        """The array fields of a stored result, read from disk, by name; those that were not kept are missing."""
        arrays: dict[str, Any] = {}
        for path, array in stored.arrays().items():
            name, _, key = path.partition(".")
            if key:
                arrays.setdefault(name, {})[key] = array
            else:
                arrays[name] = array
        return arrays

    def save(self, under: Path | None = None, fingerprint: str = "") -> None:
        """Store atomically.

        Args:
            under: folder laid out as the folder of results is, which the index does not read; None for that of the cache.
            fingerprint: to store it under; "" for that of the spec, which it is not for a result of an older version.

        Raises:
            NotFiniteError: if a figure is NaN or infinite; nothing is stored then.
            StorageError: if the disk is full or the cache cannot be written.
        """
        fingerprint = fingerprint or self.spec.fingerprint()
        arrays: dict[str, np.ndarray] = {}
        for name in self.array_names:
            value = getattr(self, name)
            if isinstance(value, Mapping):
                arrays |= {f"{name}.{key}": array for key, array in value.items()}
            elif value is not None:
                arrays[name] = value
        data = self.to_json()
        if broken := self.broken_figure(data, arrays):
            raise NotFiniteError(
                f"The {self.kind} result has a figure that is NaN or infinite ({broken}), so it is not stored. The model "
                "overflows in its precision, or its weights are broken. Measure in float32, or choose another model or "
                "block."
            )
        store.save_result(self.kind, fingerprint, data, arrays, under=under)
        if under is None:
            index_table.record(self.kind, fingerprint)

    @classmethod
    def broken_figure(cls, data: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
        """Return the name of a field that holds NaN or an infinite number; "" if there is none.

        Args:
            data: the fields of a result as plain JSON types.
            arrays: its arrays by name; those in `gaps` may have some.
        """
        measured = {name: array for name, array in arrays.items() if name.partition(".")[0] not in cls.gaps}
        return next((name for name, value in {**data, **measured}.items() if not _is_finite(value)), "")

    @classmethod
    def load(cls, spec: Spec, on_progress: OnProgress | None = None) -> Self | None:
        """Return the stored result of a resolved spec, whole or in part, or None: a run begins with it.

        A corrupt one is moved aside, `on_progress` is called, and None is returned so that it is computed again.

        Raises:
            StorageError: when it has to be computed and nothing can be stored.
            LayerscopeError: when it has to be computed and a text or a question set cannot be read.
        """
        result = None
        try:
            if (stored := store.load_result(cls.kind, spec.fingerprint())) is not None:
                result = cls.read(stored)
        except CorruptResultError as error:
            store.discard_result(cls.kind, spec.fingerprint())
            if on_progress is not None:
                on_progress(Progress("reading the cache", message=f"{error} It was moved aside. Computing it again."))
        if result is None or not result.complete:
            store.check_writable()
            spec.check_readable()
        return result

    @classmethod
    def all_of(cls, model: Any, *, precomputed: bool = False) -> list[Self]:
        """Every readable result of this kind on a model's weights that this version of the code has stored, newest first.

        Args:
            model: a resolved `ModelSpec`; results in another precision or place are among them.
            precomputed: whether those that came with the program count too: for display and never for computing.
        """
        results = []
        wanted = index.ResultFilter((cls.kind,), (model.identity, model.source, model.revision or ""))
        for entry in index.entries(wanted):
            if entry.precomputed and not precomputed:
                continue
            with contextlib.suppress(CorruptResultError):
                result = cls.read(store.read(entry.folder, precomputed=entry.precomputed, arrays=True))
                if result.spec.fingerprint() == entry.key:
                    results.append(result)
        return results

    @classmethod
    def read(cls, stored: store.StoredResult) -> Self:
        """Turn a stored result into this dataclass.

        Raises:
            CorruptResultError: when a field is missing or unknown.
            UnknownRequestError: when this installation lacks the method, setting or extension of its request.
        """
        try:
            values = {name: value for name, value in stored.data.items() if name not in cls.withdrawn}
            try:
                values["spec"] = cls.spec_type.from_json(values["spec"])
            except LayerscopeError as error:
                raise UnknownRequestError(f"This version cannot read the request of {stored.path}: {error}") from error
            if cls.array_names:
                arrays = cls.arrays_in(stored)
                values.update({name: arrays.get(name) for name in cls.array_names})
            return _reader(cls).validate_python(values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = bounds.field_error(cls, error) if isinstance(error, pydantic.ValidationError) else repr(error)
            raise CorruptResultError(f"The stored result in {stored.path} does not fit {cls.__name__}: {reason}") from error


def _is_finite(value: Any) -> bool:
    """Return whether an array, or each number of a value in plain JSON types, is finite."""
    if isinstance(value, np.ndarray):
        return not np.issubdtype(value.dtype, np.inexact) or bool(np.isfinite(value).all())
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


@functools.cache
def _reader(kind: Any) -> pydantic.TypeAdapter[Any]:
    """Return the adapter that builds a result of a class, with all nested ones, from its stored values."""
    return pydantic.TypeAdapter(kind)
