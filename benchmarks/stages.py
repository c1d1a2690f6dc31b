"""Where the time of a run goes, by stage, and the least time that its arithmetic takes on this machine.

PyTorch's profiler notes every operation. Regions are laid around functions that read, tokenize or load. Each operation's own
time counts once, for the region that it is in, else by its kind. So the stages add up to the whole.
"""

import contextlib
import functools
import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import profiler
from torch.profiler import record_function

READING, TOKENIZING, LOADING = "reading texts and questions", "tokenizing", "conversion and loading"
PRODUCTS, ATTENTION, HEAD, COPIES = "matrix products", "attention", "head and log-softmax", "copies and casts"
ADAPTERS, WEIGHTS = "adapters", "unpacking 4-bit weights"
DISTANCES, FIT = "distances of a map", "closed-form fit"
OTHER, PYTHON = "other operations", "Python between operations"
STAGES = (READING, TOKENIZING, LOADING, PRODUCTS, ATTENTION, HEAD, COPIES, ADAPTERS, WEIGHTS, DISTANCES, FIT, OTHER, PYTHON)

_MARK = "layerscope: "
"""Beginning of the name of a region, as the profiler notes it."""
REGIONS = {
    READING: (
        "analysis.data.questions:load",
        "analysis.data.corpora:documents",
        "analysis.data.decontamination:shared_questions",
        "analysis.data.decontamination:refuse_shared",
        "analysis.data.near_copies:NearCopyFilter.__init__",
        "analysis.experiments.heal.packing:training_rows",
        "analysis.experiments.heal.packing:beginnings",
        "analysis.experiments.heal.packing:near_copy_filter",
    ),
    TOKENIZING: (
        "transformers:PreTrainedTokenizerBase.__call__",
        "transformers:PreTrainedTokenizerBase.encode",
        "transformers:PreTrainedTokenizerBase.decode",
        "analysis.experiments.scoring.trees:encode",
        "analysis.experiments.scoring.trees:pack",
    ),
    LOADING: ("analysis.models.loading.load:load", "analysis.models.loading.planning:plan"),
    ATTENTION: ("analysis.experiments.scoring.attention:with_runs", "analysis.experiments.scoring.attention:_in_groups"),
    HEAD: (
        "analysis.models.running.head:log_probabilities",
        "analysis.models.architecture.decoder:Decoder.logits",
        "analysis.experiments.heal.teacher:head_loss",
        "analysis.experiments.search.objective:Objective._fill",
    ),
    DISTANCES: ("analysis.experiments.maps.distances:text_distances",),
    FIT: (
        "analysis.experiments.heal.compensation:Projection.add",
        "analysis.experiments.heal.compensation:Projection.changes",
    ),
}
"""Functions whose time is a stage's, with all that they call, as `module:name`."""

PRODUCT_NAMES = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
"""Matrix products, by the names of the profiler."""
_ATTENTION = "aten::_scaled_dot_product_flash_attention_for_cpu"
_ATTENTION_KERNELS = {_ATTENTION: 2, f"{_ATTENTION}_backward": 4}
"""Products of queries, keys and values in each; the way back needs four, and recomputes another."""
_KINDS = {
    **dict.fromkeys(PRODUCT_NAMES, PRODUCTS),
    **dict.fromkeys(("aten::copy_", "aten::cat", "aten::index", "aten::index_select", "aten::gather"), COPIES),
    **dict.fromkeys(("aten::_log_softmax", "aten::_softmax", "aten::logsumexp"), HEAD),
}
_DTYPES = {"float32": "float", "bfloat16": "c10::BFloat16"}
_LONG_S = 1e-3
"""Shorter products are timed too coarsely to tell a speed."""
_TIMED_S = 0.15
"""Seconds for which a product of one shape is timed."""
_LEAST_S = 0.05
"""Seconds of one timing."""
_MOST_SHAPES = 24
"""Shapes with the most operations, which are timed. The rest counts at the speed of the fastest."""
_COPIED_BYTES = 1 << 28


@dataclass(frozen=True)
class Event:
    """One operation or region of a profile."""

    name: str
    start: int
    """Nanoseconds."""
    end: int
    sequence: int = -1
    """Number that connects an operation with its way back; -1 without one."""
    is_backward: bool = False
    shapes: tuple[tuple[int, ...], ...] = ()
    dtype: str = ""
    """Of its first tensor, as the profiler names it."""


@dataclass(frozen=True)
class Product:
    """Equal matrix products in a batch, nearly always a batch of one."""

    batch: int
    rows: int
    inner: int
    columns: int
    seconds: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.inner, self.columns

    @property
    def flop(self) -> float:
        return 2.0 * self.batch * self.rows * self.inner * self.columns

    @property
    def weights(self) -> int:
        """Numbers of the right matrix, which are the weights on the way forward."""
        return self.batch * self.inner * self.columns


@dataclass(frozen=True)
class Profile:
    """Seconds of a run by stage, and its arithmetic."""

    seconds: Mapping[str, float]
    products: Sequence[Product]
    attention_flop: float

    @property
    def whole_s(self) -> float:
        return sum(self.seconds.values())

    @property
    def flop(self) -> float:
        return sum(product.flop for product in self.products) + self.attention_flop


