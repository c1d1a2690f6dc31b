"""Several GPUs where there is none: parts of one memory that no operation may mix, though torch
takes them for one device.

Inside of `cards()` every tensor is in host memory or on a GPU, `cpu:0`, `cpu:1` and so on, as its
`device` then says. Moving one copies it, its gradient is moved back, and an operation on tensors
from two devices fails as it does on real GPUs. The CPU computes everything, so that results are to
the last bit the same as without GPUs.
"""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HOST = torch.device("cpu")
_COPIES = {"copy_", "_foreach_copy_", "resize_", "set_", "is_same_size"}
"""May take tensors of several places, and leave each where it is."""
_WAITS = {
    "item",
    "_local_scalar_dense",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "equal",
    "_unique2",
    "unique_dim",
}
"""Operations that wait for a GPU: the next step of the host needs a number of it."""
_INDEXED = {"index": 1, "index_put_": 1, "_index_put_impl_": 1, "index_put": 1, "_unsafe_index": 1}
"""May take indices from host memory, as the argument of this place."""


class MixedCards(RuntimeError):
    """torch's error about an operation on tensors from several devices."""


class _Places:
    """Where the storage of every tensor is."""

    def __init__(self, waits: Counter[str]) -> None:
        self.waits = waits
        self._known: dict[int, tuple[StorageWeakRef, torch.device]] = {}

    def of(self, tensor: Tensor) -> torch.device:
        found = self._known.get(tensor.untyped_storage()._cdata)
        return HOST if found is None else found[1]

    def put(self, tensor: Tensor, device: torch.device) -> None:
        storage = tensor.untyped_storage()
        # The weak reference keeps its address from being given to another storage.
        self._known[storage._cdata] = (StorageWeakRef(storage), device)
        if len(self._known) % 4096 == 0:
            self._known = {key: held for key, held in self._known.items() if not held[0].expired()}


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, places: _Places, device: torch.device) -> Tensor:
        ctx.places, ctx.before = places, places.of(tensor)
        copy = tensor.clone()
        places.put(copy, device)
        return copy

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        back = gradient.clone()
        ctx.places.put(back, ctx.before)
        return back, None, None


class _NoMixing(TorchDispatchMode):
    """Below autograd: looks at every operation."""

    def __init__(self, places: _Places) -> None:
        super().__init__()
        self._places = places

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = op._schema.name.partition("::")[2], kwargs or {}
        if name in _COPIES:
            return op(*args, **kwargs)
        if self._is_waited_for(name, args):
            self._places.waits[name] += 1
        if name.startswith("_foreach_"):  # one operation after another
            lists = [
                taken
                for taken in args
                if isinstance(taken, list | tuple) and any(isinstance(one, Tensor) for one in taken)
            ]
            places = [self._place(name, row) for row in zip(*lists, strict=True)]
            return self._put(op(*args, **kwargs), places)
        taken = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if name in _INDEXED:
            indices = tree_leaves(args[_INDEXED[name]])
            taken = [
                one
                for one in taken
                if self._places.of(one) != HOST or all(one is not index for index in indices)
            ]
        place = self._place(name, taken)
        found = op(*args, **kwargs)
        return self._put(found, itertools.repeat(place))

    def _is_waited_for(self, name: str, args: Any) -> bool:
        if name in _INDEXED:  # booleans are counted first
            on_card = self._places.of(args[0]) != HOST
            return on_card and any(
                one.dtype == torch.bool for one in tree_leaves(args[1]) if isinstance(one, Tensor)
            )
        return name in _WAITS and self._places.of(args[0]) != HOST

    def _place(self, name: str, taken: Sequence[Tensor]) -> torch.device:
        """Where all of them are; a number from host memory may meet tensors of any card."""
        places = {
            self._places.of(one) for one in taken if one.dim() or self._places.of(one) != HOST
        } or {HOST}
        if len(places) > 1:
            raise MixedCards(
                f"{name}: Expected all tensors to be on the same device, but found"
                f" {sorted(map(str, places))}."
            )
        return places.pop()

    def _put(self, found: Any, places: Iterable[torch.device]) -> Any:
        for one, place in zip(tree_leaves(found), places, strict=False):
            if isinstance(one, Tensor) and not one.is_meta:
                self._places.put(one, place)
        return found


class _Cards(TorchFunctionMode):
    """Above autograd: moves, and tensors that are made in a place."""

    def __init__(self, places: _Places, n: int) -> None:
        super().__init__()
        self._places, self._n = places, n

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function == Tensor.device.__get__ and not args[0].is_meta:
            return self._places.of(args[0])
        if function is Tensor.numpy and self._places.of(args[0]) != HOST:
            raise MixedCards(
                "can't convert a tensor of a card to numpy; use Tensor.cpu() to copy it to host"
                " memory first."
            )
        if function is Tensor.tolist and self._places.of(args[0]) != HOST:
            self._places.waits["tolist"] += 1
        if function is Tensor.cpu:
            return self._moved(args[0], HOST)
        if function is Tensor.to:
            return self._to(*args, **kwargs)
        device = self._device(kwargs["device"]) if kwargs.get("device") is not None else None
        if device is not None and device.type == "cpu":
            kwargs["device"] = "cpu"
            found = function(*args, **kwargs)
            if function is torch.tensor:
                return self._moved(found, device)
            # Zeros and the like are made where they are.
            return (
                tuple(self._put(one, device) for one in found)
                if isinstance(found, tuple)
                else self._put(found, device)
            )
        return function(*args, **kwargs)

    def _device(self, named: Any) -> torch.device:
        device = torch.device(named)
        if device.type == "cpu" and device.index is not None and device.index >= self._n:
            raise RuntimeError(f"invalid device ordinal {device.index}: there are {self._n} cards")
        return device

    def _to(self, tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            device, dtype = self._places.of(args[0]), args[0].dtype
        else:
            device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type != "cpu":
            return Tensor.to(tensor, device, dtype)
        kept = Tensor.to(
            tensor, tensor.dtype if dtype is None else dtype, copy=copy
        )  # not that of a class of its own
        return kept if device is None else self._moved(kept, self._device(device))

    def _moved(self, tensor: Tensor, device: torch.device) -> Tensor:
        if tensor.is_meta or self._places.of(tensor) == device:
            return tensor
        if HOST in (device, self._places.of(tensor)):
            self._places.waits["to the host" if device == HOST else "to a card"] += 1
        return self._put(tensor, device)

    def _put(self, tensor: Tensor, device: torch.device) -> Tensor:
        if tensor.is_meta or self._places.of(tensor) == device:
            return tensor
        return _Move.apply(tensor, self._places, device)


@contextlib.contextmanager
def cards(n: int, waits: Counter[str] | None = None) -> Iterator[list[str]]:
    """Provide GPUs, and yield their names.

    Args:
        n: the number of GPUs.
        waits: counts waits for a GPU and moved tensors, by the name of the operation.
    """
    places = _Places(Counter() if waits is None else waits)
    with _NoMixing(places), _Cards(places, n):
        yield [f"cpu:{index}" for index in range(n)]
