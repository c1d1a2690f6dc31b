"""Speed experiment: time of prefill and decode without n layers, for several n."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from analysis.core import store
from analysis.core.blocks import Block, Removal, written
from analysis.core.errors import SpecError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, Stages, ignore
from analysis.experiments import strategies
from analysis.experiments.speed.speed_spec import (
    LLAMA_CPP,
    SpeedPoint,
    SpeedResult,
    SpeedSpec,
    fit,
    timing,
)
from analysis.models.architecture.decoder import Decoder, cache_of
from analysis.models.loading import load as models
from analysis.models.loading import machine, planning
from analysis.models.loading.load import LoadedModel, Loader
from analysis.models.running import adapters, gguf_cut, llama_cpp
from analysis.models.running.pruning import without_block
from analysis.models.source import adapter_config, gguf, gguf_families, resolving
from analysis.models.source.location import gguf_of
from analysis.models.source.sizes import ModelFacts

RULE = "deepest"
"""Strategy that chooses the measured block of each size, since the position of layers hardly
affects their time."""
_USUAL = (0, 2, 5, 10)
"""Default numbers of removed layers, in addition to half of the model's layers."""
WARM_UP = "warming up"
PHASE = "measuring the speed"

Cut = Removal | None
"""Removed layers; None for the unpruned model."""
Variant = tuple[Cut, str]
"""Removed layers, and adapter of a healed model, "" if there is none."""


def resolve(spec: SpeedSpec) -> SpeedSpec:
    """Return the request with identities. In llama.cpp, the file determines the precision and the
    CPU computes.
    """
    if spec.runtime == LLAMA_CPP:
        model = replace(spec.model, dtype="float32", device="cpu")
        spec = replace(
            spec,
            model=model,
            adapters=tuple(str(adapter_config.result_name(adapter)) for adapter in spec.adapters),
        )
    return resolving.resolve(spec)


def run(
    spec: SpeedSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> SpeedResult:
    """Measure the seconds of prefill and decode without n layers, for each n of the spec.

    Each round measures every n once, so that other load of the machine affects all of them equally.
    The first round is a warm-up and does not count. A stopped run resumes on the same machine. A
    finished run is not read from the cache, since the speed of a machine changes.

    Raises:
        BlockRangeError: If n is not less than the number of layers.
        SpecError: If the tokens do not fit into the model's window.
        LayerscopeError: For each other problem that the user can fix, in one sentence.
    """
    resolved = resolve(spec)
    stored = SpeedResult.load(resolved, on_progress)
    store.check_writable()
    on_progress = Stages.after_loading(on_progress, {WARM_UP: 1.0, PHASE: float(spec.repeats)})
    with contextlib.ExitStack() as stack:
        if resolved.runtime == LLAMA_CPP:
            measured = _of_files(resolved, stack, on_progress)
        else:
            machine.reset_peak(resolved.model.device)
            loaded = load(resolved.model, on_progress)
            variants: list[Variant] = [(cut, "") for cut in _cuts(resolved, loaded.facts)]
            measured = _SpeedRounds(
                resolved, loaded.facts, loaded.versions(), variants, _Loaded(resolved, loaded)
            )
        if stored is not None and not stored.complete:
            measured.take_over(stored)
        return measured.measure(on_progress)


def _of_files(
    spec: SpeedSpec, stack: contextlib.ExitStack, on_progress: OnProgress
) -> "_SpeedRounds":
    """Write the pruned and healed files into a temporary folder."""
    if not llama_cpp.is_installed():
        raise SpecError(llama_cpp.MISSING)
    planned = planning.plan(spec.model, on_progress)
    variants: list[Variant] = [(cut, "") for cut in _cuts(spec, planned.facts)]
    variants += [(adapters.healed_cut(adapter), adapter) for adapter in spec.adapters]
    for cut, _ in variants:
        refused = gguf_families.refusal(planned.spec, cut)
        if refused is not None:
            raise UnsupportedModelError(refused)
    source = gguf_of(planned.spec)
    assert source is not None, "a model without a file is refused"
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=store.cache_dir())))
    files: dict[Variant, Path] = {}
    for number, (cut, adapter) in enumerate(variants):
        files[cut, adapter] = file = source if cut is None else folder / f"{number}{gguf.SUFFIX}"
        with store.disk_errors_explained(file):
            if cut is not None and adapter:
                gguf_cut.heal(planned, cut, adapter, file, on_progress)
            elif cut is not None:
                gguf_cut.write(source, cut, file)
    versions = planned.versions() | {"runtime": llama_cpp.version()}
    return _SpeedRounds(spec, planned.facts, versions, variants, _Files(spec, planned.facts, files))


