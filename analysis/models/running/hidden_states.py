"""The pre-norm residual stream x[0..L], read with hooks on the decoder layers of an unmodified model."""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from analysis.core.blocks import Part, Removal
from analysis.models.architecture import residual, sublayers
from analysis.models.architecture.decoder import Decoder, input_stream, other_arguments, output_stream
from analysis.models.architecture.streams import StreamCache
from analysis.models.running import layer_streaming
from analysis.models.running.layer_streaming import Inputs, OnStep, Scratch, removed_parts, through
from analysis.models.running.pruning import without_block


def tokens_per_batch(device: torch.device) -> int:
    """Tokens in one forward pass: enough to keep the device busy, and few enough that a cancel is heard within a second."""
    return 1024 if device.type == "cpu" else 16384


@contextlib.contextmanager
def _hooks(decoder: Decoder, on_input: Any, on_last_output: Any) -> Iterator[None]:
    """Call `on_input(layer index, args, kwargs)` before every layer and `on_last_output(x[L])` after the last one."""
    handles = []
    for index, layer in enumerate(decoder.layers):

        def before(module: nn.Module, args: Any, kwargs: Any, index: int = index) -> tuple[Any, Any]:
            if index == 0:
                args, kwargs = residual.entering(decoder, args, kwargs)
            on_input(index, args, kwargs)
            return args, kwargs

        handles.append(layer.register_forward_pre_hook(before, with_kwargs=True))

    def after(module: nn.Module, args: Any, output: Any) -> None:
        on_last_output(output_stream(output))

    handles.append(decoder.layers[-1].register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def before_each_layer(decoder: Decoder, call: Callable[[], None]) -> Iterator[None]:
    """Call something before every layer that runs; an exception of it ends the run."""
    handles = [layer.register_forward_pre_hook(lambda module, args: call()) for layer in decoder.layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group sequences into batches of at most `budget` padded tokens, longest first so that padding is small.

    Returns:
        Indices into `lengths`; every index once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    groups: list[list[int]] = []
    for index in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def right_padded(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Token ids as one (batch, longest) tensor.

    Right padding needs no attention mask here: under a causal mask no real token attends to tokens on its right.
    """
    longest = max(len(sequence) for sequence in sequences)
    return torch.tensor([[*sequence, *[sequence[-1]] * (longest - len(sequence))] for sequence in sequences])


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; from the host to a GPU through pinned memory, so that the host does not wait for the copy."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@torch.inference_mode()
def token_streams(decoder: Decoder, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
    """x[0..L] at every real token of a batch, from one forward pass without the vocabulary head.

    Args:
        decoder: the model, taken apart.
        sequences: token ids of one batch.

    Returns:
        L+1 tensors (n_tokens, hidden_size), in the model's dtype and on its device. They hold the tokens of one sequence after
        another, without padding. x[L] is taken before the final norm.
    """
    padded, real = right_padded(sequences), _real(sequences)
    real_on = functools.cache(functools.partial(sent, real))  # once a device, not once a layer
    streams: list[Tensor] = []

    def keep(stream: Tensor) -> None:
        streams.append(stream.flatten(0, 1)[real_on(stream.device)])

    with _hooks(decoder, lambda index, args, kwargs: keep(input_stream(args, kwargs)), keep):
        decoder.body(input_ids=sent(padded, decoder.device), use_cache=False)
    return streams


def _real(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Flat indices of the tokens of a right-padded batch that are no padding."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return (torch.arange(int(lengths.max())) < lengths[:, None]).flatten().nonzero()[:, 0]


def all_token_streams(
    decoder: Decoder, groups: Sequence[Sequence[Sequence[int]]], on_step: OnStep = lambda done, total: None
) -> Iterator[list[Tensor]]:
    """`token_streams` of one batch after another; of a model that is read layer by layer they all go through it together.

    Args:
        decoder: the model, taken apart.
        groups: token ids of each batch.
        on_step: receives a report per layer if layers are on the disk; may raise `Cancelled`.
    """
    if decoder.on_disk is None:
        for sequences in groups:
            yield token_streams(decoder, sequences)
        return
    if not groups:
        return  # or all layers would be read for nothing
    inputs = [Inputs(right_padded(sequences), [None], every_depth=True) for sequences in groups]
    streams: list[Tensor] = []
    for number, _, stream in finals(decoder, inputs, on_step):
        streams.append(stream.flatten(0, 1)[_real(groups[number])])
        if len(streams) > decoder.n_layers:
            yield streams
            streams = []


def _scratch(decoder: Decoder, inputs: Sequence[Inputs]) -> Scratch:
    """Location of the streams of these batches, under a key of all that they depend on."""
    assert decoder.on_disk is not None
    key = hashlib.sha256(decoder.on_disk.identity.encode())
    for batch in inputs:
        key.update(repr((list(batch.cuts), batch.every_depth, batch.ids.tolist())).encode())
        for name, value in sorted(batch.arguments.items()):
            for mask in [value] if isinstance(value, Tensor) else value.values():
                key.update(f"{name} {tuple(mask.shape)}".encode())
                key.update(mask.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return Scratch(key.hexdigest()[:20], memory_bytes=decoder.on_disk.room_bytes)


def last_token_states(streams: Sequence[Tensor], lengths: Sequence[int]) -> Tensor:
    """x[0..L] at the last real token of each sequence.

    Args:
        streams: as `token_streams` returns them.
        lengths: tokens of each sequence.

    Returns:
        (batch, L+1, hidden_size), float32, on the CPU.
    """
    last_on = functools.cache(functools.partial(sent, torch.tensor(lengths).cumsum(0) - 1))
    # Together on the first device, so that the host waits for one copy and not for one of every depth.
    return torch.stack([stream[last_on(stream.device)].to(streams[0].device) for stream in streams], dim=1).float().cpu()


@dataclass(frozen=True)
class Trunk:
    """One forward pass of the whole model, remembered so that any block can be left out of it afterwards."""

    states: dict[int, Tensor]
    """x[l] for the depths that were asked to be kept, (batch, seq, hidden_size)."""
    calls: list[tuple[tuple, dict]]
    """Per layer, the family's arguments beside the states: masks, rotary tables, positions."""


@torch.inference_mode()
def run_trunk(decoder: Decoder, input_ids: Tensor, *, keep: set[int], **body_arguments: Any) -> Trunk:
    """Run the unpruned body once and keep x[l] at the depths in `keep` (0..L; L is before the final norm).

    Args:
        decoder: the model, taken apart.
        input_ids: (batch, seq).
        keep: depths to remember.
        body_arguments: attention_mask and position_ids, when they are not the plain causal ones.
    """
    states: dict[int, Tensor] = {}
    calls: list[tuple[tuple, dict]] = []

    def before(index: int, args: Any, kwargs: Any) -> None:
        if index in keep:
            states[index] = input_stream(args, kwargs)
        calls.append(other_arguments(args, kwargs))

    def after(stream: Tensor) -> None:
        if decoder.n_layers in keep:
            states[decoder.n_layers] = stream

    with _hooks(decoder, before, after):
        decoder.body(input_ids=sent(input_ids, decoder.device), use_cache=False, **body_arguments)
    return Trunk(states, calls)


def finals(
    decoder: Decoder, inputs: Iterable[Inputs], on_step: OnStep = lambda done, total: None
) -> Iterator[tuple[int, int, Tensor]]:
    """x[L] of every batch without each of its cuts: exactly that of the really cut model.

    With the whole model in memory one batch after another is taken from `inputs`, and its cuts share one trunk. A single cut
    needs no unpruned stream, so the pruned model itself runs, if layers can be removed. Of a model that is read layer by
    layer all batches go through it together, so that each weight is read once.

    Args:
        decoder: the unpruned model; it is not changed.
        inputs: the batches.
        on_step: receives a report per layer if layers are on the disk; may raise `Cancelled`.

    Yields:
        (number of the batch, index into its cuts, (batch, seq, hidden_size) before the final norm); every cut of a batch once,
        in no particular order. Of a batch that is wanted at every depth the index is the depth, 0..L.
    """
    if decoder.on_disk is not None:
        together = list(inputs)
        yield from layer_streaming.finals(decoder, together, _scratch(decoder, together), on_step)
        return
    for number, batch in enumerate(inputs):
        if len(set(batch.cuts)) == 1 and (batch.cuts[0] is None or decoder.why_not_apart() is None):
            with without_block(decoder, batch.cuts[0]):
                last = decoder.n_layers
                stream = run_trunk(decoder, batch.ids, keep={last}, **batch.arguments).states[last]
            yield from ((number, index, stream) for index in range(len(batch.cuts)))
            continue
        depths = tail_depths(batch.cuts, decoder.n_layers)
        trunk = run_trunk(decoder, batch.ids, keep=depths, **batch.arguments)
        for index, stream in run_tails(decoder, trunk, batch.cuts):
            yield number, index, stream


def tail_depths(cuts: Sequence[Removal | None], n_layers: int) -> set[int]:
    """Depths at which the tails of these removals begin: those that `run_trunk` must keep for `run_tails`."""
    return {n_layers if cut is None else cut.start for cut in cuts}


@torch.inference_mode()
def run_tails(
    decoder: Decoder,
    trunk: Trunk,
    cuts: Sequence[Removal | None],
    cache: StreamCache | None = None,
    batch: int = 0,
) -> Iterator[tuple[int, Tensor]]:
    """x[L] of the model without each cut, from the kept streams: every layer runs as rarely as exact results allow.

    Identical to the forward pass of the really cut model. Up to its first removed layer a cut reads the unpruned stream. Cuts
    that agree on their removed layers up to some depth share one stream up to there.

    Args:
        decoder: the unpruned model; it is not changed.
        trunk: a pass that kept x[cut.start] of every cut, and x[L] if None is among them.
        cuts: the removed layers and parts of each; None is the unpruned model.
        cache: streams of cuts that were run before: these continue from them, and theirs are kept there.
        batch: number of the trunk's batch in `cache`.

    Yields:
        (index into `cuts`, (batch, seq, hidden_size) before the final norm), each cut once, in no particular order.
    """
    if any(cut is not None for cut in cuts):
        decoder.check_states_are_own()
    sublayers.check(decoder, cuts)
    removed_by_cut = removed_parts(cuts)
    started: dict[int, tuple[int, Tensor, list[int]]] = {}
    for index, cut in enumerate(cuts):
        if cut is None:
            yield index, trunk.states[decoder.n_layers]
            continue
        cached = cache and cache.deepest(batch, removed_by_cut[index], range(cut.start + 1, decoder.n_layers + 1))
        start, stream = cached or (cut.start, trunk.states[cut.start])
        started.setdefault(id(stream), (start, stream, []))[2].append(index)

    def keep(depth: int, removed: frozenset[Part], stream: Tensor) -> None:
        if cache is not None:
            cache.keep(batch, depth, removed, stream)

    for start, stream, group in started.values():
        yield from _tails(decoder, trunk, removed_by_cut, stream, start, group, keep)


@torch.inference_mode()
def carried(decoder: Decoder, trunk: Trunk, depth: int, cut: Removal | None) -> Tensor:
    """x[L], (batch, seq, hidden_size), from the stream that a trunk keeps at a depth.

    Args:
        decoder: the model that the trunk is of; it is not changed.
        trunk: keeps x[depth].
        depth: 0..L.
        cut: the layers and parts to leave out behind it; None for nothing.
    """
    sublayers.check(decoder, [cut])
    states = trunk.states[depth]
    ((_, stream),) = _tails(decoder, trunk, removed_parts([cut]), states, depth, [0], lambda *_: None)
    return stream


def _tails(
    decoder: Decoder,
    trunk: Trunk,
    removed_by_cut: Sequence[frozenset[Part]],
    stream: Tensor,
    depth: int,
    group: list[int],
    keep: Callable[[int, frozenset[Part], Tensor], None],
) -> Iterator[tuple[int, Tensor]]:
    """Run the stream that the removals of `group` share from `depth` on, branching where they differ."""
    for index in range(depth, decoder.n_layers):
        by_loss: dict[frozenset[str], list[int]] = {}
        for cut in group:
            by_loss.setdefault(sublayers.lost(removed_by_cut[cut], index), []).append(cut)
        # Those that lose nothing here stay in this stream; each other kind of loss is carried to the end by itself.
        loses = frozenset[str]() if frozenset() in by_loss else next(iter(by_loss))
        group = by_loss.pop(loses)
        for cuts in by_loss.values():
            yield from _tails(decoder, trunk, removed_by_cut, stream, index, cuts, keep)
        if loses != sublayers.BOTH:
            stream = through(decoder, index, stream, *trunk.calls[index], loses=loses)
            keep(index + 1, removed_by_cut[group[0]], stream)
    for cut in group:
        yield cut, stream


def layer_passes(cuts: Sequence[Removal | None], n_layers: int) -> int:
    """How many layers `finals` runs for a batch: the fewest that give every cut's exact x[L].

    Every distinct set of removed parts up to a layer that keeps one needs that layer run once. The unpruned one is the trunk,
    which a single cut does not need.
    """
    distinct = set(removed_parts(cuts))
    passes = {(layer, frozenset[Part]()) for layer in range(n_layers)} if len(distinct) > 1 else set()
    for removed in distinct:
        kept = [layer for layer in range(n_layers) if sublayers.lost(removed, layer) != sublayers.BOTH]
        passes |= {(layer, frozenset(part for part in removed if part[0] <= layer)) for layer in kept}
    return len(passes)
