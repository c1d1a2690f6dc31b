"""The experiment that measures the distances of all pairs of depths in one pass over the model."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from analysis.core import stats, store
from analysis.core.errors import CorpusError, CorruptResultError
from analysis.core.progress import OnProgress, Progress, Stages, ignore
from analysis.core.shards import Shard, Work
from analysis.data import corpora
from analysis.experiments.maps import distances
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec, best_blocks
from analysis.experiments.maps.metrics import METRICS
from analysis.models.loading import load as models
from analysis.models.loading.load import LoadedModel, Loader
from analysis.models.running import hidden_states
from analysis.models.source.resolving import resolve
from analysis.models.source.sizes import ModelFacts

PHASE = "reading the residual stream"
_SAVE_EVERY_S = 20.0
_SAVE_SHARE = 0.05
"""Maximum share of the time spent on saving partial results, whose size grows with the number of
texts."""
_MOST_STATE_BYTES = 2 << 30
"""Maximum bytes of the states in a result; larger ones are dropped, since the map does not need
them."""
_MOST_STREAM_BYTES = 2 << 30
"""Maximum bytes of the residual stream of a batch; larger batches are split."""


def run(
    spec: DistanceSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> DistanceResult:
    """Measure the distance map, or return the stored one; a partial one resumes.

    A run measures all metrics, so the map of another metric is derived from a stored one without
    the model.

    Raises:
        LayerscopeError: for each problem that the user can fix, in one sentence.
    """
    resolved = resolve(spec)
    cached = _cached(resolved, on_progress)
    if isinstance(cached, DistanceResult):
        return cached
    stages = Stages.after_loading(on_progress, {PHASE: 1.0})
    stages(Progress("loading the model", values={"result_key": resolved.fingerprint()}))
    loaded, texts = _ready(resolved, stages, load)
    return _measure(resolved, loaded, texts, cached, stages)


def work(spec: DistanceSpec, facts: ModelFacts) -> float:
    """Return the planned work of a request in FLOPs; 0 if its map is stored."""
    return 0.0 if stored_map(spec) else spec.flop(facts)


def stored_map(spec: DistanceSpec) -> DistanceResult | None:
    """Return the complete map of a request from the cache or of the program; None if there is none.

    Strategies read distances from it, so that they need not compute the map again.
    """
    resolved = resolve(spec)
    cached = _cached(resolved, ignore)
    if isinstance(cached, DistanceResult):
        return cached
    with contextlib.suppress(CorruptResultError):
        committed = store.load_result(DistanceSpec.kind, resolved.fingerprint(), precomputed=True)
        stored = None if committed is None else DistanceResult.read(committed)
        return stored if stored is not None and stored.complete else None
    return None


def _cached(spec: DistanceSpec, on_progress: OnProgress) -> "DistanceResult | _MeasuredTexts":
    """Return the complete map, or the distances measured so far."""
    stored = DistanceResult.load(spec, on_progress)
    if stored is not None and stored.complete:
        return stored
    furthest = _furthest(spec, stored, on_progress)
    measured = _MeasuredTexts() if furthest is None else _MeasuredTexts.of(furthest)
    if furthest is not None and furthest.complete:
        derived = measured.result(
            spec, furthest.model, furthest.n_skipped, furthest.versions, complete=True
        )
        derived.save()
        return derived
    return measured


def _ready(
    spec: DistanceSpec, on_progress: OnProgress, load: Loader
) -> tuple[LoadedModel, corpora.Texts]:
    loaded = load(spec.model, on_progress, by_layer=True)
    texts = corpora.tokenize(spec.corpus, loaded.tokenizer)
    window = loaded.facts.max_positions
    if window is not None and spec.corpus.seq_len > window:
        raise CorpusError(
            f"seq-len {spec.corpus.seq_len} exceeds the context window of {loaded.facts.name}."
            f" Choose at most {window}."
        )
    return loaded, texts


def _furthest(
    spec: DistanceSpec, stored: DistanceResult | None, on_progress: OnProgress
) -> DistanceResult | None:
    """Return the usable stored map with the most texts; None if there is none.

    A complete map is usable if it contains the requested metric, a partial one if it contains all
    metrics.
    """
    other_metrics = [
        DistanceResult.load(replace(spec, metric=name), on_progress)
        for name in METRICS
        if name != spec.metric
    ]

    def is_usable(candidate: DistanceResult) -> bool:
        by_metric = candidate.text_distances or {}
        return (
            spec.metric in by_metric
            if candidate.complete
            else candidate.states is not None and by_metric.keys() >= set(METRICS)
        )

    usable = [
        candidate
        for candidate in (stored, *other_metrics)
        if candidate is not None and is_usable(candidate)
    ]
    return max(usable, key=lambda candidate: (candidate.complete, candidate.n_texts), default=None)


@dataclass
class _MeasuredTexts:
    """Distances of the texts measured so far, by batch and in all metrics."""

    distances: list[dict[str, np.ndarray]] = field(default_factory=list)
    """Distances by batch, as in `DistanceResult.text_distances`."""
    states: list[np.ndarray] = field(default_factory=list)
    """States by batch, as in `DistanceResult.states`; empty if a stored map has dropped them."""
    lengths: list[int] = field(default_factory=list)
    wall_s: float = 0.0

    @classmethod
    def of(cls, stored: DistanceResult) -> "_MeasuredTexts":
        """Return the distances and states in a stored map."""
        stored_distances = [] if stored.text_distances is None else [stored.text_distances]
        states = [] if stored.states is None else [stored.states]
        return cls(stored_distances, states, list(stored.text_lengths), stored.wall_s)

    def add(self, streams: Sequence[Tensor], lengths: Sequence[int]) -> None:
        """Measure one batch of texts, from x[0..L] at its tokens."""
        by_metric = distances.text_distances(streams, lengths)
        self.states.append(hidden_states.last_token_states(streams, lengths).numpy())
        self.distances.append({name: matrices.numpy() for name, matrices in by_metric.items()})
        self.lengths += lengths

    def figures(self) -> dict[str, np.ndarray]:
        """Return the arrays of a single batch, in the format of a shard."""
        (of_metrics,) = self.distances
        (states,) = self.states
        return {
            "states": states,
            "wall_s": np.array([self.wall_s]),
            **{f"of {name}": values for name, values in of_metrics.items()},
        }

    def take(self, figures: Mapping[str, np.ndarray], lengths: Sequence[int]) -> None:
        """Add a batch that was measured as a shard."""
        self.states.append(figures["states"])
        self.distances.append({name: figures[f"of {name}"] for name in METRICS})
        self.lengths += lengths
        self.wall_s += float(figures["wall_s"][0])

    def result(
        self,
        spec: DistanceSpec,
        facts: ModelFacts,
        n_skipped: int,
        versions: dict[str, str],
        *,
        complete: bool,
    ) -> DistanceResult:
        """Return the map in the requested metric, with the means of the other metrics."""
        names = [name for name in METRICS if name in self.distances[0]]
        per_text = {
            name: np.concatenate([batch[name] for batch in self.distances]) for name in names
        }
        means = {
            name: distances.rows_by_size(torch.from_numpy(array.mean(0)))
            for name, array in per_text.items()
        }
        chosen = per_text[spec.metric]
        spread = chosen.std(0, ddof=1) if len(chosen) > 1 else np.zeros_like(chosen[0])
        by_size = [
            np.diagonal(chosen, offset=n, axis1=1, axis2=2) for n in range(1, chosen.shape[1])
        ]
        mean = means.pop(spec.metric)

        def is_kept(*arrays: np.ndarray) -> bool:
            return not complete or sum(array.nbytes for array in arrays) <= _MOST_STATE_BYTES

        states = np.concatenate(self.states) if self.states else None

        return DistanceResult(
            spec=spec,
            versions=versions,
            wall_s=self.wall_s,
            n_tokens=sum(self.lengths),
            complete=complete,
            model=facts,
            n_layers=facts.n_layers,
            mean=mean,
            stderr=distances.rows_by_size(torch.from_numpy(spread / np.sqrt(len(chosen)))),
            best=best_blocks(mean),
            n_texts=len(chosen),
            n_skipped=n_skipped,
            text_lengths=self.lengths,
            states=states if states is not None and is_kept(states) else None,
            wins=stats.bootstrap_wins(by_size),
            others=means,
            text_distances=per_text if is_kept(*per_text.values()) else None,
        )


def _missing_shards(
    spec: DistanceSpec, loaded: LoadedModel, texts: corpora.Texts, done: int
) -> list[Shard]:
    """Return the batches after the first `done` texts. Every run has the same batches, so a stored
    part ends with one.
    """
    corpus = replace(
        spec.corpus, n_texts=1
    )  # a smaller number of texts is a prefix of a larger one
    shared = {
        "model": spec.model.to_json(),
        "corpus": corpus.to_json(),
        "metrics": sorted(METRICS),
        "version": spec.version,
    }
    first = 0
    batches_left = []
    for group in hidden_states.batches(
        [len(ids) for ids in texts.token_ids], _tokens_per_batch(loaded)
    ):
        first += len(group)
        if first > done:
            batches_left.append(Shard("distances", {**shared, "texts": group}, size=len(group)))
    return batches_left


def _token_ids(shard: Shard, texts: corpora.Texts) -> list[list[int]]:
    return [texts.token_ids[index] for index in shard.content["texts"]]


def _measure(
    spec: DistanceSpec,
    loaded: LoadedModel,
    texts: corpora.Texts,
    measured: _MeasuredTexts,
    on_progress: OnProgress,
) -> DistanceResult:
    total = len(texts.token_ids)
    done = len(measured.lengths)
    saved = time.perf_counter()
    pause = _SAVE_EVERY_S

    def result(complete: bool) -> DistanceResult:
        return measured.result(
            spec, loaded.facts, texts.n_skipped, loaded.versions(), complete=complete
        )

    on_progress(Progress(PHASE, done, total))
    shards = _missing_shards(spec, loaded, texts, done)
    stored = [shard.figures() for shard in shards]
    unread = [
        _token_ids(shard, texts)
        for shard, figures in zip(shards, stored, strict=True)
        if figures is None
    ]
    n_unread = sum(map(len, unread))

    def passed(steps: int, n_steps: int) -> None:
        on_progress(Progress(PHASE, total - n_unread + n_unread * steps // n_steps, total))

    try:
        started = time.perf_counter()
        streams = hidden_states.all_token_streams(loaded.decoder, unread, passed)
        for shard, figures in zip(shards, stored, strict=True):
            lengths = [len(ids) for ids in _token_ids(shard, texts)]
            if figures is not None:
                measured.take(figures, lengths)
                continue
            measured.add(next(streams), lengths)
            measured.wall_s += time.perf_counter() - started
            started = time.perf_counter()
            on_progress(
                Progress(PHASE, total if loaded.decoder.on_disk else len(measured.lengths), total)
            )
            now = time.perf_counter()
            if now - saved > pause:
                result(complete=False).save()
                saved = time.perf_counter()
                pause = max(_SAVE_EVERY_S, (saved - now) / _SAVE_SHARE)
        next(streams, None)  # the reader releases its files at its end
    except BaseException:
        if measured.lengths:
            result(complete=False).save()
        raise
    finished = result(complete=True)
    finished.save()
    return finished


def _tokens_per_batch(loaded: LoadedModel) -> int:
    per_token = 4 * (loaded.facts.n_layers + 1) * loaded.facts.hidden_size
    return min(
        hidden_states.tokens_per_batch(loaded.decoder.device),
        max(1, _MOST_STREAM_BYTES // per_token),
    )


class DistanceShards(Work):
    """Shards of a distance map, one per batch of texts."""

    resolve = staticmethod(resolve)

    def __init__(self, spec: DistanceSpec, on_progress: OnProgress, *, load: Loader) -> None:
        """Load the model and tokenize the texts of a resolved request."""
        self._loaded, self.texts = _ready(spec, on_progress, load)
        self.reads_disk = self._loaded.decoder.on_disk is not None
        furthest = _furthest(spec, DistanceResult.load(spec), on_progress)
        n_measured = 0 if furthest is None else furthest.n_texts
        self._left = _missing_shards(spec, self._loaded, self.texts, n_measured)

    def missing(self) -> list[Shard]:
        """Return the unmeasured batches."""
        return [shard for shard in self._left if not shard.is_stored()]

    def measure(self, shards: Sequence[Shard], on_progress: OnProgress) -> None:
        """Measure batches and store each."""
        total = len(shards)
        groups = [_token_ids(shard, self.texts) for shard in shards]
        started = time.perf_counter()
        streams = hidden_states.all_token_streams(
            self._loaded.decoder, groups, lambda *_: on_progress(Progress(PHASE, 0, total))
        )
        for done, (shard, group) in enumerate(zip(shards, groups, strict=True), start=1):
            measured = _MeasuredTexts()
            measured.add(next(streams), [len(ids) for ids in group])
            measured.wall_s = time.perf_counter() - started
            shard.keep(measured.figures())
            started = time.perf_counter()
            on_progress(Progress(PHASE, done, total))
        next(streams, None)  # the reader releases its files at its end
