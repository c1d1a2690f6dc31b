"""Closed-form healing: the change of the stream by removed layers, replaced gap by gap by a change fitted on text.

Behind a gap the stream should be x[stop] of the unpruned model and is x[start]. A gap is an unbroken run of removed modules.
Where a layer keeps one of its two modules, the gap begins or ends inside the layer. The stream that enters the module behind
the gap is then the one to compensate. The `compensation` says how. A change of the projection before the gap, which may then
be the attention's, is a change of an existing weight. So it saves as a LoRA adapter of full rank and merges into a plain
checkpoint. A map of the stream stays a small layer of its own (`bridge`).

Gaps are compensated from the first to the last, each in the model whose earlier gaps are. So a fit also corrects the error
that the earlier ones leave.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from analysis.core import blocks
from analysis.core.blocks import ATTENTION, FEED_FORWARD, Block, Part, Removal
from analysis.core.errors import RecipeError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.experiments.heal.compensation import COMPENSATIONS, Compensation, GapStates
from analysis.experiments.heal.heal_result import GapReport, JunctionReport
from analysis.experiments.heal.projection import NothingAdds, added, check_start, n_features, output_projection, watched
from analysis.experiments.scoring import likelihood
from analysis.models.architecture import sublayers
from analysis.models.architecture.decoder import Decoder, input_stream, output_stream
from analysis.models.architecture.streams import SharedStream
from analysis.models.running import adapters, folding, pruning
from analysis.models.running.adapters import Bridge
from analysis.models.running.hidden_states import (
    Trunk,
    batches,
    carried,
    right_padded,
    run_trunk,
    tokens_per_batch,
)

STRENGTHS = (0.4, 0.7, 1.0)
"""Shares of a fitted change to try, ascending. The change by many layers is not linear, so less of a fit may repair more."""
LEAST_TEXTS = 8
"""Fewer say too little to fit on."""
TEXT_TOKENS = 256
"""Longest beginning of a text that is fitted on."""


@dataclass(frozen=True)
class Junction:
    """Fitted changes, with names and places of the pruned model."""

    changes: dict[str, Tensor]
    """By projection, the tensor that is added to its weight, (out_features, in_features), float32. For a mixture of experts it
    is the map of its output that is added to that output (`projection.spread`). Zero where no tried strength helped."""
    bridges: list[Bridge]
    """Maps of the stream, of gaps that no projection could take in."""
    report: JunctionReport
    """Report of the fit."""


@dataclass
class Readings:
    """States of text at the first gap of a model, kept for other compensations of the same cut, which need not compute them."""

    room: int = 1 << 30
    """Bytes that may still be kept; batches that do not fit are read again."""
    _kept: dict[Any, tuple[GapStates, bool]] = field(default_factory=dict)
    """By gap and text, the states, and whether they include the features of a projection."""
    _scored: SharedStream | None = None
    """The stream of the scored texts and questions, which no compensation changes below."""

    def scored(self, depth: int) -> SharedStream:
        """Return the stream at a depth of the texts and questions that are scored."""
        if self._scored is None or self._scored.depth != depth:
            self._scored = SharedStream(depth)
        return self._scored

    def of(self, gap: Block, text: Sequence[Sequence[int]], has_features: bool, read: Callable[[], GapStates]) -> GapStates:
        """Return the states of a batch: kept ones, if they have the wanted features, else those that `read` returns."""
        key = gap, tuple(map(tuple, text))
        kept, has_kept_features = self._kept.get(key, (None, False))
        if kept is None or (has_features and not has_kept_features):
            fresh = read()
            packed = GapStates(_packed(fresh.features), _packed(fresh.before), _packed(fresh.behind), fresh.real)
            size = packed.features.nbytes + packed.before.nbytes + packed.behind.nbytes
            if size <= self.room:
                self.room -= size
                self._kept[key] = packed, has_features
            return fresh
        return GapStates(kept.features.float(), kept.before.float(), kept.behind.float(), kept.real)


def _packed(states: Tensor) -> Tensor:
    """Return the states in half the bytes, where a model in bfloat16 made them."""
    half = states.bfloat16()
    return half if torch.equal(half.float(), states) else states


class _Reached(Exception):
    """The stream that was waited for is known; the layers after it need not run."""


@torch.inference_mode()
def fit(
    decoder: Decoder,
    removed: Removal,
    calibration: Sequence[Sequence[int]],
    selection: Sequence[Sequence[int]],
    on_progress: OnProgress = ignore,
    *,
    compensation: str = "projection",
    readings: Readings | None = None,
    loss_before: float | None = None,
) -> Junction:
    """Fit the compensation of removed layers; one pass over the text for the first gap, two for each later gap.

    Args:
        decoder: the unpruned model; it is not changed.
        removed: the layers, or parts of layers, that are to be removed.
        calibration: token ids to fit on.
        selection: token ids of another kind of text than `calibration`, for the choice of a strength.
        on_progress: called for every batch; may raise `Cancelled`.
        compensation: one of `COMPENSATIONS`.
        readings: states of earlier fits to this model, to which this fit adds its own; None to keep nothing.
        loss_before: of the pruned model on `selection`, nats per token, where it is known.

    Raises:
        RecipeError: when there is no layer before a gap, or the family cannot be healed in this way.
    """
    removed.check(decoder.n_layers)
    check_start(removed)
    _check_in_turn(decoder, removed)
    started, gaps = time.perf_counter(), blocks.gaps(removed)
    method, losses = COMPENSATIONS[compensation], [0.0, 0.0]
    changes, bridges, reports = dict[str, Tensor](), list[Bridge](), list[GapReport]()
    for number, gap in enumerate(gaps):
        gap_states = Gap(
            decoder, gaps[:number], gap, gaps[number + 1 :], dict(changes), list(bridges), readings or Readings(room=0)
        )

        def on_fraction(share: float, before: int = number) -> None:
            on_progress(Progress("fitting the junction", round(_PARTS * (before + share)), _PARTS * len(gaps)))

        known = losses[1] if reports else loss_before  # the gap before this one ended with this very model
        report, change, losses_here = _fit_gap(gap_states, method, calibration, selection, on_fraction, known)
        if report.module:
            changes[report.module] = change
        else:
            bridges.append(Bridge(gap_states.place, change))
        losses = [losses[0] if reports else losses_here[0], losses_here[1]]
        reports.append(report)
    return Junction(
        changes,
        bridges,
        JunctionReport(
            module=", ".join(report.module for report in reports if report.module),
            strength=sum(report.strength for report in reports) / len(reports),
            loss_before=losses[0],
            loss_after=losses[1],
            n_tokens=sum(map(len, calibration)),
            wall_s=time.perf_counter() - started,
            gaps=reports,
        ),
    )


_PARTS = 100
"""Steps of the progress of a gap."""
_FITTING = 0.6
"""Share of them until its fit is there and is tried."""


def _check_in_turn(decoder: Decoder, removed: Removal) -> None:
    """See to it that where a gap ends inside a layer there is a stream between its parts."""
    for layer, _ in blocks.single_parts(removed):
        if not sublayers.find(decoder, layer)[ATTENTION].in_turn:
            raise RecipeError(
                f"Attention and feed-forward part of this {decoder.config.model_type} model read the same stream, so an "
                f"instant heal has nothing to change between them. Remove whole layers, or heal without it (instant=false)."
            )


def check_folds(decoder: Decoder, removed: Removal) -> None:
    """Refuse an instant heal whose change fits into no weight of the model.

    Args:
        decoder: the unpruned model; it is not changed.
        removed: the layers, or parts of layers, that are to be removed.

    Raises:
        RecipeError: where a gap needs a small layer of its own; it names a recipe that needs none.
    """
    gaps, method = blocks.gaps(removed), COMPENSATIONS["projection"]
    gap_states = [Gap(decoder, gaps[:n], gap, gaps[n + 1 :], {}, [], Readings(room=0)) for n, gap in enumerate(gaps)]
    unfolded = [gap for gap in gap_states if gap.projection(method)[1] is None]
    if not unfolded:
        return
    instead = "a recipe that trains without the instant heal, such as progressive"
    if all(_takes_factor(gap) for gap in unfolded):
        instead = "the recipe prune-comp, which an export folds into the weights"
    raise RecipeError(
        f"An instant heal of this {decoder.config.model_type} model needs an extra layer, because a norm or a scale stands "
        f"between its projections and the stream. Plain PEFT and exports leave that layer out. Choose {instead}, or keep it "
        f"with --bridge (bridge=true)."
    )


def _takes_factor(gap: "Gap") -> bool:
    with gap.entered() as decoder:
        return folding.folds(decoder, gap.place)


@dataclass(frozen=True)
class Gap:
    """A gap, and the model in which it is compensated: earlier gaps are out and compensated, later layers are still there."""

    decoder: Decoder
    earlier: Sequence[Removal]
    gap: Removal
    later: Sequence[Removal]
    changes: dict[str, Tensor]
    """Of the earlier gaps."""
    bridges: list[Bridge]
    """Of the earlier gaps."""
    readings: Readings

    @property
    def place(self) -> int:
        """The layer that is entered behind the gap, numbered as inside of `entered`."""
        layer, part = self._last
        return layer + (part == FEED_FORWARD) - self._shift

    @property
    def rest(self) -> Removal | None:
        """The later gaps, numbered as inside of `entered`."""
        parts = [(layer - self._shift, part) for gap in self.later for layer, part in gap.parts]
        return blocks.removal_of_parts(parts) if parts else None

    @property
    def _last(self) -> Part:
        """The last part that is gone."""
        return max(self.gap.parts, key=lambda part: (part[0], part[1] == FEED_FORWARD))

    @property
    def _shift(self) -> int:
        return sum(len(gap.layers) for gap in (*self.earlier, self.gap))

    def entered(self) -> contextlib.AbstractContextManager[Decoder]:
        """Return the model in which the gap is compensated, without it."""
        removed = blocks.removal_of_parts(part for gap in (*self.earlier, self.gap) for part in gap.parts)
        return applied(self.decoder, removed, self.changes, self.bridges)

    def projection(self, method: Compensation) -> tuple[str, nn.Module | None]:
        """The projection to change, by name, or none for a bridge."""
        if not method.is_folded:
            return "", None
        try:
            with self.entered() as decoder:
                return output_projection(decoder, self.place)
        except NothingAdds:
            return "", None

    def states(self, module: nn.Module | None, sequences: Sequence[Sequence[int]]) -> GapStates:
        """Return the states of a batch of texts at this gap, from a single pass where it is the first and of whole layers."""
        waited = _Streams(module, sequences)
        if not self.earlier and isinstance(self.gap, Block):
            first = self.gap

            def read() -> GapStates:
                waited.run(self.decoder, first.start, first.stop)
                return waited.found()

            return self.readings.of(first, sequences, module is not None, read)
        with self.entered() as decoder:
            waited.run(decoder, self.place, None)
        layer, part = self._last
        with sublayers.without(self.decoder, layer, [FEED_FORWARD] * (part == ATTENTION)):
            waited.run(self.decoder, None, layer + 1)
        return waited.found()


@contextlib.contextmanager
def applied(decoder: Decoder, removed: Removal, changes: Mapping[str, Tensor], bridges: Sequence[Bridge]) -> Iterator[Decoder]:
    """Run the body of a `with` statement with layers out and compensated, then restore the model.

    Args:
        decoder: the unpruned model.
        removed: the layers.
        changes, bridges: as in a `Junction`.
    """
    with pruning.without_block(decoder, removed), contextlib.ExitStack() as put_on:
        for name, change in changes.items():
            put_on.enter_context(added(decoder.model.get_submodule(name), _product(change)))
        for bridge in bridges:
            put_on.callback(adapters.lay_bridge(decoder, bridge).remove)
        yield decoder


def _product(change: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda inputs: inputs.float() @ change.to(inputs.device).T


def _fit_gap(
    gap: Gap,
    method: Compensation,
    calibration: Sequence[Sequence[int]],
    selection: Sequence[Sequence[int]],
    on_fraction: Callable[[float], None],
    loss_before: float | None,
) -> tuple[GapReport, Tensor, tuple[float, float]]:
    """Return the report of one gap, its change, and the losses of the pruned model before it and after it.

    Args:
        gap: the gap.
        method: the compensation.
        calibration, selection: as in `fit`.
        on_fraction: called with the share that is done; may raise `Cancelled`.
        loss_before: as in `fit`, without this gap's change.
    """
    name, module = gap.projection(method)
    n_out = gap.decoder.config.hidden_size
    n_in = n_out if module is None else n_features(module, n_out)
    fit = method.fit(n_in, n_out)
    groups = batches([len(ids) for ids in calibration], tokens_per_batch(gap.decoder.device))
    for done, group in enumerate(groups):
        on_fraction(_FITTING * done / len(groups))
        fit.add(gap.states(module, [calibration[index] for index in group]))
    changes = fit.changes()
    with _tries(gap, module, selection) as loss_with:
        numbers, most = itertools.count(), 1 + len(changes) * len(STRENGTHS)

        def tried(change: Tensor) -> float:
            on_fraction(_FITTING + (1 - _FITTING) * next(numbers) / most)
            return loss_with(change)

        before = tried(torch.zeros_like(changes[0])) if loss_before is None else loss_before
        if not method.is_chosen:
            strength, change, after = 1.0, changes[0], tried(changes[0])
        else:
            strength, change, after = _chosen(changes, before, tried)
    factor = None if change.dim() else 1 + float(change)
    return GapReport(gap.gap, name, strength, factor), change, (before, after)


def _chosen(changes: Sequence[Tensor], before: float, tried: Callable[[Tensor], float]) -> tuple[float, Tensor, float]:
    """Return the strength whose change costs least, that change, and its loss; none where nothing helps.

    More of a change is tried until it costs more than less of it did.

    Args:
        changes: in full.
        before: the loss without a change.
        tried: returns the loss with a change.
    """
    best = 0.0, torch.zeros_like(changes[0]), before
    for full in changes:
        weaker = before
        for strength in STRENGTHS:
            loss = tried(strength * full)
            if loss < best[2]:
                best = strength, strength * full, loss
            if loss >= weaker:
                break
            weaker = loss
    return best


class _Streams:
    """Collector of the states that pass at a gap."""

    def __init__(self, module: nn.Module | None, sequences: Sequence[Sequence[int]]) -> None:
        self._module, self._sequences = module, sequences
        self._found: dict[str, Tensor] = {}

    def run(self, decoder: Decoder, before: int | None, behind: int | None) -> None:
        """Run one pass, up to the last of the requested states.

        Args:
            decoder: the model as it is now.
            before: the layer that x[start] enters; None if not requested.
            behind: the layer that x[stop] enters, `n_layers` for none; None if not requested.
        """
        last = "before" if behind is None else "behind"

        def keep(name: str, value: Tensor) -> None:
            self._found[name] = value.float()
            if name == last:
                raise _Reached

        def entering(layer: int, name: str) -> Any:
            if layer == decoder.n_layers:
                return decoder.layers[-1].register_forward_hook(lambda _, args, output: keep(name, output_stream(output)))
            return decoder.layers[layer].register_forward_pre_hook(
                lambda _, args, named: keep(name, input_stream(args, named)), with_kwargs=True
            )

        handles = []
        if before is not None and self._module is not None:
            handles.append(watched(self._module, lambda features: keep("features", features)))
        handles += [entering(layer, name) for layer, name in ((before, "before"), (behind, "behind")) if layer is not None]
        try:
            with contextlib.suppress(_Reached):
                decoder.body(input_ids=right_padded(self._sequences).to(decoder.device), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()

    def found(self) -> GapStates:
        """All of it, where the layer behind the gap is."""
        longest = max(map(len, self._sequences))
        real = torch.tensor([[position < len(ids) for position in range(longest)] for ids in self._sequences])
        before, behind = self._found["before"], self._found["behind"]
        features = self._found.get("features", before)
        features = features.reshape(*real.shape, -1)  # OPT runs its feed-forward part on all tokens in one row
        device = behind.device
        return GapStates(features.to(device), before.to(device), behind, real.to(device))


@dataclass(frozen=True)
class _Tried:
    """Texts that a change is tried on, as far as the gap."""

    sequences: list[Sequence[int]]
    trunk: Trunk
    """Keeps the stream behind the gap."""
    features: Tensor
    """Input of the projection, or the stream itself, (batch, seq, n_features)."""


@contextlib.contextmanager
def _tries(gap: Gap, module: nn.Module | None, texts: Sequence[Sequence[int]]) -> Iterator[Callable[[Tensor], float]]:
    """Yield a function: the loss per token of the pruned model with a change, from one pass up to the gap; later gaps are out.

    A change of the projection's output changes the stream before the gap by as much: `output_projection` has tried it.

    Args:
        gap: the gap.
        module: the projection that is changed; None where it is the stream.
        texts: token ids.
    """
    place, streams, batches_of_texts = gap.place, list[Tensor](), list[_Tried]()
    with gap.entered() as decoder:
        with contextlib.ExitStack() as watching:
            if module is not None:
                watching.callback(watched(module, streams.append).remove)
            for group in likelihood.text_batches(decoder, texts):
                sequences = [texts[index] for index in group]
                trunk = run_trunk(decoder, right_padded(sequences), keep={place})
                stream = trunk.states[place]
                features = (stream if module is None else streams.pop()).reshape(*stream.shape[:2], -1)
                batches_of_texts.append(_Tried(sequences, trunk, features))

        def loss_with(change: Tensor) -> float:
            nats = 0.0
            for batch in batches_of_texts:
                stream = batch.trunk.states[place]
                moves = _product(change)(batch.features) if change.dim() else batch.features.float() * change
                calls = batch.trunk.calls
                behind = carried(decoder, Trunk({place: stream + moves.to(stream)}, calls), place, gap.rest)
                losses = likelihood.batch_losses(decoder, behind, batch.sequences)
                nats += sum(loss * (len(ids) - 1) for loss, ids in zip(losses, batch.sequences, strict=True))
            return nats / sum(len(ids) - 1 for ids in texts)

        yield loss_with