def _cuts(spec: SpeedSpec, facts: ModelFacts) -> list[Cut]:
    n_layers = facts.n_layers
    window = facts.max_positions
    spec.check_depth(n_layers)
    if window is not None and spec.prompt_tokens + spec.new_tokens > window:
        raise SpecError(
            f"{spec.prompt_tokens} prompt tokens plus {spec.new_tokens} new tokens exceed the"
            f" context window of {facts.name}, {window} tokens. Choose smaller numbers."
        )
    sizes = {n for n in (*_USUAL, n_layers // 2) if n < n_layers}
    chosen: list[Cut] = [
        strategies.chosen(RULE, n, strategies.StrategyInputs(n_layers))
        for n in sorted(spec.ns or sizes)
    ]
    return [*chosen, *(cut for cut in spec.blocks if cut not in chosen)]


@torch.inference_mode()
def time_generation(
    decoder: Decoder, ids: Tensor, new_tokens: int, between: Callable[[], None] = lambda: None
) -> tuple[float, float, Tensor]:
    """Time prefill and greedy decoding with a KV cache.

    Args:
        decoder: the unpruned model, or the one that `without_block` yields.
        ids: prompts of one length, (batch, tokens).
        new_tokens: number of decoding steps after prefill, which generates the first token.
        between: called before every forward pass, outside of the measured time; may raise
            `Cancelled`.

    Returns:
        Seconds of prefill, mean seconds of a decoding step, and the generated tokens, (batch, 1 +
        new_tokens).

    Raises:
        UnsupportedModelError: If the family has no KV cache.
    """
    seconds = []
    written = []
    token = ids
    settings = {"use_cache": True}
    for _ in range(1 + new_tokens):
        between()
        started = _now(decoder)
        output = decoder.body(input_ids=token, **settings)
        # The head reads only the last position, as in inference servers.
        token = decoder.logits(output.last_hidden_state[:, -1:]).argmax(-1)
        seconds.append(_now(decoder) - started)
        settings |= {decoder.cache_name: cache_of(decoder.model, output, decoder.cache_name)}
        written.append(token)
    return seconds[0], fmean(seconds[1:]), torch.cat(written, 1)


def _now(decoder: Decoder) -> float:
    """Return the time in seconds, after synchronizing the devices."""
    if decoder.device.type != "cpu":
        for device in {decoder.device, *decoder.layers_on, decoder.head_device}:
            torch.accelerator.synchronize(device)
    return time.perf_counter()


class _Loaded:
    """Variants in transformers: one loaded model, pruned for each measurement."""

    def __init__(self, spec: SpeedSpec, loaded: LoadedModel) -> None:
        self._spec = spec
        self._loaded = loaded
        self._ids = torch.tensor(_prompts(spec, loaded.facts)).to(loaded.decoder.device)

    def time(self, variant: Variant, between: Callable[[], None]) -> tuple[float, float]:
        """Return the seconds of prefill and of a decoding step."""
        with without_block(self._loaded.decoder, variant[0]) as decoder:
            prefill_s, decode_s, _ = time_generation(
                decoder, self._ids, self._spec.new_tokens, between
            )
        return prefill_s, decode_s

    def bytes_of(self, variant: Variant) -> tuple[int, int]:
        """Return 0 for the file, and the peak memory in bytes."""
        return 0, machine.peak_bytes(self._loaded.spec.device)


class _Files:
    """Variants in llama.cpp: one GGUF file each, timed in a new process."""

    def __init__(self, spec: SpeedSpec, facts: ModelFacts, files: dict[Variant, Path]) -> None:
        (prompt,) = _prompts(spec, facts)
        request = {"prompt": prompt, "max_tokens": 1 + spec.new_tokens, "ignore_eos": True}
        self._requests = [request, request]  # the first one is a warm-up
        self._length = spec.prompt_tokens + spec.new_tokens + 8
        self._files = files
        self._peaks: dict[Variant, int] = {}

    def time(self, variant: Variant, between: Callable[[], None]) -> tuple[float, float]:
        """Return the seconds of prefill and of a decoding step."""
        between()
        answers, self._peaks[variant] = llama_cpp.complete(
            self._files[variant], self._requests, self._length
        )
        timings = answers[1]["timings"]
        return timings["prompt_ms"] / 1e3, timings["predicted_per_token_ms"] / 1e3

    def bytes_of(self, variant: Variant) -> tuple[int, int]:
        """Return the bytes of the file, and the peak memory of its process."""
        return self._files[variant].stat().st_size, self._peaks.get(variant, 0)


def _prompts(spec: SpeedSpec, facts: ModelFacts) -> list[list[int]]:
    """Return prompts of random tokens, since the time does not depend on the tokens."""
    generator = torch.Generator().manual_seed(spec.seed)
    ids: list[list[int]] = torch.randint(
        facts.vocab_size, (spec.batch_size, spec.prompt_tokens), generator=generator
    ).tolist()
    return ids


@dataclass
class _SpeedRounds:
    """Measured times by variant."""

    spec: SpeedSpec
    facts: ModelFacts
    versions: dict[str, str]
    variants: list[Variant]
    timed: _Loaded | _Files
    prefill: dict[Variant, list[float]] = field(default_factory=dict)
    decode: dict[Variant, list[float]] = field(default_factory=dict)
    wall_s: float = 0.0

    def take_over(self, earlier: SpeedResult) -> None:
        """Take over the rounds of a stopped run, if it ran on the same machine."""
        same = ("processor", "accelerator", "device", "runtime")
        if all(earlier.versions.get(name) == self.versions.get(name) for name in same):
            for point in earlier.points:
                self.prefill[point.block, point.adapter] = list(point.prefill.repeats_s)
                self.decode[point.block, point.adapter] = list(point.decode.repeats_s)
            self.wall_s = earlier.wall_s

    def measure(self, on_progress: OnProgress) -> SpeedResult:
        """Measure missing rounds; store the result after each round and at the end."""
        values = {"result_key": self.spec.fingerprint()}
        total = len(self.variants) * self.spec.repeats
        if self._done < total:
            for number, variant in enumerate(self.variants):
                warming = Progress(WARM_UP, number, len(self.variants), values=values)
                self.timed.time(variant, partial(on_progress, warming))
        try:
            for number in range(self.spec.repeats):
                for variant in self._missing(number):
                    started = time.perf_counter()
                    progress = Progress(PHASE, self._done, total, values=values)
                    prefill_s, decode_s = self.timed.time(variant, partial(on_progress, progress))
                    self.prefill.setdefault(variant, []).append(prefill_s)
                    self.decode.setdefault(variant, []).append(decode_s)
                    self.wall_s += time.perf_counter() - started
                if number + 1 < self.spec.repeats:
                    self.result(complete=False).save()
            on_progress(Progress(PHASE, self._done, total, values=values))
        except BaseException:
            if self._done:
                self.result(complete=False).save()
            raise
        finished = self.result(complete=True)
        finished.save()
        return finished

    def _missing(self, number: int) -> Iterator[Variant]:
        """Yield the unmeasured variants of a round, in alternating order, so that a slowdown
        affects all equally.
        """
        for variant in self.variants if number % 2 == 0 else reversed(self.variants):
            if len(self.prefill.get(variant, ())) <= number:
                yield variant

    @property
    def _done(self) -> int:
        return sum(len(repeats) for repeats in self.prefill.values())

    def result(self, *, complete: bool) -> SpeedResult:
        """Return the result of the rounds so far."""
        spec = self.spec
        facts = self.facts
        measured = [
            (cut, adapter) for cut, adapter in self.variants if (cut, adapter) in self.prefill
        ]
        points = [self._point(cut, adapter) for cut, adapter in measured]
        of_layers = [point for point in points if point.is_of_layers]
        n_kept = [facts.n_layers - point.n for point in of_layers]
        return SpeedResult(
            spec=spec,
            versions=self.versions,
            wall_s=self.wall_s,
            n_tokens=spec.batch_size * (spec.prompt_tokens + spec.new_tokens) * self._done,
            complete=complete,
            model=facts,
            n_layers=facts.n_layers,
            points=points,
            prefill=fit(n_kept, [point.prefill.median_s for point in of_layers], facts.n_layers),
            decode=fit(n_kept, [point.decode.median_s for point in of_layers], facts.n_layers),
            rounds=min(len(self.prefill.get(variant, ())) for variant in self.variants),
            peak_bytes=max((self.timed.bytes_of(variant)[1] for variant in measured), default=0),
        )

    def _point(self, cut: Cut, adapter: str) -> SpeedPoint:
        return SpeedPoint(
            n=0 if cut is None else cut.size,
            start=None if cut is None else cut.start,
            prefill=timing(self.prefill[cut, adapter]),
            decode=timing(self.decode[cut, adapter]),
            parts=None if cut is None or isinstance(cut, Block) else written(cut),
            adapter=adapter,
            file_bytes=self.timed.bytes_of((cut, adapter))[0],
        )
