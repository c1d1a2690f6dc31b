"""Duration and peak memory of a job, measured by the process that runs it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self

from analysis.core import units


class MeteredDevice(Protocol):
    """Device that reports its peak memory."""

    def peak_bytes(self) -> int:
        """Return the peak memory of this process on the device since `reset_peak`."""

    def reset_peak(self) -> None:
        """Restart the measurement of `peak_bytes`."""


@dataclass(frozen=True)
class ResourceUsage:
    """Duration and peak memory of a job."""

    seconds: float = 0.0
    """Duration including loading, summed over all attempts."""
    peak_bytes: int = 0
    """Peak memory on the accelerator, or resident memory on the CPU; 0 if other processes ran the
    model."""

    def in_words(self) -> str:
        """Return the peak memory in words; "" if it is unknown."""
        return f"peak memory {units.size(self.peak_bytes)}" if self.peak_bytes else ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Build from the result of `asdict`, ignoring unknown entries of other versions."""
        return cls(
            **{column.name: data[column.name] for column in fields(cls) if column.name in data}
        )


class Meter:
    """Meter of one job, started when it is created."""

    device: ClassVar[MeteredDevice | None] = None
    """Device of the most recently loaded model; None before the first."""

    def __init__(self, before: ResourceUsage | None = None, *, elsewhere: bool = False) -> None:
        """Start measuring.

        Args:
            before: usage of earlier attempts, which is added.
            elsewhere: whether other processes compute, whose memory is unknown.
        """
        self._elsewhere = elsewhere
        self._before = before or ResourceUsage()
        self._started = time.monotonic()
        self._peak_bytes = self._before.peak_bytes
        if self._device is not None:
            self._device.reset_peak()

    @property
    def _device(self) -> MeteredDevice | None:
        return None if self._elsewhere else Meter.device

    def read(self) -> ResourceUsage:
        """Return the usage so far. Call it repeatedly while the job runs."""
        if self._device is not None:
            self._peak_bytes = max(self._peak_bytes, self._device.peak_bytes())
        return ResourceUsage(
            self._before.seconds + time.monotonic() - self._started, self._peak_bytes
        )
