"""The pre-norm residual stream x[0..L], read with hooks on the decoder layers."""

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
from analysis.models.architecture.decoder import (
    Decoder,
    input_stream,
    other_arguments,
    output_stream,
)
from analysis.models.architecture.streams import StreamCache
from analysis.models.running import layer_streaming
from analysis.models.running.layer_streaming import Inputs, OnStep, Scratch, removed_parts, through
from analysis.models.running.pruning import without_block


def tokens_per_batch(device: torch.device) -> int:
    """Return the number of tokens per forward pass: enough to use the device, and few enough to
    cancel within a second.
    """
    return 1024 if device.type == "cpu" else 16384


@contextlib.contextmanager
def _hooks(decoder: Decoder, on_input: Any, on_last_output: Any) -> Iterator[None]:
    """Call `on_input(layer index, args, kwargs)` before every layer and `on_last_output(x[L])`
    after the last one.
    """
    handles = []
    for index, layer in enumerate(decoder.layers):

        def before(
            module: nn.Module, args: Any, kwargs: Any, index: int = index
        ) -> tuple[Any, Any]:
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
    """Call a function before every layer. An exception ends the pass."""
    handles = [
        layer.register_forward_pre_hook(lambda module, args: call()) for layer in decoder.layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group sequences into batches of at most `budget` padded tokens, longest first to reduce
    padding.

    Returns:
        Indices into `lengths`, each once.
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
    """Return token ids as a right-padded (batch, longest) tensor.

    It needs no attention mask, because under a causal mask no token attends to padding on its
    right.
    """
    longest = max(len(sequence) for sequence in sequences)
    return torch.tensor(
        [[*sequence, *[sequence[-1]] * (longest - len(sequence))] for sequence in sequences]
    )


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; from the CPU to a GPU through pinned memory, without waiting."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@torch.inference_mode()
def token_streams(decoder: Decoder, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return x[0..L] at every token of a batch, from one forward pass without the head.

    Args:
        decoder: the model.
        sequences: token ids of one batch.

    Returns:
        L+1 tensors (n_tokens, hidden_size), in the dtype and on the device of the model. They
        contain the tokens of all sequences in order, without padding. x[L] is before the final
        norm.
    """
    padded = right_padded(sequences)
    real = _real(sequences)
    real_on = functools.cache(
        functools.partial(sent, real)
    )  # once per device instead of once per layer
    streams: list[Tensor] = []

    def keep(stream: Tensor) -> None:
        streams.append(stream.flatten(0, 1)[real_on(stream.device)])

    with _hooks(decoder, lambda index, args, kwargs: keep(input_stream(args, kwargs)), keep):
        decoder.body(input_ids=sent(padded, decoder.device), use_cache=False)
    return streams


def _real(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Return the flat indices of the tokens of a right-padded batch, without padding."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return (torch.arange(int(lengths.max())) < lengths[:, None]).flatten().nonzero()[:, 0]


def all_token_streams(
    decoder: Decoder,
    groups: Sequence[Sequence[Sequence[int]]],
    on_step: OnStep = lambda done, total: None,
) -> Iterator[list[Tensor]]:
    """Yield `token_streams` of each batch. If the layers are on disk, all batches share one
    reading.

    Args:
        decoder: the model.
        groups: token ids of each batch.
        on_step: called for each layer if the layers are on disk; may raise `Cancelled`.
    """
    if decoder.on_disk is None:
        for sequences in groups:
            yield token_streams(decoder, sequences)
        return
    if not groups:
        return  # without reading all layers
    inputs = [Inputs(right_padded(sequences), [None], every_depth=True) for sequences in groups]
    streams: list[Tensor] = []
    for number, _, stream in finals(decoder, inputs, on_step):
        streams.append(stream.flatten(0, 1)[_real(groups[number])])
        if len(streams) > decoder.n_layers:
            yield streams
            streams = []


def _scratch(decoder: Decoder, inputs: Sequence[Inputs]) -> Scratch:
    """Return the scratch files of these batches, with a key of all their inputs."""
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
    """Return x[0..L] at the last token of each sequence.

    Args:
        streams: output of `token_streams`.
        lengths: number of tokens of each sequence.

    Returns:
        (batch, L+1, hidden_size), float32, on the CPU.
    """
    last_on = functools.cache(functools.partial(sent, torch.tensor(lengths).cumsum(0) - 1))
    # On the first device, so that the CPU waits for one copy instead of one per depth.
    return (
        torch.stack(
            [stream[last_on(stream.device)].to(streams[0].device) for stream in streams], dim=1
        )
        .float()
        .cpu()
    )


@dataclass(frozen=True)
class Trunk:
    """A forward pass of the unpruned model with its stored streams, from which pruned models
    continue.
    """

    states: dict[int, Tensor]
    """x[l] at the requested depths, (batch, seq, hidden_size)."""
    calls: list[tuple[tuple, dict]]
    """Other arguments of each layer: masks, rotary tables, positions."""


@torch.inference_mode()
def run_trunk(
    decoder: Decoder, input_ids: Tensor, *, keep: set[int], **body_arguments: Any
) -> Trunk:
    """Run the unpruned body once and store x[l] at the depths in `keep` (0..L; x[L] is before the
    final norm).

    Args:
        decoder: the model.
        input_ids: (batch, seq).
        keep: depths to store.
        body_arguments: attention_mask and position_ids, unless they are the plain causal ones.
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
    """Yield x[L] of every batch for each of its cuts, identical to that of the pruned model.

    With the model in memory, batches are taken from `inputs` one after the other, and the cuts of a
    batch share one trunk. For a single cut the pruned model itself runs, if layers can be removed.
    If the layers are on disk, all batches share one reading.

    Args:
        decoder: the unpruned model; it is not changed.
        inputs: the batches.
        on_step: called for each layer if the layers are on disk; may raise `Cancelled`.

    Yields:
        (index of the batch, index into its cuts, (batch, seq, hidden_size) before the final norm),
        in no particular order. The second index of a batch with `every_depth` is the depth, 0..L.
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
    """Return the depths at which these cuts begin, which `run_trunk` must store for `run_tails`."""
    return {n_layers if cut is None else cut.start for cut in cuts}


@torch.inference_mode()
def run_tails(
    decoder: Decoder,
    trunk: Trunk,
    cuts: Sequence[Removal | None],
    cache: StreamCache | None = None,
    batch: int = 0,
) -> Iterator[tuple[int, Tensor]]:
    """Yield x[L] of the pruned model for each cut, from the stored streams, with as few layer
    passes as possible.

    It is identical to the forward pass of the pruned model. A cut uses the unpruned stream up to
    its first removed layer. Cuts with the same removed layers up to a depth share one stream up to
    that depth.

    Args:
        decoder: the unpruned model; it is not changed.
        trunk: pass with x[cut.start] of every cut, and x[L] for None.
        cuts: removed layers and sublayers; None for the unpruned model.
        cache: streams of earlier cuts, which are reused and extended.
        batch: index of the batch in `cache`.

    Yields:
        (index into `cuts`, (batch, seq, hidden_size) before the final norm), in no particular
        order.
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
        cached = cache and cache.deepest(
            batch, removed_by_cut[index], range(cut.start + 1, decoder.n_layers + 1)
        )
        start, stream = cached or (cut.start, trunk.states[cut.start])
        started.setdefault(id(stream), (start, stream, []))[2].append(index)

    def keep(depth: int, removed: frozenset[Part], stream: Tensor) -> None:
        if cache is not None:
            cache.keep(batch, depth, removed, stream)

    for start, stream, group in started.values():
        yield from _tails(decoder, trunk, removed_by_cut, stream, start, group, keep)


@torch.inference_mode()
def carried(decoder: Decoder, trunk: Trunk, depth: int, cut: Removal | None) -> Tensor:
    """Return x[L], (batch, seq, hidden_size), from the stored stream at a depth.

    Args:
        decoder: the model of the trunk; it is not changed.
        trunk: pass with x[depth].
        depth: 0..L.
        cut: layers and sublayers to skip after the depth; None for none.
    """
    sublayers.check(decoder, [cut])
    states = trunk.states[depth]
    ((_, stream),) = _tails(
        decoder, trunk, removed_parts([cut]), states, depth, [0], lambda *_: None
    )
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
    """Run the shared stream of the cuts in `group` from `depth` on, branching if they differ."""
    for index in range(depth, decoder.n_layers):
        by_loss: dict[frozenset[str], list[int]] = {}
        for cut in group:
            by_loss.setdefault(sublayers.lost(removed_by_cut[cut], index), []).append(cut)
        # Cuts that keep this layer stay in this stream. The others branch and run to the end.
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
    """Return the number of layer passes of `finals` for a batch, the minimum for exact results.

    A layer runs once for every distinct set of removed parts up to it. The trunk is not needed for
    a single cut.
    """
    distinct = set(removed_parts(cuts))
    passes = (
        {(layer, frozenset[Part]()) for layer in range(n_layers)} if len(distinct) > 1 else set()
    )
    for removed in distinct:
        kept = [
            layer for layer in range(n_layers) if sublayers.lost(removed, layer) != sublayers.BOTH
        ]
        for layer in kept:
            passes.add((layer, frozenset(part for part in removed if part[0] <= layer)))
    return len(passes)
