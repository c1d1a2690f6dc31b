"""Closed-form healing: a change of weights, fitted on text, that approximates the effect of removed
layers.

A gap is a contiguous run of removed modules. After it, the residual stream is x[start] instead of
the unpruned model's x[stop]. The projection before the gap is changed to add an estimate of x[stop]
- x[start]. If a layer keeps one of its two modules, the gap begins or ends inside the layer, and
the projection may be that of the attention. Since only existing weights change, the result is
stored as a LoRA adapter of full rank and merges into a plain checkpoint. Replacing a block by a
linear map in closed form is the idea of ReplaceMe (arXiv:2505.02819).

Gaps are compensated from first to last, each in the model with earlier gaps compensated. So a fit
also corrects errors that earlier ones leave.
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
from analysis.experiments.heal.projection import (
    added,
    check_start,
    n_features,
    output_projection,
    watched,
)
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
"""Ridge penalty as a share of the mean squared feature. It was the best over removals of 3 to 10
layers."""
STRENGTHS = (0.4, 0.7, 1.0)
"""Shares of a fitted change to try, ascending. Layers are not linear, so a share may recover more
than the full change."""
LEAST_TEXTS = 8
"""Minimum number of texts of a fit."""
TEXT_TOKENS = 256
"""Maximum number of tokens of a text that are fitted on."""


@dataclass(frozen=True)
class Junction:
    """Fitted changes of the pruned model."""

    changes: dict[str, Tensor]
    """Tensors to add to weights by name of the projection, (out_features, in_features), float32.
    For a mixture of experts, a linear map of its output to add to that output
    (`projection.spread`). Zero if no tried strength lowered the loss."""
    report: JunctionReport


@dataclass(frozen=True)
class GapStates:
    """States of a batch of texts at a gap, float32, on one device."""

    features: Tensor
    """Input of the projection before the gap, (batch, seq, n_features)."""
    before: Tensor
    """x[start] in the model with earlier gaps compensated, (batch, seq, hidden_size)."""
    behind: Tensor
    """x[stop] of the unpruned model, (batch, seq, hidden_size)."""
    real: Tensor
    """False for padding, (batch, seq). The first position is never padding."""


class _Regression:
    """Ridge regression of x[stop] - x[start] on the features of the projection, with tokens
    weighted by 1 / |x[start]|.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        # Index 0: first positions of the texts, index 1: all other positions.
        self._gram = torch.zeros(2, n_in, n_in, dtype=torch.float64)
        self._cross = torch.zeros(2, n_in, n_out, dtype=torch.float64)

    def add(self, states: GapStates) -> None:
        """Add a batch."""
        weight = 1 / states.before.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        features = states.features * weight
        targets = (states.behind - states.before) * weight
        real = states.real[:, 1:]
        parts = (features[:, 0], targets[:, 0]), (features[:, 1:][real], targets[:, 1:][real])
        for index, (inputs, outputs) in enumerate(parts):
            # Products of a batch in float32 for speed, sums over batches in float64 for accuracy.
            self._gram[index] += (inputs.T @ inputs).double().cpu()
            self._cross[index] += (inputs.T @ outputs).double().cpu()

    def changes(self) -> list[Tensor]:
        """Return the fitted changes of the projection's weight, first without and then with the
        first positions.

        The first position holds the attention sink, unlike all others. Fitting it too helps for
        some cuts and harms for others.
        """
        changes = []
        for gram, cross in (
            (self._gram[1], self._cross[1]),
            (self._gram.sum(0), self._cross.sum(0)),
        ):
            ridge = RIDGE * float(gram.diagonal().mean()) + 1e-12
            changes.append(
                torch.linalg.solve(
                    gram + ridge * torch.eye(len(gram), dtype=gram.dtype), cross
                ).T.float()
            )
        return changes


