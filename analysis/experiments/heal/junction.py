"""Closed-form healing: the change of the stream by removed layers, replaced gap by gap by a change fitted on text.

Behind a gap the stream should be x[stop] of the unpruned model and is x[start]. A gap is an unbroken run of removed modules.
If a layer keeps one of its two modules, the gap begins or ends inside the layer. The stream that enters the module behind
the gap is then the one to compensate. The projection before the gap, which may then be the attention's, is made to add
x[stop] - x[start]. That is a change of an existing weight, so it saves as a LoRA adapter of full rank and merges into a plain
checkpoint. The idea of a closed-form linear map in place of a block is ReplaceMe's (arXiv:2505.02819).

Gaps are compensated from the first to the last, each in the model whose earlier gaps are. So a fit also corrects the error
that the earlier ones leave.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from analysis.core import blocks
from analysis.core.blocks import ATTENTION, FEED_FORWARD, Block, Part, Removal
from analysis.core.errors import RecipeError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.experiments.heal.heal_result import GapReport, JunctionReport
from analysis.experiments.heal.projection import added, check_start, n_features, output_projection, watched
from analysis.experiments.scoring import likelihood
from analysis.models.architecture import sublayers
from analysis.models.architecture.decoder import Decoder, input_stream, output_stream
from analysis.models.running import pruning
from analysis.models.running.hidden_states import (
    Trunk,
    batches,
    carried,
    right_padded,
    run_trunk,
    tokens_per_batch,
)

RIDGE = 0.1
"""Ridge of the regression, as a share of the mean squared feature: the best over cuts of 3 to 10 layers."""
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
    is the map of its output that is added to that output (`projection.spread`). Zero if no tried strength helped."""
    report: JunctionReport
    """Report of the fit."""


@dataclass(frozen=True)
class GapStates:
    """States of a batch of texts at a gap, float32, all on one device."""

    features: Tensor
    """Input of the projection before the gap, (batch, seq, n_features)."""
    before: Tensor
    """x[start], (batch, seq, hidden_size), in the model whose earlier gaps are compensated."""
    behind: Tensor
    """x[stop] of the unpruned model, same shape."""
    real: Tensor
    """(batch, seq), False for padding; the first position is never padding."""


@dataclass
class _Sums:
    """Weighted products of features and targets, from which a regression follows."""

    gram: Tensor
    """Features with features, (n_in, n_in), float64."""
    cross: Tensor
    """Features with targets, (n_in, n_out), float64."""

    @classmethod
    def none(cls, n_in: int, n_out: int) -> "_Sums":
        return cls(torch.zeros(n_in, n_in, dtype=torch.float64), torch.zeros(n_in, n_out, dtype=torch.float64))

    def add(self, features: Tensor, targets: Tensor) -> None:
        # Products of one batch as they come, float32 being fast; their sum in float64, in which many do not drown the last.
        self.gram += (features.T @ features).double().cpu()
        self.cross += (features.T @ targets).double().cpu()

    def solve(self, ridge: float) -> Tensor:
        """The (n_out, n_in) map, float32."""
        eye = torch.eye(len(self.gram), dtype=torch.float64)
        return torch.linalg.solve(self.gram + ridge * eye, self.cross).T.float()


