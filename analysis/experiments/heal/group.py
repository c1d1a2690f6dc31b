"""Processes that train one healing run together: each computes its sequences of a step, and all take the same step.

Rank 0 leads: it alone reads text, measures, reports and stores, and sends orders to the others. Orders are JSON and
safetensors; gradients are summed on the device that they are on, on GPUs by NCCL.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import psutil
import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from analysis.core.progress import PeerLost
from analysis.models.loading import cuda

_PATIENCE = timedelta(days=30)
"""Time that one rank waits for another: rank 0 may measure for hours, and a lost rank is noticed by other means."""
_AT_ONCE = 1 << 28
"""Bytes that are sent in one piece."""


@dataclass(frozen=True)
class Order:
    """An instruction of rank 0 to the others."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """JSON types only."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """On the CPU."""


class Group:
    """The processes that train together, as one of them sees it; this is the group of one, which costs nothing."""

    rank = 0
    """Its own number, 0 .. size-1."""
    size = 1
    divides = False
    """Whether each has only a part of every layer, so that a layer works where all ranks give their part of it."""
    is_in_step = False
    """Whether all ranks run the same layers now, in the same order; else only rank 0 does, and the others give their parts."""

    @contextlib.contextmanager
    def in_step(self) -> Iterator[None]:
        """Run the body of a `with` statement on all ranks at once, the same layers in the same order."""
        self.is_in_step = True
        try:
            yield
        finally:
            self.is_in_step = False

    def part(self, n: int, rank: int | None = None) -> range:
        """Return a rank's consecutive part of `n` items, by default this rank's; sizes of parts differ by at most one."""
        quotient, remainder = divmod(n, self.size)
        position = self.rank if rank is None else rank
        first = position * quotient + min(position, remainder)
        return range(first, first + quotient + (position < remainder))

    def total(self, value: float) -> float:
        """Return the sum of the values of all ranks."""
        return value

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks, which have them in the same order."""

    def order(self, name: str, values: Mapping[str, Any] | None = None, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Send an order to the others, from rank 0; on other ranks it does nothing, for they have received it."""

    def receive_order(self) -> Order:
        """Wait for the next order of rank 0 and return it."""
        raise AssertionError("nobody leads a group of one")


ALONE = Group()
"""The group of a process that trains by itself."""


class _Joined(Group):
    """Several processes that torch has introduced to each other."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def total(self, value: float) -> float:
        tensor = torch.tensor(value, dtype=torch.float64)
        _with_all(partial(dist.all_reduce, tensor))
        return float(tensor)

    def add(self, tensors: Iterable[Tensor]) -> None:
        kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        for same_dtype in kinds.values():
            flat = torch.cat([tensor.flatten() for tensor in same_dtype])
            _with_all(partial(dist.all_reduce, flat))
            for tensor, summed in zip(same_dtype, flat.split([tensor.numel() for tensor in same_dtype]), strict=True):
                tensor.copy_(summed.view_as(tensor))

    def order(self, name: str, values: Mapping[str, Any] | None = None, tensors: Mapping[str, Tensor] | None = None) -> None:
        if self.rank:
            return
        sent = {name: tensor.detach().cpu().contiguous() for name, tensor in (tensors or {}).items()}
        content = save(sent, metadata={"order": json.dumps([name, dict(values or {})])})
        self._send(torch.tensor([len(content)]))
        self._send(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def receive_order(self) -> Order:
        length = torch.zeros(1, dtype=torch.int64)
        self._send(length)
        buffer = torch.empty(int(length), dtype=torch.uint8)
        self._send(buffer)
        content = buffer.numpy().tobytes()
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        name, values = json.loads(head["__metadata__"]["order"])
        return Order(name, values, load(content))

    @staticmethod
    def _send(tensor: Tensor) -> None:
        """From rank 0 to all."""
        for part in tensor.split(_AT_ONCE):
            _with_all(partial(dist.broadcast, part, src=0))


def _with_all(do: Callable[[], Any]) -> None:
    """Run a collective operation, which all ranks run at once.

    Raises:
        PeerLost: when one of the ranks is gone.
    """
    try:
        do()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise PeerLost(str(error)) from error


@contextlib.contextmanager
def peer_losses_explained() -> Iterator[None]:
    """Raise `PeerLost` where an error in the body of a `with` statement means that another rank is gone.

    Raises:
        PeerLost: then.
    """
    try:
        yield
    except RuntimeError as error:
        # Gloo has no type of its own for it.
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise PeerLost(str(error)) from error
        raise


@contextlib.contextmanager
def joined(rank: int, size: int, meeting: str = "") -> Iterator[Group]:
    """Return the group of this process, as a context.

    Args:
        rank, size: number of this process, and of all processes.
        meeting: path of a new file, through which processes of one machine find each other; "" where a framework such as Ray
            Train connects them.
    """
    if size == 1:
        yield ALONE
        return
    if not meeting:
        yield _Joined(rank, size)
        return
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
    os.environ.setdefault("NCCL_SOCKET_IFNAME", _loopback())
    by = "cpu:gloo,cuda:nccl" if cuda.is_available() else "gloo"
    try:
        dist.init_process_group(by, init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=_PATIENCE)
    except RuntimeError as error:
        raise PeerLost(str(error)) from error
    try:
        yield _Joined(rank, size)
    finally:
        dist.destroy_process_group()


def _loopback() -> str:
    """Return the name of the loopback interface of this machine."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == "127.0.0.1" for address in addresses):
            return name
    return "lo"
