"""Distance of a pruned model from the unpruned one, on some texts: exact, without storing the
unpruned distribution.

The divergence at a position is `KL(p, q) = -H(p) - sum_v p_v z_v + log sum_v exp(z_v)`, p of the
unpruned model and z the logits of the pruned one. Logits are linear in the normed state h, `z_v = h
. w_v`, so the middle term is `h . m` with `m = sum_v p_v w_v`. That is one vector of the model's
width per position, computed once. So p is not stored, and the unpruned model is not computed again:
a cut costs one pass through the head, as its loss does.

To keep rounding errors small, it is computed from the log-probability of the token r that is most
likely under p: `KL = h . (w_r - m) - H(p) - log q_r`. If p is one for the next token, that is the
loss, the other objective. For a family whose head is not linear, for example with capped logits,
complete rows of both are compared.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.core.blocks import Removal, removal
from analysis.experiments.strategies import Layers
from analysis.models.architecture import families, float32_products
from analysis.models.architecture.decoder import Decoder
from analysis.models.architecture.streams import StreamCache
from analysis.models.running import head
from analysis.models.running.hidden_states import (
    Trunk,
    batches,
    right_padded,
    run_tails,
    run_trunk,
    sent,
    tail_depths,
    tokens_per_batch,
)

_PIECE = 4096
"""Rows of the head that are converted to float32 at once."""


def counted(length: int, stride: int) -> range:
    """Return the positions of a text whose predictions count: every `stride`-th, including the
    last.
    """
    return range((length - 2) % stride, length - 1, stride)


def looks(n_texts: int, first: int) -> tuple[int, int, int]:
    """Return the numbers of texts of the three stages of measurement: the first few, half, all."""
    quick = min(first, n_texts)
    return quick, max(quick, n_texts // 2), n_texts


@dataclass
class _ObjectiveBatch:
    """Texts that go through the model together, and the unpruned model's terms of the objective
    there.
    """

    ids: Tensor
    texts: list[int]
    where: Tensor
    """Flat indices (row * seq + place) of the positions that count."""
    text_of: Tensor
    """Row of each position."""
    tokens: Tensor
    """Token r of each position, on the device of the head."""
    gap: Tensor | None
    """w_r - m of each position, float64, (n_positions, hidden); None if it is zero, or if rows are
    compared."""
    offset: Tensor
    """Added constant of each position, float64: the head's bias at r minus its mean under p, minus
    the entropy of p."""
    teacher: Tensor | None
    """Normed states of the unpruned model, if rows are compared."""
    trunk: Trunk | None
    """Streams of the unpruned model at every depth, if they are kept."""


class Objective:
    """The objective on some texts, for any sets of removed layers."""

    def __init__(
        self,
        decoder: Decoder,
        texts: Sequence[Sequence[int]],
        *,
        kind: str,
        stride: int,
        ends: Sequence[int] = (),
        keep_bytes: int,
    ) -> None:
        """Run the unpruned model once.

        Args:
            decoder: The model; it is not changed.
            texts: Token ids of texts, at least two each.
            kind: "kl" or "loss".
            stride: Step between predictions that count; the last one of a text always counts.
            ends: places in the texts that no batch crosses, ascending, so that the texts before
                them are measured alone.
            keep_bytes: streams that may be kept: the unpruned model's first, then those of cuts,
                from which later ones resume.
        """
        self._decoder = decoder
        self._texts = texts
        self._kind = kind
        self._stride = stride
        self._is_linear = (
            float32_products.is_plain(decoder.head)
            and families.first(decoder.config, decoder.family.logits_cap) is None
        )
        self.n_texts = len(texts)
        budget = tokens_per_batch(decoder.device)
        groups = []
        for begin, end in itertools.pairwise((0, *ends, len(texts))):
            lengths = [len(ids) for ids in texts[begin:end]]
            groups += [[begin + index for index in group] for group in batches(lengths, budget)]
        bytes_per_token = (
            decoder.config.hidden_size
            * next(decoder.layers.parameters()).element_size()
            * (decoder.n_layers + 1)
        )
        self._batches = []
        for group in groups:
            size = len(group) * max(len(texts[text]) for text in group) * bytes_per_token
            self._batches.append(self._prepared(group, is_kept=size <= keep_bytes))
            keep_bytes -= size if self._batches[-1].trunk is not None else 0
        self._lanes = StreamCache(keep_bytes)

    @torch.inference_mode()
    def _prepared(self, group: list[int], *, is_kept: bool) -> _ObjectiveBatch:
        decoder = self._decoder
        ids = right_padded([self._texts[text] for text in group])
        depths = set(range(decoder.n_layers + 1)) if is_kept else {decoder.n_layers}
        trunk = run_trunk(decoder, ids, keep=depths)
        places = [counted(len(self._texts[text]), self._stride) for text in group]
        flat = torch.tensor(
            [
                row * ids.shape[1] + position
                for row, positions in enumerate(places)
                for position in positions
            ]
        )
        rows = torch.tensor([row for row, positions in enumerate(places) for _ in positions])
        stream = trunk.states[decoder.n_layers]
        states = decoder.norm(stream.flatten(0, 1)[sent(flat, stream.device)]).to(
            decoder.head_device
        )
        following = sent(ids.flatten()[flat + 1], decoder.head_device)
        batch = _ObjectiveBatch(
            ids,
            group,
            flat,
            rows,
            following,
            None,
            torch.zeros(len(flat), dtype=torch.float64),
            None,
            None,
        )
        if is_kept:
            batch.trunk = trunk
        if self._kind == "kl" and self._is_linear:
            self._fill(batch, states)
        elif self._kind == "kl":
            batch.teacher = states
        return batch

    def _scale(self) -> float:
        """Return the family's factor of the logits."""
        return float(self._decoder.scaled(torch.ones(1)))

    def _fill(self, batch: _ObjectiveBatch, states: Tensor) -> None:
        """Compute m, r and the entropy of p at every position, in chunks of positions."""
        assert isinstance(self._decoder.head, nn.Linear), "a head of another kind has rows compared"
        weight = self._decoder.head.weight
        bias = self._decoder.head.bias
        gaps = []
        offsets = []
        top_tokens = []
        for chunk in states.split(self._decoder.states_at_once):
            z = torch.cat(
                [chunk.float() @ piece.float().T for piece in weight.split(_PIECE)], dim=1
            )
            if bias is not None:
                z += bias.float()
            log_p = self._decoder.scaled(z).double().log_softmax(-1)  # in float64, once per search
            p = log_p.exp()
            mean = torch.zeros(len(chunk), weight.shape[1], dtype=torch.float64, device=z.device)
            for part, piece in zip(p.split(_PIECE, dim=1), weight.split(_PIECE), strict=True):
                mean += (part.float() @ piece.float()).double()
            r = log_p.argmax(-1)
            gaps.append((weight[r].double() - mean) * self._scale())
            entropy = -(p * log_p).sum(-1)
            added = 0.0 if bias is None else (bias[r].double() - p @ bias.double()) * self._scale()
            offsets.append((added - entropy).cpu())
            top_tokens.append(r)
        batch.gap = torch.cat(gaps)
        batch.offset = torch.cat(offsets)
        batch.tokens = torch.cat(top_tokens)

    @torch.inference_mode()
    def measured(
        self, sets: Sequence[Layers], begin: int = 0, end: int | None = None
    ) -> Iterator[tuple[int, list[int], list[float]]]:
        """Yield the objective without each set, batch by batch.

        A value does not depend on the other sets, since each cut runs its own products.

        Args:
            sets: removed layers; none of them for the unpruned model.
            begin, end: the texts to measure on, which batches do not cross; all of them by default.

        Yields:
            (index into `sets`, texts of a batch, the mean over the positions of each that count,
            nats).
        """
        cuts: list[Removal | None] = [removal(layers) if layers else None for layers in sets]
        for number, batch in enumerate(self._batches):
            if not begin <= batch.texts[0] < (self.n_texts if end is None else end):
                continue
            trunk = batch.trunk or run_trunk(
                self._decoder, batch.ids, keep=tail_depths(cuts, self._decoder.n_layers)
            )
            for index, stream in run_tails(self._decoder, trunk, cuts, self._lanes, number):
                yield index, batch.texts, self._of_batch(batch, stream)

    def _of_batch(self, batch: _ObjectiveBatch, stream: Tensor) -> list[float]:
        decoder = self._decoder
        states = decoder.norm(stream.flatten(0, 1)[sent(batch.where, stream.device)]).to(
            decoder.head_device
        )
        if batch.teacher is not None:
            values = self._of_rows(batch.teacher, states)
        else:
            indices = torch.arange(len(states), device=decoder.head_device)
            values = batch.offset - head.log_probabilities(decoder, states, indices, batch.tokens)
            if batch.gap is not None:
                values = values + (states.double() * batch.gap).sum(-1).cpu()
        sums = torch.zeros(len(batch.texts), dtype=torch.float64).index_add_(
            0, batch.text_of, values
        )
        return (sums / torch.bincount(batch.text_of, minlength=len(batch.texts))).tolist()

    def _of_rows(self, teacher: Tensor, states: Tensor) -> Tensor:
        values = []
        at_once = self._decoder.states_at_once
        for unpruned, pruned in zip(teacher.split(at_once), states.split(at_once), strict=True):
            log_p, log_q = (
                self._decoder.logits(chunk).log_softmax(-1).double() for chunk in (unpruned, pruned)
            )
            values.append((log_p.exp() * (log_p - log_q)).sum(-1).cpu())
        return torch.cat(values)