@dataclass(frozen=True)
class Limit:
    """The least time for the arithmetic of a run and for reading its weights."""

    flop: float
    flop_s: float
    """Speed of matrix products of the run's own shapes, weighted by their operations."""
    n_bytes: float
    """Weights, once for each product."""
    bytes_s: float

    @property
    def compute_s(self) -> float:
        return self.flop / self.flop_s

    @property
    def memory_s(self) -> float:
        return self.n_bytes / self.bytes_s

    @property
    def seconds(self) -> float:
        return max(self.compute_s, self.memory_s)


@functools.cache
def _warm() -> None:
    """Run the profiler once, since its first region takes a second."""
    with profiler.profile(use_kineto=True), record_function(_MARK + OTHER):
        pass


def take(run: Callable[[], object], dtype: str) -> Profile:
    """Run something once and return where its time went.

    Args:
        run: the work, in this thread.
        dtype: products in it count for the limit, such as "float32".
    """
    _warm()
    with (
        laid(REGIONS),
        _adapters_watched(),
        profiler.profile(record_shapes=True, use_kineto=True) as recorded,
        record_function(_MARK + PYTHON),
    ):
        run()
    events = [] if recorded.kineto_results is None else recorded.kineto_results.events()
    whole = next(event for event in events if event.name() == _MARK + PYTHON)
    own = (event for event in events if event.start_thread_id() == whole.start_thread_id())
    inside = (event for event in own if whole.start_ns() <= event.start_ns() < whole.end_ns())
    return attributed(map(_event, inside), _DTYPES[dtype])


def _event(raw: Any) -> Event:
    name = raw.name()
    has_shapes = name in PRODUCT_NAMES or name in _ATTENTION_KERNELS
    return Event(
        name,
        raw.start_ns(),
        raw.end_ns(),
        raw.sequence_nr(),
        bool(raw.fwd_thread_id()),
        tuple(map(tuple, raw.shapes())) if has_shapes else (),
        next(iter(raw.dtypes()), "") if has_shapes else "",
    )


def attributed(events: Iterable[Event], dtype: str) -> Profile:
    """Give the own time of every event to a stage.

    A region has all that is in it, the innermost one first, and the way back of an operation belongs to where it was called.

    Args:
        events: of one thread, in one that surrounds all others.
        dtype: name of the dtype whose products count.
    """
    seconds: dict[str, float] = defaultdict(float)
    products: list[Product] = []
    attention_flop = 0.0
    of_sequence: dict[int, str] = {}
    open_events: list[tuple[Event, int, str, str]] = []
    """Those that are not over, each with its end inside of its parent, the region that it is in, and its stage."""
    for event in sorted(events, key=lambda event: (event.start, -event.end)):
        while open_events and open_events[-1][1] <= event.start:
            open_events.pop()
        parent_end, region, parent = (open_events[-1][1], *open_events[-1][2:]) if open_events else (event.end, "", "")
        if event.is_backward:
            region = of_sequence.get(event.sequence, region)
        region = _region(event.name) or region
        if not event.is_backward and event.sequence >= 0:
            of_sequence[event.sequence] = region
        kind = _KINDS.get(event.name)
        stage = region or kind or (PYTHON if event.name == _MARK + PYTHON else OTHER)
        if stage == WEIGHTS and kind == PRODUCTS:  # unpacked weights are multiplied as any others
            stage = PRODUCTS
        end = min(event.end, parent_end)
        seconds[stage] += (end - event.start) / 1e9
        if parent:
            seconds[parent] -= (end - event.start) / 1e9
        if event.name in PRODUCT_NAMES and event.dtype == dtype:
            products.append(_product(event))
        elif event.name in PRODUCT_NAMES and region == ATTENTION:  # in float32, also of a model in half precision
            attention_flop += _product(event).flop
        if event.name in _ATTENTION_KERNELS:
            attention_flop += _ATTENTION_KERNELS[event.name] * _pairs_flop(event)
        open_events.append((event, end, region, stage))
    return Profile({stage: seconds[stage] for stage in STAGES if seconds[stage]}, products, attention_flop)


def _region(name: str) -> str:
    """Return the region that an event begins, or nothing."""
    if name.startswith(_MARK):
        region = name.removeprefix(_MARK)
        return "" if region == PYTHON else region
    if name.startswith("bitsandbytes::"):
        return WEIGHTS
    return ATTENTION if name.startswith(("aten::scaled_dot_product_attention", _ATTENTION)) else ""


def _product(event: Event) -> Product:
    """Return the product of an event; one that adds has the matrix that it adds to first."""
    left, right = event.shapes[1:3] if "add" in event.name else event.shapes[:2]
    batch = left[0] if len(left) == 3 else 1
    return Product(batch, left[-2], left[-1], right[-1], (event.end - event.start) / 1e9)


