"""The experiment that measures the loss without each block up to a size."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

import numpy as np
import torch

from analysis.core import stats
from analysis.core.blocks import Block, blocks_up_to
from analysis.core.errors import UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, Stages, ignore
from analysis.core.record import Spec
from analysis.core.shards import Shard, Work
from analysis.data import corpora
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.damage_spec import DamageResult, DamageSpec, LeastDamage, resolve
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.scoring import likelihood
from analysis.models.loading import load as models
from analysis.models.loading.load import LoadedModel, Loader
from analysis.models.running.hidden_states import (
    Trunk,
    finals,
    right_padded,
    run_tails,
    run_trunk,
    tail_depths,
)
from analysis.models.running.layer_streaming import Inputs, OnStep
from analysis.models.source.sizes import ModelFacts

Cut = Block | None
"""The removed block; None is the unpruned model."""
_Batch = tuple[list[int], list[Cut]]
"""Texts that go through the model together, and the cuts that they are measured with."""

PHASE = "measuring the loss without each block"
CUTS_PER_SHARD = 64
"""Number of cuts per shard; each shard runs the unpruned model once."""
_SAVE_EVERY_S = 3.0
"""Seconds between two stored states, which pages draw."""
_TRUNK_BYTES = 1 << 30
"""Maximum bytes of kept depths of a batch; the trunk is run again for depths beyond it."""


def run(
    spec: DamageSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> DamageResult:
    """Measure the loss without every block, or return the stored result; no block is measured twice
    on the same text.

    A stopped run resumes. Losses of a run with another largest size, number of texts or map are
    reused, so asking for more refines the result. The distance map of `spec.distances` is the
    stored one, or is computed first.

    Raises:
        BlockRangeError: If the largest size leaves no layer, or the model has none to spare.
        LayerscopeError: For each other problem that the user can fix, in one sentence.
    """
    resolved = resolve(spec)
    stored = DamageResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        return stored
    stages = Stages.after_loading(on_progress)
    return _ready(resolved, stored, stages, load).measure(stages)


def work(spec: DamageSpec, facts: ModelFacts) -> float:
    """Return the planned work of a request without its map in FLOPs; 0 if its result is stored."""
    stored = DamageResult.load(spec)
    return 0.0 if stored is not None and stored.complete else spec.flop(facts)


def _ready(
    spec: DamageSpec, stored: DamageResult | None, stages: Stages, load: Loader
) -> "_MeasuredLosses":
    """Return the measurement of a resolved request with its known losses."""
    loaded = load(spec.model, stages, by_layer=True)
    n_layers = loaded.decoder.n_layers
    stages.plan(
        {
            distance_map.PHASE: distance_map.work(spec.distances, loaded.facts),
            PHASE: work(spec, loaded.facts),
        }
    )
    spec.check_depth(n_layers)
    distances = distance_map.stored_map(spec.distances) or distance_map.run(
        spec.distances, stages, load=models.ReadyModel(loaded)
    )
    stages(Progress("reading texts", values={"result_key": spec.fingerprint()}))
    texts = corpora.tokenize(
        spec.corpus.fitting(loaded.facts.max_positions), loaded.tokenizer
    ).token_ids
    measured = _MeasuredLosses(
        spec, loaded, distances, texts, blocks_up_to(spec.max_size or n_layers // 2, n_layers)
    )
    for earlier in [stored] if stored is not None else _others_of_these_texts(spec):
        measured.take_over(earlier)
    return measured


def _others_of_these_texts(spec: DamageSpec) -> list[DamageResult]:
    """Return stored results that differ from this request only in sizes, number of texts and
    map.
    """

    def matches(other: DamageSpec) -> bool:
        corpus = replace(other.corpus, n_texts=spec.corpus.n_texts)
        return (
            replace(other, corpus=corpus, distances=spec.distances, max_size=spec.max_size) == spec
        )

    return [result for result in DamageResult.all_of(spec.model) if matches(result.spec)]


def _split(cuts: list[Cut]) -> list[list[Cut]]:
    """Return the cuts of a batch in parts of `CUTS_PER_SHARD`, for several processes."""
    return [cuts[first : first + CUTS_PER_SHARD] for first in range(0, len(cuts), CUTS_PER_SHARD)]


def _rounds(cuts: Sequence[Cut]) -> list[list[Cut]]:
    """Return cuts in the order of measuring: the unpruned model, sizes 1, 2, 4, 8, …, then all
    others.

    So an outline of the map is available early.
    """
    rounds: dict[int, list[Cut]] = {}
    for cut in cuts:
        size = 0 if cut is None else cut.size
        is_coarse = size & (size - 1) == 0
        rounds.setdefault(size if is_coarse else -1, []).append(cut)
    others = rounds.pop(-1, [])
    return [*(rounds[size] for size in sorted(rounds)), others]


def _parts(cuts: Sequence[Cut], n_layers: int, at_once: int) -> Iterator[list[Cut]]:
    """Return the rounds split into cuts whose tails begin at no more than `at_once` depths."""
    for cuts_of_round in _rounds(cuts):
        depths = sorted(tail_depths(cuts_of_round, n_layers))
        for begin in range(0, len(depths), at_once):
            chosen = set(depths[begin : begin + at_once])
            yield [cut for cut in cuts_of_round if tail_depths([cut], n_layers) <= chosen]


def _work(cost: likelihood.PassCost, cut: Cut, depth: int) -> int:
    """Return the cost of a batch without one block, on top of the unpruned model that all its cuts
    share.
    """
    return cost.head + cost.layer * (0 if cut is None else depth - cut.stop)


@dataclass
class _MeasuredLosses:
    """The losses measured so far."""

    spec: DamageSpec
    loaded: LoadedModel
    distances: DistanceResult
    texts: list[list[int]]
    blocks: list[Block]
    losses: np.ndarray = field(init=False)
    """Losses as in `DamageResult.text_losses`; infinite if the loss of a pruned model is not
    finite."""
    row: dict[Cut, int] = field(init=False)
    """Index of each removal in `losses`."""
    wall_s: float = 0.0

    def __post_init__(self) -> None:
        cuts: list[Cut] = [None, *self.blocks]
        self.row = {cut: index for index, cut in enumerate(cuts)}
        # Rounded as they will be stored, so that a resumed run gives equal numbers.
        self.losses = np.full((len(cuts), len(self.texts)), np.nan, dtype=np.float32)

    def take_over(self, earlier: DamageResult) -> None:
        """Keep the losses that another run measured without these blocks on these texts."""
        if earlier.text_losses is None:
            return
        n_texts = min(len(self.texts), earlier.text_losses.shape[1])
        their_cuts: list[Cut] = [None, *blocks_up_to(len(earlier.increase), earlier.n_layers)]
        before = np.isnan(self.losses).sum()
        for cut, losses in zip(their_cuts, earlier.text_losses, strict=True):
            if cut in self.row:
                own_losses = self.losses[self.row[cut], :n_texts]
                np.copyto(own_losses, losses[:n_texts], where=np.isnan(own_losses))
        if np.isnan(self.losses).sum() < before:
            self.wall_s += earlier.wall_s

    def measure(self, on_progress: OnProgress) -> DamageResult:
        """Measure missing losses; store the result every few seconds, and at the end in any case.

        Raises:
            UnsupportedModelError: If the loss of the unpruned model is no finite number.
        """
        batches = self._not_yet(list(self._batches()))
        depth = self.loaded.decoder.n_layers
        costs = [self._cost(texts) for texts, _ in batches]
        work = [
            _work(cost, cut, depth)
            for cost, (_, missing) in zip(costs, batches, strict=True)
            for cut in missing
        ]
        total = sum(work) + sum(cost.layer * depth for cost in costs)
        values = {"result_key": self.spec.fingerprint()}
        on_progress(Progress(PHASE, 0, total, values=values))
        done = 0
        before = self.wall_s
        started = time.perf_counter()
        saved = started
        cuts_begun = set[int]()
        try:
            for number, cut, losses in self.of_all(
                batches,
                lambda steps, n_steps: on_progress(
                    Progress(PHASE, total * steps // n_steps, total)
                ),
            ):
                self._keep(cut, batches[number][0], losses)
                done += (
                    _work(costs[number], cut, depth)
                    + (number not in cuts_begun) * costs[number].layer * depth
                )
                cuts_begun.add(number)
                now = time.perf_counter()
                self.wall_s = before + now - started
                if now - saved > _SAVE_EVERY_S:
                    self.result(complete=False).save()
                    saved = time.perf_counter()
                if self.loaded.decoder.on_disk is None:
                    on_progress(Progress(PHASE, done, total, values=values))
        except BaseException:
            self.result(complete=False).save()
            raise
        finished = self.result(complete=True)
        finished.save()
        return finished

    def _cost(self, texts: Sequence[int]) -> likelihood.PassCost:
        lengths = [len(self.texts[text]) for text in texts]
        return likelihood.cost_of(self.loaded.decoder, lengths, sum(lengths) - len(lengths))

    def _not_yet(self, batches: list[_Batch]) -> list[_Batch]:
        """Keep losses that were measured as shards, and return the batches that are left, each with
        its missing cuts.
        """
        missing = []
        for texts, cuts in batches:
            unknown: list[Cut] = []
            for part in _split(cuts):
                figures = self.shard(texts, part).figures()
                if figures is None:
                    unknown += part
                    continue
                for cut, losses in zip(part, figures["losses"].tolist(), strict=True):
                    self._keep(cut, texts, losses)
                self.wall_s += float(figures["wall_s"][0])
            if unknown:
                missing.append((texts, unknown))
        return missing

    def shard(self, texts: list[int], cuts: Sequence[Cut]) -> Shard:
        """Return the request for a batch of texts without each of some blocks, as a shard."""
        content = {
            "model": self.spec.model.to_json(),
            "corpus": (
                replace(self.spec.corpus, n_texts=1).to_json()
            ),  # a smaller number of texts is a prefix of a larger one
            "texts": texts,
            "cuts": [None if cut is None else [cut.start, cut.size] for cut in cuts],
            "version": self.spec.version,
        }
        return Shard("damage", content, size=len(texts) * len(cuts))

    def shards(self) -> list[Shard]:
        """Return unmeasured batches, each with some of its cuts."""
        shards = [
            self.shard(texts, part) for texts, cuts in self._batches() for part in _split(cuts)
        ]
        return [shard for shard in shards if not shard.is_stored()]

    def _keep(self, cut: Cut, texts: list[int], losses: list[float]) -> None:
        if cut is None and not all(map(isfinite, losses)):
            raise UnsupportedModelError(
                f"The loss of {self.loaded.facts.name} is not finite in {self.loaded.spec.dtype},"
                " so nothing can be compared with it. Choose another dtype, such as float32."
            )
        self.losses[self.row[cut], texts] = [loss if isfinite(loss) else np.inf for loss in losses]

    def _batches(self) -> Iterator[_Batch]:
        """Yield groups of texts that go through the model together, each with the cuts that are
        missing for all of it.

        Texts that miss the same cuts are batched together, those that miss fewest first. So a run
        that was stopped in the middle of a batch finds the same batches again.
        """
        missing = np.isnan(self.losses)
        same_cuts: dict[bytes, list[int]] = {}
        for text in range(len(self.texts)):
            same_cuts.setdefault(missing[:, text].tobytes(), []).append(text)
        for texts in sorted(same_cuts.values(), key=lambda texts: int(missing[:, texts[0]].sum())):
            cuts = [cut for cut, row in self.row.items() if missing[row, texts[0]]]
            if cuts:
                for group in likelihood.text_batches(
                    self.loaded.decoder, [self.texts[text] for text in texts]
                ):
                    yield [texts[index] for index in group], cuts

    @torch.inference_mode()
    def of_all(
        self, batches: Sequence[_Batch], on_step: OnStep
    ) -> Iterator[tuple[int, Cut, list[float]]]:
        """Yield batch number, cut and losses; a model on the disk is read once for all batches."""
        decoder = self.loaded.decoder
        if decoder.on_disk is None:
            for number, (texts, missing) in enumerate(batches):
                for cut, losses in self._losses(texts, missing):
                    yield number, cut, losses
            return
        sequences = [[self.texts[text] for text in texts] for texts, _ in batches]
        inputs = [
            Inputs(right_padded(of_batch), missing)
            for of_batch, (_, missing) in zip(sequences, batches, strict=True)
        ]
        for number, index, stream in finals(decoder, inputs, on_step):
            yield (
                number,
                batches[number][1][index],
                likelihood.batch_losses(decoder, stream, sequences[number]),
            )

    @torch.inference_mode()
    def _losses(self, texts: list[int], cuts: Sequence[Cut]) -> Iterator[tuple[Cut, list[float]]]:
        """Yield each cut with its mean cross-entropy per text, from one trunk as far as memory
        allows.
        """
        decoder = self.loaded.decoder
        sequences = [self.texts[text] for text in texts]
        input_ids = right_padded(sequences)
        at_once = max(1, _TRUNK_BYTES // (4 * input_ids.numel() * decoder.config.hidden_size))
        all_depths = tail_depths(cuts, decoder.n_layers)
        trunk = Trunk({}, [])
        for part in _parts(cuts, decoder.n_layers, at_once):
            needed = tail_depths(part, decoder.n_layers)
            if not needed <= trunk.states.keys():
                trunk = Trunk({}, [])  # frees the depths before new ones are kept
                trunk = run_trunk(
                    decoder, input_ids, keep=all_depths if len(all_depths) <= at_once else needed
                )
            for index, stream in run_tails(decoder, trunk, part):
                yield part[index], likelihood.batch_losses(decoder, stream, sequences)

    def result(self, *, complete: bool) -> DamageResult:
        """Return the result so far."""
        losses = self.losses.astype(np.float64)
        measured = ~np.isnan(losses)
        tokens = np.array([len(ids) - 1 for ids in self.texts])
        per_cut = [
            ((losses[row] - losses[0])[measured[row]], tokens[measured[row]])
            for row in range(1, len(losses))
        ]
        n_layers = self.loaded.decoder.n_layers
        max_size = self.blocks[-1].size
        increase: list[list[float | None]] = [[] for _ in range(max_size)]
        stderr: list[list[float | None]] = [[] for _ in range(max_size)]
        n_measured: list[list[int]] = [[] for _ in range(max_size)]
        for block, (values, weights) in zip(self.blocks, per_cut, strict=True):
            row = block.size - 1
            n_measured[row].append(len(values))
            is_known = len(values) and np.isfinite(values).all()
            mean, error = (
                stats.weighted_mean_and_stderr(values.tolist(), weights.tolist())
                if is_known
                else (None, None)
            )
            increase[row].append(mean)
            stderr[row].append(error if len(values) > 1 else None)
        unpruned = losses[0][measured[0]]
        predicted = self.distances.mean if isinstance(self.distances, DistanceResult) else []
        pairs = [
            _pairs(distances, increases)
            for distances, increases in zip(predicted, increase, strict=False)
        ]
        return DamageResult(
            spec=self.spec,
            versions=self.loaded.versions(),
            wall_s=self.wall_s,
            n_tokens=sum(len(ids) for ids in self.texts),
            complete=complete,
            model=self.loaded.facts,
            n_layers=n_layers,
            unpruned_loss=(
                float(np.average(unpruned, weights=tokens[measured[0]])) if len(unpruned) else 0.0
            ),
            increase=increase,
            stderr=stderr,
            n_measured=n_measured,
            best=_least(increase, n_measured),
            n_texts=len(self.texts),
            rank_correlation=_rank_correlation([pair for row in pairs for pair in row]),
            rank_correlation_by_size=[_rank_correlation(row) for row in pairs],
            text_tokens=tokens.tolist(),
            text_losses=self.losses,
        )


class DamageShards(Work):
    """Shards of a damage map, each a batch of texts with some of its missing cuts."""

    resolve = staticmethod(resolve)

    def __init__(self, spec: DamageSpec, on_progress: OnProgress, *, load: Loader) -> None:
        """Load the model and tokenize the texts of a resolved request."""
        self._measured = _ready(
            spec, DamageResult.load(spec), Stages.after_loading(on_progress), load
        )
        self.reads_disk = self._measured.loaded.decoder.on_disk is not None

    @staticmethod
    def before(spec: DamageSpec) -> list[Spec]:
        """Return the request for the distance map."""
        return [spec.distances]

    def missing(self) -> list[Shard]:
        """Return unmeasured batches, each with some of its cuts."""
        return self._measured.shards()

    def measure(self, shards: Sequence[Shard], on_progress: OnProgress) -> None:
        """Measure batches and store each."""
        total = sum(len(missing.content["cuts"]) for missing in shards)
        batches = [
            (
                shard.content["texts"],
                [None if cut is None else Block(*cut) for cut in shard.content["cuts"]],
            )
            for shard in shards
        ]
        measured: list[dict[Cut, list[float]]] = [{} for _ in batches]
        started = time.perf_counter()

        def passed(steps: int, n_steps: int) -> None:
            on_progress(Progress(PHASE, total * steps // n_steps, total))

        for done, (number, cut, losses) in enumerate(
            self._measured.of_all(batches, passed), start=1
        ):
            measured[number][cut] = losses
            on_progress(Progress(PHASE, done, total))
            cuts = batches[number][1]
            if len(measured[number]) == len(cuts):
                now = time.perf_counter()
                figures = [measured[number].pop(cut) for cut in cuts]
                shards[number].keep(
                    {
                        "losses": np.array(figures, dtype=np.float64),
                        "wall_s": np.array([now - started]),
                    }
                )
                started = now


def _least(
    increase: Sequence[Sequence[float | None]], n_measured: Sequence[Sequence[int]]
) -> list[LeastDamage]:
    """Return the block of least loss for each completely measured size; ties go to the deeper
    start.
    """
    best = []
    for n, (row, counts) in enumerate(zip(increase, n_measured, strict=True), start=1):
        candidates = [(value, -start) for start, value in enumerate(row) if value is not None]
        if all(counts) and candidates:
            value, start = min(candidates)
            best.append(LeastDamage(n, -start, value))
    return best


def _pairs(
    distances: Sequence[float], increase: Sequence[float | None]
) -> list[tuple[float, float]]:
    return [(d, value) for d, value in zip(distances, increase, strict=True) if value is not None]


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    return stats.spearman([d for d, _ in pairs], [value for _, value in pairs])
