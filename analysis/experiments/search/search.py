"""The experiment that runs a search strategy, whose measurements of sets of layers are stored."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.core import stats
from analysis.core.bounds import MOST_WHOLE
from analysis.core.errors import BlockRangeError, SpecError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, Stages, ignore
from analysis.data import corpora
from analysis.data.decontamination import refuse_shared
from analysis.data.spec import CorpusSpec
from analysis.experiments.search.objective import Objective, counted, looks
from analysis.experiments.search.search_spec import (
    STREAM_BYTES,
    Searched,
    SearchResult,
    SearchSpec,
    checked_size,
    takes,
)
from analysis.experiments.strategies import STRATEGIES, Layers
from analysis.models.loading import load as models
from analysis.models.loading.load import LoadedModel, Loader
from analysis.models.source.resolving import resolve
from analysis.models.source.sizes import ModelFacts

_SAVE_EVERY_S = 3.0
"""Seconds between two stored states, which pages draw."""
PHASE = "searching layers"
SEARCH = "search"
VALIDATION = "validation"
REPORT = "report"


class _Spent(Exception):
    """The budget is too small for the next sets of the search."""


def run(
    spec: SearchSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> SearchResult:
    """Search, or return the stored result; no set is measured twice on the same text.

    A search is a deterministic function of its measurements, so a stopped run repeats its steps
    from stored values and ends like an uninterrupted one. Values of other searches of this model on
    the same texts are reused too.

    Raises:
        BlockRangeError: If protected layers or the largest size leave too few layers.
        CorpusError: If a text is too short, or one of the three repeats another.
        SpecError: If the budget ends before a single layer is chosen.
        LayerscopeError: For each other problem that the user can fix, in one sentence.
    """
    resolved = resolve(spec)
    stored = SearchResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        return stored
    # With layers on the disk, every step of a search would read the full model again.
    stages = Stages.after_loading(on_progress, {PHASE: 1.0})
    loaded = load(resolved.model, stages)
    searching = _SearchRun.of(resolved, loaded, stages)
    if stored is not None:
        searching.wall_s = stored.wall_s
        searching.n_measured = stored.n_measured
    for earlier in SearchResult.all_of(resolved.model):
        searching.take_over(earlier)
    return searching.run()


def work(spec: SearchSpec, facts: ModelFacts) -> float:
    """Return the planned work of a resolved request in FLOPs; 0 if its result is stored."""
    stored = SearchResult.load(spec)
    is_done = stored is not None and stored.complete
    return 0.0 if is_done else takes(spec, facts).flop


def documents(corpus: CorpusSpec, loaded: LoadedModel) -> tuple[list[list[int]], list[str]]:
    """Return the token ids of a request's text for a model, and the documents.

    Raises:
        CorpusError: If they cannot be read or are too short.
    """
    ids = corpora.tokenize(corpus.fitting(loaded.facts.max_positions), loaded.tokenizer).token_ids
    return ids, [loaded.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in ids]


@dataclass
class _SearchText:
    """One of the three texts, with the values of the measured sets."""

    corpus: CorpusSpec
    make: Callable[[], Objective]
    ends: tuple[int, ...]
    """Numbers of texts of the stages of measurement, ascending."""
    figures: dict[Layers, np.ndarray] = field(default_factory=dict)
    """Values of each set, (n_texts,), NaN for texts that are not measured."""
    made: Objective | None = None

    @property
    def n_texts(self) -> int:
        """Number of texts."""
        return self.ends[-1]

    @property
    def objective(self) -> Objective:
        """Objective on the texts, created on first use, since a search from stored values does not
        need the model.
        """
        if self.made is None:
            self.made = self.make()
        return self.made

    def lacks(self, layers: Layers, n: int) -> bool:
        """Return whether a set is not measured on some of the first `n` texts."""
        return layers not in self.figures or bool(np.isnan(self.figures[layers][:n]).any())


@dataclass
class _SearchRun:
    """A running search, which measures sets or returns known values (`strategies.Explored`)."""

    spec: SearchSpec
    loaded: LoadedModel
    on_progress: OnProgress
    texts: dict[str, _SearchText]
    weights: dict[str, np.ndarray]
    """Numbers of positions that count, by text."""
    quoted: float
    max_n: int
    free: tuple[int, ...]
    decided: list[Searched] = field(default_factory=list)
    visited: set[Layers] = field(default_factory=set)
    n_measured: int = 0
    wall_s: float = 0.0
    ended: str = ""
    key: str = ""
    planned: int = 0
    """Expected number of measured sets, for the progress."""
    _saved: float = field(default_factory=time.perf_counter)
    _began: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, spec: SearchSpec, loaded: LoadedModel, on_progress: OnProgress) -> "_SearchRun":
        """Read the texts of a resolved request, and refuse texts that repeat one another."""
        max_n, free = checked_size(spec, loaded.decoder.n_layers)
        on_progress(Progress("reading texts", values={"result_key": spec.fingerprint()}))
        ids = {}
        decoded = {}
        texts = {}
        for name, corpus in (
            (SEARCH, spec.corpus),
            (VALIDATION, spec.validation),
            (REPORT, spec.report),
        ):
            ids[name], decoded[name] = documents(corpus, loaded)
            kind, stride = ("loss", 1) if name == REPORT else (spec.objective, spec.stride)
            ends = looks(len(ids[name]), spec.first) if name == SEARCH else (len(ids[name]),)

            def make(
                name: str = name,
                kind: str = kind,
                stride: int = stride,
                ends: tuple[int, ...] = ends,
            ) -> Objective:
                keep = STREAM_BYTES if name == SEARCH else STREAM_BYTES // 2
                return Objective(
                    loaded.decoder, ids[name], kind=kind, stride=stride, ends=ends, keep_bytes=keep
                )

            texts[name] = _SearchText(corpus, make, ends)
        title = {name: corpora.title(text.corpus) for name, text in texts.items()}
        searched = f"search text ({title[SEARCH]})"
        decides = f"decision text ({title[VALIDATION]})"
        reports = f"report text ({title[REPORT]})"
        quoted = max(
            refuse_shared(
                decoded[SEARCH], decoded[VALIDATION], measured_title=decides, earlier_title=searched
            ),
            refuse_shared(
                decoded[SEARCH] + decoded[VALIDATION],
                decoded[REPORT],
                measured_title=reports,
                earlier_title=f"{searched} or the {decides}",
            ),
        )
        strides = {name: 1 if name == REPORT else spec.stride for name in ids}
        weights = {
            name: np.array(
                [len(counted(len(tokens), strides[name])) for tokens in ids[name]], dtype=float
            )
            for name in ids
        }
        cost = takes(spec, loaded.facts)
        on_progress(Progress("reading texts", message=cost.sentence))
        planned = cost.usual
        return cls(
            spec,
            loaded,
            on_progress,
            texts,
            weights,
            quoted,
            max_n,
            free,
            key=spec.fingerprint(),
            planned=planned,
        )

    # The protocol `strategies.Explored`.

    @property
    def n_layers(self) -> int:
        """Number of decoder layers, L."""
        return self.loaded.decoder.n_layers

    @property
    def budget(self) -> int:
        """Maximum number of sets to measure."""
        return self.spec.budget

    @property
    def seed(self) -> int:
        """Seed of strategies that draw."""
        return self.spec.seed

    def first(self, sets: Sequence[Layers]) -> list[float]:
        """See `strategies.Explored`."""
        return self._costs(sets, self.texts[SEARCH].ends[0])

    def half(self, sets: Sequence[Layers]) -> list[float]:
        """See `strategies.Explored`."""
        return self._costs(sets, self.texts[SEARCH].ends[1])

    def whole(self, sets: Sequence[Layers]) -> list[float]:
        """See `strategies.Explored`."""
        return self._costs(sets, self.texts[SEARCH].n_texts)

    def _costs(self, sets: Sequence[Layers], n_texts: int) -> list[float]:
        requested = self.visited | (set(sets) - {()})  # the empty set is the unpruned model
        if len(requested) > self.budget:
            raise _Spent
        self.visited = requested
        return self._means(SEARCH, sets, n_texts)

    # Measurement.

    def run(self) -> SearchResult:
        """Run the strategy; store the result every few seconds and at the end."""
        search = STRATEGIES[self.spec.strategy].search
        assert search is not None, "the request was checked"
        try:
            self._tell()
            try:
                for n, rivals in enumerate(search.walk(self), start=1):
                    self.decided.append(self._decided(n, rivals))
            except _Spent:
                self.ended = (
                    f"The budget of {self.budget:,} sets ended the search at n ="
                    f" {len(self.decided)}. A larger budget continues from there."
                )
        except BaseException:
            self.result(complete=False).save()
            raise
        if not self.decided and not self.ended:
            raise BlockRangeError(
                f"{self.spec.strategy} finds no layer to remove. Protect fewer layers, or choose"
                " another strategy."
            )
        if not self.decided:
            unbounded = takes(replace(self.spec, budget=MOST_WHOLE), self.loaded.facts).sets
            raise SpecError(
                f"The budget of {self.budget:,} sets is too small: the first layer alone takes"
                f" {len(self.free)}. Raise the budget. A full search takes at most {unbounded:,}"
                " sets."
            )
        if not self.ended and len(self.decided) < self.max_n:
            self.ended = f"No removable layer is left after n = {len(self.decided)}."
        finished = self.result(complete=True)
        finished.save()
        return finished

    def _decided(self, n: int, rivals: Sequence[Layers]) -> Searched:
        """Return the best of the final sets, by the validation text if there are several."""
        distinct = list(dict.fromkeys(rivals))
        value = None
        layers = distinct[0]
        if len(distinct) > 1:
            validated = self._means(VALIDATION, distinct, self.texts[VALIDATION].n_texts)
            value, layers = min(zip(validated, distinct, strict=True))
        [cost] = self._means(SEARCH, [layers], self.texts[SEARCH].n_texts)
        self._measure(REPORT, [(), layers], self.texts[REPORT].n_texts)
        raised = self.texts[REPORT].figures[layers] - self.texts[REPORT].figures[()]
        loss, error = stats.weighted_mean_and_stderr(raised.tolist(), self.weights[REPORT].tolist())
        if self.spec.objective == "loss":
            cost -= self._means(SEARCH, [()], self.texts[SEARCH].n_texts)[0]
            if value is not None:
                value -= self._means(VALIDATION, [()], self.texts[VALIDATION].n_texts)[0]
        return Searched(
            n, list(layers), cost, value, loss, error if len(raised) > 1 else None, len(distinct)
        )

    def _means(self, name: str, sets: Sequence[Layers], n: int) -> list[float]:
        self._measure(name, sets, n)
        figures = self.texts[name].figures
        weights = self.weights[name][:n]
        return [float(np.average(figures[layers][:n], weights=weights)) for layers in sets]

    def _measure(self, name: str, sets: Sequence[Layers], n: int) -> None:
        """Measure sets on those of the first `n` texts that lack a value."""
        text = self.texts[name]
        missing = [layers for layers in dict.fromkeys(sets) if text.lacks(layers, n)]
        if not missing:
            return
        unmeasured = np.full(text.n_texts, np.nan)
        measured = {layers: text.figures.get(layers, unmeasured).copy() for layers in missing}
        for begin, end in itertools.pairwise((0, *(end for end in text.ends if end <= n))):
            layer_sets = [
                layers for layers in missing if np.isnan(measured[layers][begin:end]).any()
            ]
            for index, texts, values in (
                text.objective.measured(layer_sets, begin, end) if layer_sets else ()
            ):
                measured[layer_sets[index]][texts] = self._finite(layer_sets[index], values)
                self._tell()
        if name == SEARCH:
            self.n_measured += sum(
                layers in self.visited and layers not in text.figures for layers in missing
            )
        text.figures |= measured
        if time.perf_counter() - self._saved > _SAVE_EVERY_S:
            self.result(complete=False).save()
            self._saved = time.perf_counter()

    def _finite(self, layers: Layers, values: list[float]) -> list[float]:
        """Return values with infinity for NaN; raise if they belong to the unpruned model."""
        if np.isfinite(values).all():
            return values
        if not layers:
            raise UnsupportedModelError(
                f"The predictions of {self.loaded.facts.name} are not finite in"
                f" {self.loaded.spec.dtype}, so nothing can be compared with them. Choose another"
                " dtype, such as float32."
            )
        return [float("inf")] * len(values)

    def take_over(self, earlier: SearchResult) -> None:
        """Copy the values that another search measured on the same texts."""
        if earlier.sets is None or earlier.values is None:
            return
        masks = [tuple(map(int, np.flatnonzero(row))) for row in earlier.sets]
        same = {
            SEARCH: self.spec.like(earlier.spec),
            VALIDATION: (
                self.spec.validation == earlier.spec.validation
                and (self.spec.objective, self.spec.stride)
                == (earlier.spec.objective, earlier.spec.stride)
            ),
            REPORT: self.spec.report == earlier.spec.report,
        }
        for name, text in self.texts.items():
            values = earlier.values.get(name)
            if not same[name] or values is None or values.shape[1] != text.n_texts:
                continue
            for layers, row in zip(masks, values, strict=True):
                if not np.isnan(row).all() and text.lacks(layers, text.n_texts):
                    text.figures[layers] = np.where(
                        np.isnan(row), text.figures.get(layers, row), row
                    )

    def _tell(self) -> None:
        values = {"result_key": self.key, "n": len(self.decided)}
        if self.planned:
            self.on_progress(
                Progress(
                    PHASE, len(self.visited), max(self.planned, len(self.visited)), values=values
                )
            )
        else:
            self.on_progress(Progress(PHASE, len(self.decided), self.max_n, values=values))

    def result(self, *, complete: bool) -> SearchResult:
        """Return the result so far."""
        report = self.texts[REPORT]
        sets = sorted(
            {layers for text in self.texts.values() for layers in text.figures},
            key=lambda layers: (len(layers), layers),
        )
        masks = np.zeros((len(sets), self.n_layers), dtype=np.uint8)
        for row, layers in enumerate(sets):
            masks[row, list(layers)] = 1
        values = {}
        for name, text in self.texts.items():
            unmeasured = np.full(text.n_texts, np.nan)
            values[name] = np.array(
                [text.figures.get(layers, unmeasured) for layers in sets]
            ).reshape(len(sets), text.n_texts)
        base = report.figures.get(())
        return SearchResult(
            spec=self.spec,
            versions=self.loaded.versions(),
            wall_s=self.wall_s + time.perf_counter() - self._began,
            n_tokens=self.spec.corpus.seq_len * self.texts[SEARCH].n_texts,
            complete=complete,
            model=self.loaded.facts,
            n_layers=self.n_layers,
            max_n=self.max_n,
            found=list(self.decided),
            n_sets=len(self.visited),
            n_measured=self.n_measured,
            n_texts=self.texts[SEARCH].n_texts,
            n_validation=self.texts[VALIDATION].n_texts,
            n_report=report.n_texts,
            unpruned_loss=(
                0.0 if base is None else float(np.average(base, weights=self.weights[REPORT]))
            ),
            quoted=self.quoted,
            ended=self.ended,
            sets=masks,
            values=values,
        )
