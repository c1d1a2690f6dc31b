"""The experiment that measures how fast a model reads and writes without n layers, for several n in turn."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from analysis.core import store
from analysis.core.blocks import Block, PartSet, Removal, written
from analysis.core.errors import SpecError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, Stages, ignore
from analysis.experiments import strategies
from analysis.experiments.speed.speed_spec import SpeedPoint, SpeedResult, SpeedSpec, fit, timing
from analysis.models.architecture.decoder import Decoder, cache_of
from analysis.models.loading import load as models
from analysis.models.loading import machine, planning
from analysis.models.loading.load import LoadedModel, Loader
from analysis.models.running import gguf_cut, llama_cpp
from analysis.models.running.pruning import without_block
from analysis.models.source import gguf, gguf_families
from analysis.models.source.location import gguf_of
from analysis.models.source.resolving import resolve
from analysis.models.source.sizes import ModelFacts

RULE = "deepest"
"""Rule of the block that stands for its size: layers of one kind take equal time, wherever they are."""
_USUAL = (0, 2, 5, 10)
"""Numbers of removed layers that are measured unless others are asked for, with half of the model's layers."""
WARM_UP, PHASE = "warming up", "measuring the speed"

Cut = Removal | None
"""The removed layers; None is the unpruned model."""


def run(spec: SpeedSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH) -> SpeedResult:
    """Measure the seconds of prefill and decode without n layers, for each n of the spec.

    All n are measured in turn, again and again, so that other load of the machine affects all of them equally. The first round
    is a warm-up and does not count. A stopped run keeps its rounds and resumes on the same machine. A finished one is never
    taken from the cache: a new request measures again, for the speed of a machine is that of the moment.

    Raises:
        BlockRangeError: when some n leaves no layer.
        SpecError: when the tokens do not fit into the model's window.
        LayerscopeError: for each other problem that the user can fix, in one sentence.
    """
    if spec.runtime == "llama.cpp":
        return _in_llama_cpp(spec, on_progress)
    resolved = resolve(spec)
    stored = SpeedResult.load(resolved, on_progress)
    store.check_writable()
    machine.reset_peak(resolved.model.device)
    on_progress = Stages.after_loading(on_progress, {WARM_UP: 1.0, PHASE: float(spec.repeats)})
    loaded = load(resolved.model, on_progress)
    measured = _SpeedRounds(resolved, loaded, _cuts(resolved, loaded.facts))
    if stored is not None and not stored.complete:
        measured.take_over(stored)
    return measured.measure(on_progress)


def _in_llama_cpp(spec: SpeedSpec, on_progress: OnProgress) -> SpeedResult:
    """Measure the cut GGUF files in turn, each time in a new process; the result is not stored."""
    planned = planning.plan(spec.model, on_progress)
    source, cuts = gguf_of(planned.spec), _cuts(spec, planned.facts)
    for cut in cuts:
        refused = gguf_families.refusal(planned.spec, cut)
        if refused is not None:
            raise UnsupportedModelError(refused)
    assert source is not None, "a model without a file is refused"
    generator = torch.Generator().manual_seed(spec.seed)
    prompt = torch.randint(planned.facts.vocab_size, (spec.prompt_tokens,), generator=generator).tolist()
    requests = [{"prompt": prompt, "max_tokens": 1 + spec.new_tokens, "ignore_eos": True}] * 2  # the first warms up
    seconds: dict[Cut, list[tuple[float, float]]] = {cut: [] for cut in cuts}
    peak, started = 0, time.perf_counter()
    with tempfile.TemporaryDirectory(dir=store.cache_dir()) as folder:
        files = {cut: source if cut is None else Path(folder) / f"{written(cut)}{gguf.SUFFIX}" for cut in cuts}
        for cut in cuts:
            if cut is not None:
                gguf_cut.write(source, cut, files[cut])
        for number in range(spec.repeats):
            for cut in cuts if number % 2 == 0 else reversed(cuts):
                on_progress(Progress(PHASE, sum(map(len, seconds.values())), len(cuts) * spec.repeats))
                answers, taken = llama_cpp.complete(files[cut], requests, spec.prompt_tokens + spec.new_tokens + 8)
                timings, peak = answers[1]["timings"], max(peak, taken)
                seconds[cut].append((timings["prompt_ms"] / 1e3, timings["predicted_per_token_ms"] / 1e3))
    on_progress(Progress(PHASE, len(cuts) * spec.repeats, len(cuts) * spec.repeats))
    return _result(
        replace(spec, model=planned.spec),
        planned.facts,
        planned.versions() | {"runtime": llama_cpp.version()},
        {cut: [pair[0] for pair in pairs] for cut, pairs in seconds.items()},
        {cut: [pair[1] for pair in pairs] for cut, pairs in seconds.items()},
        wall_s=time.perf_counter() - started,
        complete=True,
        peak_bytes=peak,
    )