class _Reached(Exception):
    """Raised when the requested streams are known, since later layers need not run."""


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
    """Fit the change of weights that compensates for removed layers.

    It takes one pass over the text for the first gap, and two for each later gap.

    Args:
        decoder: The unpruned model; it is not changed.
        removed: Layers or sublayers to remove.
        calibration: Token ids to fit on.
        selection: Token ids of another kind of text than `calibration`, for the choice of a
            strength.
        on_progress: Called for every batch; may raise `Cancelled`.
        loss_before: Loss of the pruned model on `selection` in nats per token, if known.
        is_late: Returns whether no time is left for more text. At least `LEAST_TEXTS` texts are
            read.

    Raises:
        RecipeError: If there is no layer before a gap, or the family cannot be healed in this way.
    """
    removed.check_depth(decoder.n_layers)
    check_start(removed)
    for layer, _ in blocks.single_parts(removed):
        if not sublayers.find(decoder, layer)[ATTENTION].in_turn:
            raise RecipeError(
                f"Attention and feed-forward part of this {decoder.config.model_type} model read"
                " the same stream, so an instant heal has nothing to change between them. Remove"
                " whole layers, or heal without it (instant=false)."
            )
    started = time.perf_counter()
    gaps = blocks.gaps(removed)
    losses = [0.0, 0.0]
    n_tokens = 0
    changes = dict[str, Tensor]()
    reports = list[GapReport]()
    for number, gap in enumerate(gaps):
        gap_states = Gap(decoder, gaps[:number], gap, gaps[number + 1 :], dict(changes))

        def on_fraction(share: float, before: int = number) -> None:
            on_progress(
                Progress(
                    "fitting the junction", round(_PARTS * (before + share)), _PARTS * len(gaps)
                )
            )

        cost_before = losses[1] if reports else loss_before  # the model after the previous gap
        report, change, losses_here, n_read = _fit_gap(
            gap_states, calibration, selection, on_fraction, cost_before, is_late
        )
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
"""Progress units per gap."""
_FITTING = 0.6
"""Share of the units before strengths are tried."""


def check(decoder: Decoder, removed: Removal) -> None:
    """Check that weights of the model can hold the change of an instant heal.

    Args:
        decoder: The unpruned model; it is not changed.
        removed: Layers or sublayers to remove.

    Raises:
        RecipeError: If a norm or a scale follows each projection before a gap.
    """
    gaps = blocks.gaps(removed)
    for number, gap in enumerate(gaps):
        Gap(decoder, gaps[:number], gap, gaps[number + 1 :], {}).projection()


@dataclass(frozen=True)
class Gap:
    """A gap in the model in which it is compensated: earlier gaps are removed and compensated,
    later ones not yet removed.
    """

    decoder: Decoder
    earlier: Sequence[Removal]
    gap: Removal
    later: Sequence[Removal]
    changes: dict[str, Tensor]
    """Changes of the earlier gaps."""

    @property
    def entry_layer(self) -> int:
        """Return the layer after the gap, by its index inside `entered`."""
        layer, part = self._last
        return layer + (part == FEED_FORWARD) - self._shift

    @property
    def rest(self) -> Removal | None:
        """Return the later gaps, by their indices inside `entered`."""
        parts = [(layer - self._shift, part) for gap in self.later for layer, part in gap.parts]
        return blocks.removal_of_parts(parts) if parts else None

    @property
    def _last(self) -> Part:
        """Return the last removed sublayer."""
        return max(self.gap.parts, key=lambda part: (part[0], part[1] == FEED_FORWARD))

    @property
    def _shift(self) -> int:
        return sum(len(gap.layers) for gap in (*self.earlier, self.gap))

    def entered(self) -> contextlib.AbstractContextManager[Decoder]:
        """Return a context in which this gap and earlier ones are removed, and the earlier ones
        compensated.
        """
        removed = blocks.removal_of_parts(
            part for gap in (*self.earlier, self.gap) for part in gap.parts
        )
        return applied(self.decoder, removed, self.changes)

    def projection(self) -> tuple[str, nn.Module]:
        """Return the name of the projection to change, and the projection.

        Raises:
            RecipeError: If no projection can hold the change.
        """
        with self.entered() as decoder:
            return output_projection(decoder, self.entry_layer)

    def states(self, module: nn.Module, sequences: Sequence[Sequence[int]]) -> GapStates:
        """Return the states of a batch of texts at this gap, from a single pass if it is the first
        gap and has whole layers.
        """
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
    """Remove and compensate layers in the body of a `with` statement, then restore the model.

    Args:
        decoder: The unpruned model.
        removed: Layers or sublayers to remove.
        changes: As in `Junction`.
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
    """Return the report of a gap, its change, the losses before and after the change, and the
    number of tokens read.

    Args:
        gap: The gap.
        calibration, selection, is_late: As in `fit`.
        on_fraction: Called with the finished share; may raise `Cancelled`.
        loss_before: Loss without this gap's change, if known.
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
        numbers = itertools.count()
        most = 1 + len(changes) * len(STRENGTHS)

        def tried(change: Tensor) -> float:
            on_fraction(_FITTING + (1 - _FITTING) * next(numbers) / most)
            return loss_with(change)

        before = tried(torch.zeros_like(changes[0])) if loss_before is None else loss_before
        strength, change, after = _chosen(changes, before, tried)
    n_read = sum(len(calibration[index]) for index in read)
    return GapReport(gap.gap, name, strength), change, (before, after), n_read


