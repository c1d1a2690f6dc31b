"""Base classes of requests and results: JSON form, fingerprint and storage."""

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
from analysis.core.bounds import Count, Seconds
from analysis.core.errors import (
    CorruptResultError,
    LayerscopeError,
    NotFiniteError,
    SpecError,
    UnknownRequestError,
)
from analysis.core.progress import OnProgress, Progress
from analysis.core.table import Table, of_values

VALUES = "values"
"""Name of the table of a result without lists."""


SpecT = typing.TypeVar("SpecT", bound="Spec")
_CONFIG = pydantic.ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)


def require(condition: bool, message: str) -> None:
    """Raise `SpecError` with `message` if `condition` is false."""
    if not condition:
        raise SpecError(message)


@typing.dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def spec_dataclass(cls: type[SpecT]) -> type[SpecT]:
    """Make a class a frozen dataclass whose fields pydantic validates without conversions.

    A field of the wrong type or outside its `bounds.Bound` raises `SpecError` when the request is
    created.
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
    """Base class of all requests."""

    if typing.TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]

    kind: ClassVar[str] = "spec"
    version: ClassVar[int] = 3
    """Version of the results, part of the fingerprint. Raise it if the same request now gives
    another result, and also that of kinds that build on it. Stored results of older versions are
    not used."""
    later: ClassVar[tuple[str, ...]] = ()
    """Fields added after results were stored. At their default they are not part of the
    fingerprint."""
    withdrawn: ClassVar[Mapping[str, Any]] = {}
    """Former fields with the only value that is still supported; stored requests with another value
    are refused. The value stays part of the fingerprint, unless the field is in `later`."""
    asked_by: ClassVar[str] = ""
    """`module:function` that builds the request from the values of the command line; "" to use them
    as fields. It is called with the values, nested like the fields, and with those of `--set`."""

    asked_defaults: ClassVar[Mapping[str, str]] = {}
    """Descriptions of the defaults that `asked_by` chooses, by option name without dashes."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Accept JSON objects for nested requests, without converting the values of their
        fields.
        """
        schema = handler(source)
        inner: Any = schema
        while inner["type"] != "dataclass":
            inner = inner["schema"]
        inner["strict"] = False
        return core_schema.no_info_wrap_validator_function(bounds.captured, schema)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_stored(cls, data: Any) -> Any:
        """Convert lists to tuples, and drop withdrawn fields."""
        if not isinstance(data, dict):
            return data
        for name, value in cls.withdrawn.items():
            require(
                data.get(name, value) == value,
                f"{name} {bounds.shown(data.get(name))} was withdrawn from {cls.kind}.",
            )
        return {
            name: _without_lists(value) for name, value in data.items() if name not in cls.withdrawn
        }

    def also_keyed(self) -> dict[str, Any]:
        """Return additional entries of the fingerprint, for changes that affect only some requests
        of a kind.
        """
        return {}

    @property
    def request(self) -> Self:
        """The request without the identities of models, texts and questions, to be resolved
        again.
        """

        def without_identities(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(without_identities, value))
            return value.request if isinstance(value, Spec) else value

        values = {
            f.name: without_identities(getattr(self, f.name)) for f in dataclasses.fields(self)
        }
        return dataclasses.replace(
            self, **{name: "" if name == "identity" else value for name, value in values.items()}
        )

    def check_depth(self, n_layers: int) -> None:
        """Check that a model has enough layers for this request and its nested requests.

        Raises:
            BlockRangeError: if a removed layer does not exist, or too many layers are removed.
        """
        for part in self.nested():
            part.check_depth(n_layers)

    def check_readable(self) -> None:
        """Check that the texts and questions of this request and its nested requests can be read.

        Raises:
            LayerscopeError: if one of them cannot be read.
        """
        for part in self.nested():
            part.check_readable()

    def nested(self) -> "Iterator[Spec]":
        """Return the nested requests, such as models, texts and questions."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            parts = value if isinstance(value, tuple) else (value,)
            yield from (part for part in parts if isinstance(part, Spec))

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON types, with nested requests as objects."""
        return typing.cast(dict[str, Any], to_jsonable_python(self))

    @classmethod
    def from_json(cls, data: typing.Mapping[str, Any]) -> Self:
        """Build a request from the result of `to_json`.

        Raises:
            SpecError: for an unknown or missing field, or an invalid value.
        """
        try:
            return typing.cast(Self, _reader(typing.cast(type, cls)).validate_python(data))
        except pydantic.ValidationError as error:
            raise bounds.field_error(cls, error) from None

    @classmethod
    def check_fields(cls, values: Mapping[str, Any]) -> None:
        """Validate the values of some fields, given as JSON types.

        Raises:
            SpecError: for an unknown field or an invalid value.
        """
        try:
            _reader(typing.cast(type, cls)).validate_python(dict(values))
        except pydantic.ValidationError as error:
            if any(
                fault["loc"] and fault["type"] not in bounds.MISSING for fault in error.errors()
            ):
                raise bounds.field_error(cls, error) from None

    def fingerprint(self) -> str:
        """Return a hash of the kind, its version and all fields, twenty hexadecimal digits.

        Results are stored under the fingerprint of the resolved request. Fields in `later` are
        included only if they differ from their default.
        """
        content = {"kind": self.kind, "code_version": self.version, "spec": _keyed(self)}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:20]


def _keyed(value: Any) -> Any:
    """Return a field value, or a request, as it is part of the fingerprint."""
    if isinstance(value, Spec):
        added = {f.name: f.default for f in dataclasses.fields(value) if f.name in value.later}
        values = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        changed = {
            name: _keyed(item)
            for name, item in values.items()
            if name not in added or item != added[name]
        }
        withdrawn = {
            name: item for name, item in value.withdrawn.items() if name not in value.later
        }
        return changed | withdrawn | value.also_keyed()
    return [_keyed(item) for item in value] if isinstance(value, list | tuple) else value


def _without_lists(value: Any) -> Any:
    return tuple(_without_lists(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Result:
    """Base class of all results."""

    kind: ClassVar[str] = "result"
    array_names: ClassVar[tuple[str, ...]] = ()
    """Fields that are stored as arrays: an array, arrays by name, or None."""
    gaps: ClassVar[tuple[str, ...]] = ()
    """Array fields that may contain NaN for unmeasured and infinity for overflowed values."""
    spec_type: ClassVar[type[Spec]] = Spec
    withdrawn: ClassVar[tuple[str, ...]] = ()
    """Former fields, which are ignored in stored results."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = {
        "arbitrary_types_allowed": True,
        "extra": "forbid",
        "allow_inf_nan": False,
    }
    """Configuration of pydantic: arrays are not validated, unknown fields and numbers that are not
    finite are errors."""

    spec: Any
    """Resolved request, with concrete dtype, device and identities."""
    versions: dict[str, str]
    """Versions of Python packages including layerscope, and the CPU or accelerator."""
    wall_s: Seconds
    """Seconds of computation, without loading the model."""
    n_tokens: Count
    """Number of tokens processed by the model, each counted once for all removals."""
    complete: bool
    """Whether the result is complete; an incomplete one is usable, and a new run resumes from
    it."""

    def to_json(self) -> dict[str, Any]:
        """Return all fields except arrays as JSON types."""
        data = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in self.array_names
        }
        return typing.cast(dict[str, Any], to_jsonable_python(data, fallback=np.generic.item))

    @property
    def ran_on(self) -> str:
        """Device, with the number of GPUs if the model was spread over several, as in "cuda x2"."""
        return self.versions.get("device") or str(self.spec.model.device)

    @property
    def is_from_this_machine(self) -> bool:
        """Whether the result was measured on a machine with this machine's CPU model."""
        return self.versions.get("processor", "").rpartition(",")[0] == host.processor()

    @property
    def precision_in_words(self) -> str:
        """Precision and format of the stored weights, as in "float32 from Q4_1 weights"."""
        return str(self.spec.model.precision_in_words(getattr(self, "model", None)))

    @property
    def ran_in(self) -> str:
        """Precision, format of the stored weights and device, as in "float32 from Q4_1 weights on
        cpu".
        """
        return f"{self.precision_in_words} on {self.ran_on}"

    def tables(self) -> dict[str, Table]:
        """Return tables by name, the main one first.

        By default these are the lists of dataclasses among the fields, or the plain values as one
        row if there are none.
        """
        values = self.own_values()
        lists = {
            name: rows
            for name, rows in values.items()
            if isinstance(rows, list) and rows and isinstance(rows[0], dict)
        }
        return {
            name: of_values(name, rows, self.measured_on())
            for name, rows in (lists or {VALUES: [values]}).items()
        }

    def table(self, name: str = "") -> Table:
        """Return a table by name (default: the main one).

        Raises:
            SpecError: if there is no such table.
        """
        tables = self.tables()
        require(
            not name or name in tables,
            f"A result of {self.kind} has no table {name!r}. It has {', '.join(tables)}.",
        )
        return tables[name or next(iter(tables))]

    def own_values(self) -> dict[str, Any]:
        """Return the fields specific to this kind, except arrays, by name."""
        shared = {f.name for f in dataclasses.fields(Result)}
        return {name: value for name, value in self.to_json().items() if name not in shared}

    def measured_on(self) -> str:
        """Return a sentence with data, sample size and precision of the measurement; "" if they are
        unknown.
        """
        model = getattr(self.spec, "model", None)
        return f"{self.ran_in}." if model is not None else ""

    @classmethod
    def arrays_in(cls, stored: store.StoredResult) -> dict[str, Any]:
        """Read the array fields of a stored result by name, as far as they are stored."""
        arrays: dict[str, Any] = {}
        for path, array in stored.arrays().items():
            name, _, key = path.partition(".")
            if key:
                arrays.setdefault(name, {})[key] = array
            else:
                arrays[name] = array
        return arrays

    def save(self, under: Path | None = None) -> None:
        """Store the result atomically.

        Args:
            under: folder of results that is not indexed (default: that of the cache).

        Raises:
            NotFiniteError: if a value is NaN or infinite; nothing is stored then.
            StorageError: if the disk is full or the cache is not writable.
        """
        fingerprint = self.spec.fingerprint()
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
                f"The {self.kind} result has a figure that is NaN or infinite ({broken}), so it is"
                " not stored. The model overflows in its precision, or its weights are broken."
                " Measure in float32, or choose another model or block."
            )
        store.save_result(self.kind, fingerprint, data, arrays, under=under)
        if under is None:
            index_table.record(self.kind, fingerprint)

    @classmethod
    def broken_figure(cls, data: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
        """Return the name of a field with a NaN or infinite value; "" if there is none.

        Args:
            data: fields of a result as JSON types.
            arrays: arrays by name; those in `gaps` are not checked.
        """
        measured = {
            name: array for name, array in arrays.items() if name.partition(".")[0] not in cls.gaps
        }
        return next(
            (name for name, value in {**data, **measured}.items() if not _is_finite(value)), ""
        )

    @classmethod
    def load(cls, spec: Spec, on_progress: OnProgress | None = None) -> Self | None:
        """Return the stored complete or incomplete result of a resolved request at the start of a
        run; None if there is none.

        A corrupt result is moved aside and reported, and None is returned, so that it is computed
        again.

        Raises:
            StorageError: if the result must be computed but cannot be stored.
            LayerscopeError: if the result must be computed but a text or question set cannot be
                read.
        """
        result = None
        try:
            if (stored := store.load_result(cls.kind, spec.fingerprint())) is not None:
                result = cls.read(stored)
        except CorruptResultError as error:
            store.discard_result(cls.kind, spec.fingerprint())
            if on_progress is not None:
                on_progress(
                    Progress(
                        "reading the cache",
                        message=f"{error} It was moved aside. Computing it again.",
                    )
                )
        if result is None or not result.complete:
            store.check_writable()
            spec.check_readable()
        return result

    @classmethod
    def all_of(cls, model: Any, *, precomputed: bool = False) -> list[Self]:
        """Return all readable results of this kind and version on the weights of a model, newest
        first.

        Args:
            model: resolved `ModelSpec`. Its precision, device and path need not match.
            precomputed: whether to include those of the gallery, which must not be used for
                computation.
        """
        results = []
        places = (index_table.OWN, index_table.committed()) if precomputed else (index_table.OWN,)
        weights = model.identity, model.source, model.revision or ""
        for entry in index.entries(index.ResultFilter((cls.kind,), weights, places=places)):
            with contextlib.suppress(CorruptResultError):
                result = cls.read(
                    store.read(entry.folder, precomputed=entry.precomputed, arrays=True)
                )
                if result.spec.fingerprint() == entry.key:
                    results.append(result)
        return results

    @classmethod
    def read(cls, stored: store.StoredResult) -> Self:
        """Build a result from its stored content.

        Raises:
            CorruptResultError: if a field is missing, unknown or invalid.
            UnknownRequestError: if its request needs a method, setting or extension that is not
                installed.
        """
        try:
            values = {
                name: value for name, value in stored.data.items() if name not in cls.withdrawn
            }
            try:
                values["spec"] = cls.spec_type.from_json(values["spec"])
            except LayerscopeError as error:
                raise UnknownRequestError(
                    f"This version cannot read the request of {stored.path}: {error}"
                ) from error
            if cls.array_names:
                arrays = cls.arrays_in(stored)
                values.update({name: arrays.get(name) for name in cls.array_names})
            return _reader(typing.cast(type, cls)).validate_python(values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = (
                bounds.field_error(cls, error)
                if isinstance(error, pydantic.ValidationError)
                else repr(error)
            )
            raise CorruptResultError(
                f"The stored result in {stored.path} does not fit {cls.__name__}: {reason}"
            ) from error


def _is_finite(value: Any) -> bool:
    """Return whether all numbers of an array or a JSON value are finite."""
    if isinstance(value, np.ndarray):
        return not np.issubdtype(value.dtype, np.inexact) or bool(np.isfinite(value).all())
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


@functools.cache
def _reader(kind: type) -> pydantic.TypeAdapter[Any]:
    """Return the pydantic adapter that builds a request or result from JSON types."""
    return pydantic.TypeAdapter(kind)