def _cuts(spec: SpeedSpec, facts: ModelFacts) -> list[Cut]:
    n_layers, window = facts.n_layers, facts.max_positions
    spec.check_depth(n_layers)
    if window is not None and spec.prompt_tokens + spec.new_tokens > window:
        raise SpecError(
            f"{spec.prompt_tokens} prompt tokens plus {spec.new_tokens} new tokens exceed the context window of "
            f"{facts.name}, {window} tokens. Choose smaller numbers."
        )
    sizes = {n for n in (*_USUAL, n_layers // 2) if n < n_layers}
    chosen: list[Cut] = [strategies.chosen(RULE, n, strategies.StrategyInputs(n_layers)) for n in sorted(spec.ns or sizes)]
    return [*chosen, *(cut for cut in spec.blocks if cut not in chosen)]


@torch.inference_mode()
def read_and_write(
    decoder: Decoder, ids: Tensor, new_tokens: int, between: Callable[[], None] = lambda: None
) -> tuple[float, float, Tensor]:
    """Read prompts and write on greedily, as the model is now, with a KV cache.

    Args:
        decoder: the model, whole or inside `without_block`.
        ids: prompts of one length, (batch, tokens).
        new_tokens: tokens to write after the one that reading the prompt gives, one pass each.
        between: called before every pass, off the clock; may raise `Cancelled`.

    Returns:
        Seconds until the first new token; mean seconds of each of the others; all of them, (batch, 1 + new_tokens).

    Raises:
        UnsupportedModelError: when the family hands on no cache.
    """
    seconds, written = [], []
    token, settings = ids, {"use_cache": True}
    for _ in range(1 + new_tokens):
        between()
        started = _now(decoder)
        output = decoder.body(input_ids=token, **settings)
        # The head sees the last position only, in reading too, as wherever models are served.
        token = decoder.logits(output.last_hidden_state[:, -1:]).argmax(-1)
        seconds.append(_now(decoder) - started)
        settings |= {decoder.cache_name: cache_of(decoder.model, output, decoder.cache_name)}
        written.append(token)
    return seconds[0], fmean(seconds[1:]), torch.cat(written, 1)


def _now(decoder: Decoder) -> float:
    """Seconds on a clock, once the devices have done all they were asked to."""
    if decoder.device.type != "cpu":
        for device in {decoder.device, *decoder.layers_on, decoder.head_device}:
            torch.accelerator.synchronize(device)
    return time.perf_counter()


@dataclass
class _SpeedRounds:
    """The seconds measured so far, and the result that they amount to."""

    spec: SpeedSpec
    loaded: LoadedModel
    cuts: list[Cut]
    prefill: dict[Cut, list[float]] = field(default_factory=dict)
    decode: dict[Cut, list[float]] = field(default_factory=dict)
    wall_s: float = 0.0

    def take_over(self, earlier: SpeedResult) -> None:
        """Keep the rounds of a stopped run, if it was on this very machine."""
        versions = self.loaded.versions()
        if all(earlier.versions.get(name) == versions.get(name) for name in ("processor", "accelerator", "device")):
            for point in earlier.points:
                self.prefill[point.block] = list(point.prefill.repeats_s)
                self.decode[point.block] = list(point.decode.repeats_s)
            self.wall_s = earlier.wall_s

    def measure(self, on_progress: OnProgress) -> SpeedResult:
        """Measure missing rounds; store the result after each round, and at the end in any case."""
        values, ids = {"result_key": self.spec.fingerprint()}, self._prompt()
        total = len(self.cuts) * self.spec.repeats
        if self._done < total:
            for number, cut in enumerate(self.cuts):
                warming = Progress(WARM_UP, number, len(self.cuts), values=values)
                self._time(cut, ids, partial(on_progress, warming))
        try:
            for number in range(self.spec.repeats):
                for cut in self._missing(number):
                    started = time.perf_counter()
                    progress = Progress(PHASE, self._done, total, values=values)
                    prefill_s, decode_s = self._time(cut, ids, partial(on_progress, progress))
                    self.prefill.setdefault(cut, []).append(prefill_s)
                    self.decode.setdefault(cut, []).append(decode_s)
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

    def _missing(self, number: int) -> Iterator[Cut]:
        """Return the cuts that a round has not measured yet: there and back, so that a slowdown affects all equally."""
        for cut in self.cuts if number % 2 == 0 else reversed(self.cuts):
            if len(self.prefill.get(cut, ())) <= number:
                yield cut

    @property
    def _done(self) -> int:
        return sum(len(repeats) for repeats in self.prefill.values())

    def _time(self, cut: Cut, ids: Tensor, between: Callable[[], None]) -> tuple[float, float]:
        with without_block(self.loaded.decoder, cut) as decoder:
            prefill_s, decode_s, _ = read_and_write(decoder, ids, self.spec.new_tokens, between)
        return prefill_s, decode_s

    def _prompt(self) -> Tensor:
        """Return random tokens: their meaning takes no time."""
        generator = torch.Generator().manual_seed(self.spec.seed)
        shape = (self.spec.batch_size, self.spec.prompt_tokens)
        ids = torch.randint(self.loaded.facts.vocab_size, shape, generator=generator)
        return ids.to(self.loaded.decoder.device)

    def result(self, *, complete: bool) -> SpeedResult:
        """Return the result of the rounds so far."""
        return _result(
            self.spec,
            self.loaded.facts,
            self.loaded.versions(),
            {cut: self.prefill[cut] for cut in self.cuts if cut in self.prefill},
            {cut: self.decode[cut] for cut in self.cuts if cut in self.prefill},
            wall_s=self.wall_s,
            complete=complete,
            rounds=min(len(self.prefill.get(cut, ())) for cut in self.cuts),
            peak_bytes=machine.peak_bytes(self.loaded.spec.device),
        )


def _result(
    spec: SpeedSpec,
    facts: ModelFacts,
    versions: dict[str, str],
    prefill: Mapping[Cut, list[float]],
    decode: Mapping[Cut, list[float]],
    *,
    wall_s: float,
    complete: bool,
    peak_bytes: int,
    rounds: int | None = None,
) -> SpeedResult:
    points = [
        SpeedPoint(
            n=0 if cut is None else cut.size,
            start=None if cut is None else cut.start,
            prefill=timing(prefill[cut]),
            decode=timing(decode[cut]),
            parts=None if cut is None or isinstance(cut, Block) else written(cut),
        )
        for cut in prefill
    ]
    of_layers = [point for point in points if not isinstance(point.block, PartSet)]
    layers_left = [facts.n_layers - point.n for point in of_layers]
    return SpeedResult(
        spec=spec,
        versions=versions,
        wall_s=wall_s,
        n_tokens=spec.batch_size * (spec.prompt_tokens + spec.new_tokens) * sum(map(len, prefill.values())),
        complete=complete,
        model=facts,
        n_layers=facts.n_layers,
        points=points,
        prefill=fit(layers_left, [point.prefill.median_s for point in of_layers], facts.n_layers),
        decode=fit(layers_left, [point.decode.median_s for point in of_layers], facts.n_layers),
        rounds=min(map(len, prefill.values())) if rounds is None else rounds,
        peak_bytes=peak_bytes,
    )