class _Regression:
    """Regression of x[stop] - x[start] on the features of the projection, tokens weighted by 1/|x[start]|."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self._first, self._rest = _Sums.none(n_in, n_out), _Sums.none(n_in, n_out)

    def add(self, states: GapStates) -> None:
        """Take in a batch."""
        weight = 1 / states.before.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        features, targets, real = states.features * weight, (states.behind - states.before) * weight, states.real
        self._first.add(features[:, 0], targets[:, 0])
        self._rest.add(features[:, 1:][real[:, 1:]], targets[:, 1:][real[:, 1:]])

    def changes(self) -> list[Tensor]:
        """Return the fitted changes of the projection's weight, without the first position and with it.

        The first position holds the attention sink, unlike all others. Fitting it too helps some cuts, and harms others.
        """
        total = _Sums(self._first.gram + self._rest.gram, self._first.cross + self._rest.cross)
        return [sums.solve(RIDGE * float(sums.gram.diagonal().mean()) + 1e-12) for sums in (self._rest, total)]


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
    loss_before: float | None = None,
    is_late: Callable[[], bool] = lambda: False,
) -> Junction:
    """Fit the change of weights that makes up for removed layers.

    It takes one pass over the text for the first gap, and two for each later gap.

    Args:
        decoder: the unpruned model; it is not changed.
        removed: the layers, or parts of layers, that are to be removed.
        calibration: token ids to fit on.
        selection: token ids of another kind of text than `calibration`, for the choice of a strength.
        on_progress: called for every batch; may raise `Cancelled`.
        loss_before: of the pruned model on `selection`, nats per token, if known.
        is_late: whether the time is too short for more of the text; at least `LEAST_TEXTS` are read.

    Raises:
        RecipeError: If there is no layer before a gap, or the family cannot be healed in this way.
    """
    removed.check_depth(decoder.n_layers)
    check_start(removed)
    _check_in_turn(decoder, removed)
    started, gaps = time.perf_counter(), blocks.gaps(removed)
    losses, n_tokens = [0.0, 0.0], 0
    changes, reports = dict[str, Tensor](), list[GapReport]()
    for number, gap in enumerate(gaps):
        gap_states = Gap(decoder, gaps[:number], gap, gaps[number + 1 :], dict(changes))

        def on_fraction(share: float, before: int = number) -> None:
            on_progress(Progress("fitting the junction", round(_PARTS * (before + share)), _PARTS * len(gaps)))

        cost_before = losses[1] if reports else loss_before  # the gap before this one ended with this very model
        report, change, losses_here, n_read = _fit_gap(gap_states, calibration, selection, on_fraction, cost_before, is_late)
        n_tokens = max(n_tokens, n_read)
        changes[report.module] = change
        losses = [losses[0] if reports else losses_here[0], losses_here[1]]
        reports.append(report)
    return Junction(
        changes,
        JunctionReport(
            module=", ".join(report.module for report in reports),
            strength=sum(report.strength for report in reports) / len(reports),
            loss_before=losses[0],
            loss_after=losses[1],
            n_tokens=n_tokens,
            wall_s=time.perf_counter() - started,
            gaps=reports,
        ),
    )


_PARTS = 100
"""Steps of the progress of a gap."""
_FITTING = 0.6
"""Share of them until its fit is there and is tried."""


def _check_in_turn(decoder: Decoder, removed: Removal) -> None:
    """Ensure that there is a stream between the sublayers if a gap ends inside a layer."""
    for layer, _ in blocks.single_parts(removed):
        if not sublayers.find(decoder, layer)[ATTENTION].in_turn:
            raise RecipeError(
                f"Attention and feed-forward part of this {decoder.config.model_type} model read the same stream, so an "
                f"instant heal has nothing to change between them. Remove whole layers, or heal without it (instant=false)."
            )


def check(decoder: Decoder, removed: Removal) -> None:
    """Refuse an instant heal whose change fits into no weight of the model.

    Args:
        decoder: the unpruned model; it is not changed.
        removed: the layers, or parts of layers, that are to be removed.

    Raises:
        RecipeError: If a norm or a scale stands between the projections and the stream before a gap.
    """
    gaps = blocks.gaps(removed)
    for number, gap in enumerate(gaps):
        Gap(decoder, gaps[:number], gap, gaps[number + 1 :], {}).projection()


@dataclass(frozen=True)
class Gap:
    """A gap, and the model in which it is compensated: earlier gaps are out and compensated, later layers are still there."""

    decoder: Decoder
    earlier: Sequence[Removal]
    gap: Removal
    later: Sequence[Removal]
    changes: dict[str, Tensor]
    """Of the earlier gaps."""

    @property
    def entry_layer(self) -> int:
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
        return applied(self.decoder, removed, self.changes)

    def projection(self) -> tuple[str, nn.Module]:
        """Return the projection to change, with its name.

        Raises:
            RecipeError: If no projection takes the change in.
        """
        with self.entered() as decoder:
            return output_projection(decoder, self.entry_layer)

    def states(self, module: nn.Module, sequences: Sequence[Sequence[int]]) -> GapStates:
        """Return the states of a batch of texts at this gap, from a single pass if it is the first gap and of whole layers."""
        waited = _Streams(module, sequences)
        if not self.earlier and isinstance(self.gap, Block):
            waited.run(self.decoder, self.gap.start, self.gap.stop)
            return waited.states()
        with self.entered() as decoder:
            waited.run(decoder, self.entry_layer, None)
        layer, part = self._last
        with sublayers.without(self.decoder, layer, [FEED_FORWARD] * (part == ATTENTION)):
            waited.run(self.decoder, None, layer + 1)
        return waited.states()


@contextlib.contextmanager
def applied(decoder: Decoder, removed: Removal, changes: Mapping[str, Tensor]) -> Iterator[Decoder]:
    """Run the body of a `with` statement with layers out and compensated, then restore the model.

    Args:
        decoder: the unpruned model.
        removed: the layers.
        changes: as in a `Junction`.
    """
    with pruning.without_block(decoder, removed), contextlib.ExitStack() as put_on:
        for name, change in changes.items():
            put_on.enter_context(added(decoder.model.get_submodule(name), _product(change)))
        yield decoder


def _product(change: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda inputs: inputs.float() @ change.to(inputs.device).T


def _fit_gap(
    gap: Gap,
    calibration: Sequence[Sequence[int]],
    selection: Sequence[Sequence[int]],
    on_fraction: Callable[[float], None],
    loss_before: float | None,
    is_late: Callable[[], bool],
) -> tuple[GapReport, Tensor, tuple[float, float], int]:
    """Return the report of one gap, its change, the losses of the pruned model before it and after it, and the tokens read.

    Args:
        gap: the gap.
        calibration, selection: as in `fit`.
        on_fraction: called with the share that is done; may raise `Cancelled`.
        loss_before: as in `fit`, without this gap's change.
        is_late: as in `fit`.
    """
    name, module = gap.projection()
    n_out = gap.decoder.config.hidden_size
    fit = _Regression(n_features(module, n_out), n_out)
    groups = batches([len(ids) for ids in calibration], tokens_per_batch(gap.decoder.device))
    read: list[int] = []
    for done, group in enumerate(groups):
        on_fraction(_FITTING * done / len(groups))
        if len(read) >= LEAST_TEXTS and is_late():
            break
        read += group
        fit.add(gap.states(module, [calibration[index] for index in group]))
    changes = fit.changes()
    with _tries(gap, module, selection) as loss_with:
        numbers, most = itertools.count(), 1 + len(changes) * len(STRENGTHS)

        def tried(change: Tensor) -> float:
            on_fraction(_FITTING + (1 - _FITTING) * next(numbers) / most)
            return loss_with(change)

        before = tried(torch.zeros_like(changes[0])) if loss_before is None else loss_before
        strength, change, after = _chosen(changes, before, tried)
    n_read = sum(len(calibration[index]) for index in read)
    return GapReport(gap.gap, name, strength), change, (before, after), n_read


def _chosen(changes: Sequence[Tensor], before: float, tried: Callable[[Tensor], float]) -> tuple[float, Tensor, float]:
    """Return the strength whose change costs least, that change, and its loss; none if nothing helps.

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

    def __init__(self, module: nn.Module, sequences: Sequence[Sequence[int]]) -> None:
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
        if before is not None:
            handles.append(watched(self._module, lambda features: keep("features", features)))
        handles += [entering(layer, name) for layer, name in ((before, "before"), (behind, "behind")) if layer is not None]
        try:
            with contextlib.suppress(_Reached):
                decoder.body(input_ids=right_padded(self._sequences).to(decoder.device), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()

    def states(self) -> GapStates:
        """All of it, on the device of the layer behind the gap."""
        longest = max(map(len, self._sequences))
        real = torch.tensor([[position < len(ids) for position in range(longest)] for ids in self._sequences])
        before, behind = self._found["before"], self._found["behind"]
        features = self._found["features"]
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
    """Input of the projection, (batch, seq, n_features)."""


@contextlib.contextmanager
def _tries(gap: Gap, module: nn.Module, texts: Sequence[Sequence[int]]) -> Iterator[Callable[[Tensor], float]]:
    """Yield a function: the loss per token of the pruned model with a change, from one pass up to the gap; later gaps are out.

    A change of the projection's output changes the stream before the gap by as much: `output_projection` has tried it.

    Args:
        gap: the gap.
        module: the projection that is changed.
        texts: token ids.
    """
    entry_layer, streams, batches_of_texts = gap.entry_layer, list[Tensor](), list[_Tried]()
    with gap.entered() as decoder:
        handle = watched(module, streams.append)
        try:
            for group in likelihood.text_batches(decoder, texts):
                sequences = [texts[index] for index in group]
                trunk = run_trunk(decoder, right_padded(sequences), keep={entry_layer})
                features = streams.pop().reshape(*trunk.states[entry_layer].shape[:2], -1)
                batches_of_texts.append(_Tried(sequences, trunk, features))
        finally:
            handle.remove()

        def loss_with(change: Tensor) -> float:
            nats = 0.0
            for batch in batches_of_texts:
                stream = batch.trunk.states[entry_layer]
                moves = _product(change)(batch.features)
                calls = batch.trunk.calls
                behind = carried(decoder, Trunk({entry_layer: stream + moves.to(stream)}, calls), entry_layer, gap.rest)
                losses = likelihood.batch_losses(decoder, behind, batch.sequences)
                nats += sum(loss * (len(ids) - 1) for loss, ids in zip(losses, batch.sequences, strict=True))
            return nats / sum(len(ids) - 1 for ids in texts)

        yield loss_with
