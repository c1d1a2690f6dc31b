"""The instant heal: what a removed block adds to the stream, put into the layer before it by linear regression.

A layer's feed-forward part ends in a projection whose output is added to the residual stream. Behind the cut the stream
should be x[stop] and is x[start]; a change of that projection is fitted, on text, so that it adds the difference. It is a
change of an existing weight, so it saves as a LoRA adapter of full rank and merges into a plain checkpoint. Where no weight
adds to the stream as it is, a map of the stream itself is fitted, which stays a small layer of its own (`bridge`).

The idea of a closed-form linear map in place of a block is ReplaceMe's (arXiv:2505.02819); here the features are the
projection's own input, each token is weighted by 1/|x[start]|, and the strength is chosen on text of another kind than what
is fitted on.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.experiments.heal.spec import JunctionReport
from analysis.experiments.scoring import likelihood
from analysis.models.decoder import Decoder, feed_forward_modules, output_stream
from analysis.models.stream import Trunk, batches, input_stream, right_padded, run_tails, run_trunk, tokens_per_batch

RIDGE = 0.1
"""Ridge of the regression, as a share of the mean squared feature: what held up best over cuts of 3 to 10 layers."""
STRENGTHS = (1.0, 0.7, 0.4)
"""Shares of the fitted change that are tried. A cut of many layers is not linear, and less of it then repairs more."""
CALIBRATION_TEXTS = 96
LEAST_TEXTS = 8
"""Fewer say too little to fit on."""
TEXT_TOKENS = 256
"""Longest beginning of a text that is fitted on."""


@dataclass(frozen=True)
class Junction:
    """A change of the projection before the cut, or of the stream behind it."""

    change: Tensor
    """What is added to the projection's weight, (out_features, in_features), float32, or the `bridge`, (hidden_size,
    hidden_size); all zero when nothing that was tried helped."""
    report: JunctionReport
    """Which projection, none for a bridge, and how it went."""

    @property
    def is_bridge(self) -> bool:
        """Whether it is a map of the stream, because no projection could take it in."""
        return not self.report.module


class _NothingAdds(RecipeError):
    """No projection of this family adds to the stream as it is."""


class _Reached(Exception):
    """The stream behind the block is known; the layers after it need not run."""


@dataclass
class _Sums:
    """Weighted products of features and targets, from which the regression follows."""

    gram: Tensor
    """Features with features, (in_features, in_features), float64."""
    cross: Tensor
    """Features with targets, (in_features, out_features), float64."""

    @classmethod
    def none(cls, n_in: int, n_out: int) -> "_Sums":
        return cls(torch.zeros(n_in, n_in, dtype=torch.float64), torch.zeros(n_in, n_out, dtype=torch.float64))

    def add(self, features: Tensor, targets: Tensor) -> None:
        # Products of one batch in float32, which is fast; their sum in float64, in which many batches do not drown the last.
        self.gram += (features.T @ features).double().cpu()
        self.cross += (features.T @ targets).double().cpu()

    def solve(self) -> Tensor:
        ridge = RIDGE * self.gram.diagonal().mean() + 1e-12
        return torch.linalg.solve(self.gram + ridge * torch.eye(len(self.gram), dtype=torch.float64), self.cross).T.float()


@torch.inference_mode()
def fit(
    decoder: Decoder,
    block: Block,
    calibration: Sequence[Sequence[int]],
    selection: Sequence[Sequence[int]],
    on_progress: OnProgress = ignore,
) -> Junction:
    """Fit the change that makes up for a removed block, in one pass over the text.

    Args:
        decoder: the unpruned model; it is not changed.
        block: the block that is to be removed.
        calibration: token ids to fit on.
        selection: token ids of another kind of text than `calibration`, on which the strength is chosen.
        on_progress: told about every batch; may raise `Cancelled`.

    Raises:
        RecipeError: when there is no layer before the block, or the family is not one that can be healed.
    """
    block.check(decoder.n_layers)
    began = time.perf_counter()
    name, module = _place(decoder, block)
    n_out = decoder.config.hidden_size
    n_in = n_out if module is None else _features(module)
    first, rest = _Sums.none(n_in, n_out), _Sums.none(n_in, n_out)
    groups = batches([len(ids) for ids in calibration], tokens_per_batch(decoder.device))
    for done, group in enumerate(groups):
        on_progress(Progress("fitting the junction", done, len(groups) + 2 * len(STRENGTHS) + 1))
        features, before, behind, real = _streams(decoder, module, block, [calibration[index] for index in group])
        weight = 1 / before.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        features, targets = features * weight, (behind - before) * weight
        first.add(features[:, 0], targets[:, 0])
        rest.add(features[:, 1:][real[:, 1:]], targets[:, 1:][real[:, 1:]])
    # The first position holds the attention sink, unlike all others: it helps some cuts to fit it too, and harms others.
    both = _Sums(first.gram + rest.gram, first.cross + rest.cross)
    candidates = [(strength, change) for change in (rest.solve(), both.solve()) for strength in STRENGTHS]
    changes = [torch.zeros(n_out, n_in), *(strength * change for strength, change in candidates)]

    def tried(share: float) -> None:
        on_progress(Progress("fitting the junction", len(groups) + int(share * len(changes)), len(groups) + len(changes)))

    losses = _losses(decoder, block, module, changes, selection, tried)
    chosen = losses.index(min(losses))  # the first of equals: where nothing helps, no change
    strength = 0.0 if chosen == 0 else candidates[chosen - 1][0]
    report = JunctionReport(
        module=name,
        strength=strength,
        loss_before=losses[0],
        loss_after=losses[chosen],
        n_tokens=sum(map(len, calibration)),
        wall_s=time.perf_counter() - began,
    )
    return Junction(changes[chosen], report)


def _place(decoder: Decoder, block: Block) -> tuple[str, nn.Module | None]:
    """The projection to change, by name, or none for a bridge."""
    try:
        return output_projection(decoder, block)
    except _NothingAdds:
        return "", None


def check_start(block: Block) -> None:
    """See to it that there is a layer before the block.

    Raises:
        RecipeError: when there is none.
    """
    if block.start == 0:
        raise RecipeError(
            "An instant heal changes the layer before the cut, and there is none before layer 0; choose another block, or heal "
            "without the instant start."
        )


def output_projection(decoder: Decoder, block: Block) -> tuple[str, nn.Module]:
    """The linear module whose output the layer before a block adds to the stream last, by name.

    Raises:
        RecipeError: when there is no such layer, or what the module puts out is not what is added.
    """
    check_start(block)
    layer = decoder.layers[block.start - 1]
    paths = {module: name for name, module in decoder.model.named_modules()}
    inside = {paths[module] for module in layer.modules()}
    for name in reversed([name for name in feed_forward_modules(decoder) if name in inside]):
        module = decoder.model.get_submodule(name)
        if _adds_to_stream(decoder, layer, module):
            return name, module
    raise _NothingAdds(
        f"No feed-forward projection of this {decoder.config.model_type} model adds to the residual stream as it is (a norm or "
        f"a scale stands between), so an instant heal cannot be folded into it; heal by training instead."
    )


def _adds_to_stream(decoder: Decoder, layer: nn.Module, module: nn.Module) -> bool:
    """Whether adding to the module's output adds the very same to the stream behind the layer, tried out."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, args, output: seen.append(output_stream(output)))
    ids = torch.arange(3, 11, device=decoder.device)[None] % max(4, decoder.config.vocab_size)
    try:
        decoder.body(input_ids=ids, use_cache=False)
        # As large as the stream itself, so that it is not lost in the rounding of a half-precision model.
        scale = seen[0].float().abs().mean()
        bump = scale * torch.linspace(-1, 1, decoder.config.hidden_size, device=scale.device)
        with _added(module, lambda inputs: bump.expand(*inputs.shape[:-1], -1)):
            decoder.body(input_ids=ids, use_cache=False)
    except RuntimeError:  # the shapes do not fit: this projection does not lead into the stream
        return False
    finally:
        handle.remove()
    before, after = (stream.float() for stream in seen)
    rounding = 4 * torch.finfo(seen[0].dtype).eps * torch.maximum(before.abs(), after.abs())
    return bool(((after - before - bump).abs() <= 2e-2 * scale + rounding).all())


