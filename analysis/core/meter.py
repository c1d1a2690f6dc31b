"""Time and peak memory of a job, read by the process that runs jobs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self

from analysis.core import units


class MeteredDevice(Protocol):
    """Figures that the device of a model has about itself."""

    def peak_bytes(self) -> int:
        """Peak memory of this process there since `reset_peak`."""

    def reset_peak(self) -> None:
        """Let `peak_bytes` begin anew."""


@dataclass(frozen=True)
class ResourceUsage:
    """Time and memory of a job."""

    seconds: float = 0.0
    """From its beginning, loading included; of a job that was resumed, all attempts together."""
    peak_bytes: int = 0
    """Peak memory of the process: of the accelerator if the model is on one, else resident memory; 0 if other processes had the
    model."""

    def in_words(self) -> str:
        """Describe the memory in a few words; empty if it is not known."""
        return f"peak memory {units.size(self.peak_bytes)}" if self.peak_bytes else ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the inverse of `asdict`; extra entries of another version are passed over."""
        return cls(**{column.name: data[column.name] for column in fields(cls) if column.name in data})


class Meter:
    """Time and memory of this process from now on, as those of one job."""

    device: ClassVar[MeteredDevice | None] = None
    """Device of the last model that was loaded; None before the first."""

    def __init__(self, before: ResourceUsage | None = None, *, elsewhere: bool = False) -> None:
        """Begin.

        Args:
            before: usage of earlier attempts at the job, which is added.
            elsewhere: whether other processes compute: of their memory nothing is known.
        """
        self._elsewhere = elsewhere
        self._before, self._started = before or ResourceUsage(), time.monotonic()
        self._peak_bytes = self._before.peak_bytes
        if self._device is not None:
            self._device.reset_peak()

    @property
    def _device(self) -> MeteredDevice | None:
        return None if self._elsewhere else Meter.device

    def read(self) -> ResourceUsage:
        """Return the usage until now; called now and then while it runs."""
        if self._device is not None:
            self._peak_bytes = max(self._peak_bytes, self._device.peak_bytes())
        return ResourceUsage(self._before.seconds + time.monotonic() - self._started, self._peak_bytes)