def _pairs_flop(event: Event) -> float:
    """Return the operations of one product of attention; of a square only the causal half, which is all that a token needs."""
    query, key = event.shapes[1:3] if event.name.endswith("_backward") else event.shapes[:2]
    batch, heads, n_queries, width = query
    pairs = n_queries * key[-2] / (2 if n_queries == key[-2] else 1)
    return 2.0 * batch * heads * width * pairs


def limit(profile: Profile, dtype: str) -> Limit:
    """Return the least time for the arithmetic of a run, from speeds that are measured now.

    A shape counts at its fastest: timed alone here, or inside of the run. So no run can take less than the limit.
    """
    by_shape: dict[tuple[int, int], list[Product]] = defaultdict(list)
    for product in profile.products:
        by_shape[product.shape].append(product)

    def operations(shape: tuple[int, int]) -> float:
        return sum(product.flop for product in by_shape[shape])

    shapes = sorted(by_shape, key=operations, reverse=True)
    speeds = {shape: _fastest(by_shape[shape], dtype) for shape in shapes[:_MOST_SHAPES]}
    most = max(speeds.values())
    seconds = sum(operations(shape) / speeds.get(shape, most) for shape in shapes)
    n_bytes = sum(product.weights for product in profile.products) * getattr(torch, dtype).itemsize
    return Limit(profile.flop, sum(map(operations, shapes)) / seconds, n_bytes, bandwidth())


def _fastest(products: Sequence[Product], dtype: str) -> float:
    """Return the most operations a second of products of one shape."""
    in_run = [product.flop / product.seconds for product in products if product.seconds >= _LONG_S]
    largest = max(products, key=lambda product: product.flop)
    left = torch.randn(largest.batch, largest.rows, largest.inner).to(getattr(torch, dtype))
    right = torch.randn(largest.batch, largest.columns, largest.inner).to(left.dtype).transpose(1, 2)
    if largest.batch == 1:
        left, right = left[0], right[0]
    return max([largest.flop / _shortest(lambda: left @ right), *in_run])


def bandwidth() -> float:
    """Return the bytes a second that this machine copies, those read and those written together."""
    source = torch.zeros(_COPIED_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * _COPIED_BYTES / _shortest(lambda: target.copy_(source))


def _shortest(run: Callable[[], object]) -> float:
    """Return the least seconds of some runs; on a busy machine those that its threads had a processor for.

    The clock of the processor's time lags by some milliseconds for threads that are at work. So a timing is of many short runs.
    """
    began = time.perf_counter()
    run()
    at_once = max(1, round(_LEAST_S / (time.perf_counter() - began)))
    timings: list[float] = []
    began, threads = time.perf_counter(), torch.get_num_threads()
    while len(timings) < 6 or time.perf_counter() - began < _TIMED_S:
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(at_once):
            run()
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
        timings += [elapsed / at_once, cpu / threads / at_once]
    return min(timings)


@contextlib.contextmanager
def laid(regions: Mapping[str, Iterable[str]]) -> Iterator[None]:
    """Lay regions around functions, in every module that has them by name, as long as a `with` statement runs."""
    before: list[tuple[Any, str, Any]] = []
    try:
        for stage, names in regions.items():
            for name in names:
                module_name, _, path = name.partition(":")
                *owners, attribute = path.split(".")
                owner = functools.reduce(getattr, owners, importlib.import_module(module_name))
                original = getattr(owner, attribute)
                inside = functools.wraps(original)(_in_region(stage, original))
                modules = [module for module in list(sys.modules.values()) if _holds(module, attribute, original)]
                for place in [owner] if owners else modules:
                    before.append((place, attribute, original))
                    setattr(place, attribute, inside)
        yield
    finally:
        for place, attribute, original in reversed(before):
            setattr(place, attribute, original)


def _holds(module: Any, name: str, value: Any) -> bool:
    return getattr(module, "__name__", "").startswith(("analysis", "benchmarks")) and vars(module).get(name) is value


def _in_region(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def inside(*args: Any, **named: Any) -> Any:
        with record_function(_MARK + stage):
            return function(*args, **named)

    return inside


@contextlib.contextmanager
def _adapters_watched() -> Iterator[None]:
    """Watch the adapters of every model that gets some."""
    from analysis.experiments.heal import adapters

    attach = adapters.attach
    adapters.attach = lambda *args, **named: watch_adapters(attach(*args, **named))
    try:
        yield
    finally:
        adapters.attach = attach


def watch_adapters(model: Any) -> Any:
    """Lay regions around the low-rank parts of a model's LoRA layers, not around the weights beside them. Return the model."""
    for name, module in model.named_modules():
        if name.split(".")[-2:-1] and name.split(".")[-2] in ("lora_A", "lora_B", "lora_dropout"):
            regions: list[record_function] = []

            def enter(*_: Any, regions: list[record_function] = regions) -> None:
                regions.append(record_function(_MARK + ADAPTERS))
                regions[-1].__enter__()

            def leave(*_: Any, regions: list[record_function] = regions) -> None:
                regions.pop().__exit__(None, None, None)

            module.register_forward_pre_hook(enter)
            module.register_forward_hook(leave)
    return model