def _streams(
    decoder: Decoder, module: nn.Module | None, block: Block, sequences: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The projection's input (x[start] without one), x[start] and x[stop], float32, and which positions are real.

    All of them are where the layer behind the block is.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        found[name] = value.float()

    def behind(value: Tensor) -> None:
        keep("behind", value)
        raise _Reached

    layers = decoder.layers
    watched = [] if module is None else [module.register_forward_pre_hook(lambda _, args: keep("features", args[0]))]
    handles = [
        *watched,
        layers[block.start].register_forward_pre_hook(lambda _, a, k: keep("before", input_stream(a, k)), with_kwargs=True),
    ]
    if block.stop < decoder.n_layers:
        handles.append(
            layers[block.stop].register_forward_pre_hook(lambda _, a, k: behind(input_stream(a, k)), with_kwargs=True)
        )
    else:
        handles.append(layers[-1].register_forward_hook(lambda _, args, output: behind(output_stream(output))))
    try:
        with contextlib.suppress(_Reached):
            decoder.body(input_ids=right_padded(sequences).to(decoder.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    longest = max(map(len, sequences))
    real = torch.tensor([[position < len(ids) for position in range(longest)] for ids in sequences])
    features = found.get("features", found["before"]).reshape(
        *real.shape, -1
    )  # OPT runs its feed-forward part on all tokens in one row
    device = found["behind"].device
    return features.to(device), found["before"].to(device), found["behind"], real.to(device)


def _losses(
    decoder: Decoder,
    block: Block,
    module: nn.Module | None,
    changes: Sequence[Tensor],
    texts: Sequence[Sequence[int]],
    on_tried: Callable[[float], None],
) -> list[float]:
    """Loss per token of the cut model with each change, all from one pass up to the cut.

    What the projection puts out more, the stream in front of the block has more: `_adds_to_stream` tried it.

    Args:
        decoder: the unpruned model.
        block: what is cut.
        module: the projection that is changed; None where it is the stream.
        changes: as `Junction.change`.
        texts: token ids.
        on_tried: told the share that is done.
    """
    nats = [0.0] * len(changes)
    seen: list[Tensor] = []
    batches_of_texts = likelihood.text_batches(decoder, texts)
    for done, group in enumerate(batches_of_texts):
        sequences = [texts[index] for index in group]
        watched = [] if module is None else [module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))]
        try:
            trunk = run_trunk(decoder, right_padded(sequences), keep={block.start})
        finally:
            for handle in watched:
                handle.remove()
        stream = trunk.states[block.start]
        features = (stream if module is None else seen.pop()).reshape(*stream.shape[:2], -1).float()
        for number, change in enumerate(changes):
            on_tried((done + number / len(changes)) / len(batches_of_texts))
            moved = stream + (features @ change.to(features.device).T).to(stream)
            ((_, behind),) = run_tails(decoder, Trunk({block.start: moved}, trunk.calls), [block])
            losses = likelihood.batch_losses(decoder, behind, sequences)
            nats[number] += sum(loss * (len(ids) - 1) for loss, ids in zip(losses, sequences, strict=True))
    return [total / sum(len(ids) - 1 for ids in texts) for total in nats]


@contextlib.contextmanager
def _added(module: nn.Module, extra: Any) -> Iterator[None]:
    """Add `extra(inputs)` to what a module puts out."""

    def add(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output + extra(args[0]).to(output.dtype)

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _features(module: Any) -> int:
    return int(module.weight.shape[0] if isinstance(module, Conv1D) else module.in_features)