def _chosen(
    changes: Sequence[Tensor], before: float, tried: Callable[[Tensor], float]
) -> tuple[float, Tensor, float]:
    """Return the strength with the lowest loss, its change and its loss; zeros and `before` if no
    change lowers the loss.

    Strengths of a change are tried in ascending order until the loss rises.

    Args:
        changes: Full changes.
        before: Loss without a change.
        tried: Function that returns the loss with a change.
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
    """Collects the states at a gap."""

    def __init__(self, module: nn.Module, sequences: Sequence[Sequence[int]]) -> None:
        self._module = module
        self._sequences = sequences
        self._found: dict[str, Tensor] = {}

    def run(self, decoder: Decoder, before: int | None, behind: int | None) -> None:
        """Run one pass up to the last requested state.

        Args:
            decoder: The model in its current state.
            before: Layer with the input x[start]; None if that is not requested.
            behind: Layer with the input x[stop], `n_layers` for the final stream; None if that is
                not requested.
        """
        last = "before" if behind is None else "behind"

        def keep(name: str, value: Tensor) -> None:
            self._found[name] = value.float()
            if name == last:
                raise _Reached

        def entering(layer: int, name: str) -> Any:
            if layer == decoder.n_layers:
                return decoder.layers[-1].register_forward_hook(
                    lambda _, args, output: keep(name, output_stream(output))
                )
            return decoder.layers[layer].register_forward_pre_hook(
                lambda _, args, named: keep(name, input_stream(args, named)), with_kwargs=True
            )

        handles = []
        if before is not None:
            handles.append(watched(self._module, lambda features: keep("features", features)))
        handles += [
            entering(layer, name)
            for layer, name in ((before, "before"), (behind, "behind"))
            if layer is not None
        ]
        try:
            with contextlib.suppress(_Reached):
                decoder.body(
                    input_ids=right_padded(self._sequences).to(decoder.device), use_cache=False
                )
        finally:
            for handle in handles:
                handle.remove()

    def states(self) -> GapStates:
        """Return the collected states on the device of the layer after the gap."""
        longest = max(map(len, self._sequences))
        real = torch.tensor(
            [[position < len(ids) for position in range(longest)] for ids in self._sequences]
        )
        before = self._found["before"]
        behind = self._found["behind"]
        features = self._found["features"]
        features = features.reshape(
            *real.shape, -1
        )  # OPT flattens batch and sequence in its feed-forward module
        device = behind.device
        return GapStates(features.to(device), before.to(device), behind, real.to(device))


@dataclass(frozen=True)
class _Tried:
    """States of a batch of selection texts up to the gap."""

    sequences: list[Sequence[int]]
    trunk: Trunk
    """Trunk with the stream after the gap."""
    features: Tensor
    """Input of the projection, (batch, seq, n_features)."""


@contextlib.contextmanager
def _tries(
    gap: Gap, module: nn.Module, texts: Sequence[Sequence[int]]
) -> Iterator[Callable[[Tensor], float]]:
    """Yield a function that returns the loss per token of the pruned model with a change.

    The texts run up to the gap once. The change of the projection's output is added to the stream,
    which is exact for every module that `output_projection` returns.

    Args:
        gap: The gap.
        module: The projection to change.
        texts: Token ids of the selection texts.
    """
    entry_layer = gap.entry_layer
    streams = list[Tensor]()
    batches_of_texts = list[_Tried]()
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
                behind = carried(
                    decoder,
                    Trunk({entry_layer: stream + moves.to(stream)}, calls),
                    entry_layer,
                    gap.rest,
                )
                losses = likelihood.batch_losses(decoder, behind, batch.sequences)
                nats += sum(
                    loss * (len(ids) - 1) for loss, ids in zip(losses, batch.sequences, strict=True)
                )
            return nats / sum(len(ids) - 1 for ids in texts)

        yield loss_with
