"""Log-likelihoods of answer options and the loss on text, for any number of cuts of one unmodified model at once.

Two savings that change no result:

* Shared context. Questions run as packed prefix trees (`trees`): a prefix that sequences share, such as a context
  or worked examples, is computed once. Every token attends to its own ancestors only and is placed at its own depth. So it
  sees exactly the tokens that it would see alone. Pairs that no token sees are not computed (`attention`). Families that
  cannot do that run one row per option (`can_pack`). So do models whose first questions come out otherwise (`packing`).
* Shared trunk. The layers before a cut see no difference. So the unpruned model runs once, and each cut runs only the layers
  after it, from the kept residual stream (`hidden_states.run_trunk`, `run_tails`).
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from analysis.core.blocks import Removal
from analysis.experiments.scoring.attention import skipping_masked, with_runs
from analysis.experiments.scoring.trees import (
    EncodedOption,
    EncodedQuestion,
    TreeRow,
    one_row_each,
    pack,
)
from analysis.models.architecture import sublayers
from analysis.models.architecture.decoder import Decoder
from analysis.models.loading import layers_on_disk
from analysis.models.running import head
from analysis.models.running.hidden_states import (
    batches,
    before_each_layer,
    finals,
    layer_passes,
    right_padded,
    sent,
    tokens_per_batch,
)
from analysis.models.running.layer_streaming import Inputs

Cuts = Sequence[Removal | None]
"""Sets of removed layers to measure in one pass; None is the unpruned model."""
OnBatch = Callable[[int], None]
"""Told again and again how much of the work is done, in units of `Measure.size`; may raise `Cancelled`."""


@dataclass(frozen=True)
class _PackedBatch:
    """Rows as tensors: ids and other inputs of the body where ids go, targets where the logits are."""

    input_ids: Tensor
    arguments: dict
    """Inputs of the body besides the ids: positions and masks for packed rows, none for plain ones."""
    where: Tensor
    """Flat indices (row * seq + node) of the distinct nodes that something is predicted from."""
    target_where: Tensor
    """For each target, its index into `where`."""
    target_tokens: Tensor
    target_options: Tensor


def _batch(rows: Sequence[TreeRow], decoder: Decoder, *, packed: bool) -> _PackedBatch:
    max_length = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), max_length, dtype=torch.long)
    flat: list[int] = []
    tokens: list[int] = []
    options: list[int] = []
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row.tokens)
        for option, node, token in row.targets:
            flat.append(index * max_length + node)
            tokens.append(token)
            options.append(option)
    positions, inverse = torch.unique(torch.tensor(flat), return_inverse=True)
    return _PackedBatch(
        sent(ids, decoder.device),
        _packed_arguments(rows, max_length, decoder) if packed else {},
        sent(positions, decoder.head_device),
        sent(inverse, decoder.head_device),
        sent(torch.tensor(tokens), decoder.head_device),
        torch.tensor(options),
    )


def _packed_arguments(rows: Sequence[TreeRow], max_length: int, decoder: Decoder) -> dict:
    """Return positions and attention masks that let every node of a tree see the tokens that it would see alone."""
    positions = torch.zeros(len(rows), max_length, dtype=torch.long)
    # Padding sees itself, so that no softmax runs over nothing.
    visible = torch.eye(max_length, dtype=torch.bool).repeat(len(rows), 1, 1)
    for index, row in enumerate(rows):
        positions[index, : len(row)] = torch.tensor(row.depths)
        visible[index, : len(row), : len(row)] = row.visible()
    dtype = decoder.dtype

    def additive(visible: Tensor) -> Tensor:
        mask = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min)
        return with_runs(sent(mask[:, None], decoder.device), visible)

    mask: Tensor | dict[str, Tensor]
    window = _sliding_window(decoder)
    if window is None:
        mask = additive(visible)
    else:
        in_window = visible & (positions[:, :, None] - positions[:, None, :] < window)
        by_type = {"full_attention": additive(visible), "sliding_attention": additive(in_window)}
        mask = by_type if decoder.layer_types else by_type["sliding_attention"]
    return {"attention_mask": mask, "position_ids": sent(positions, decoder.device)}


def _sliding_window(decoder: Decoder) -> int | None:
    """The window of the family's sliding layers, or None when every layer sees everything."""
    types = decoder.layer_types
    return None if types and "sliding_attention" not in types else decoder.sliding_window


def _trial(decoder: Decoder) -> list[EncodedQuestion]:
    """Questions behind one prefix, with options of unequal length, much farther apart in a row than in their own sequence."""
    drawn_tokens = iter(decoder.trial_tokens(160))

    def tokens(n: int) -> list[int]:
        return list(itertools.islice(drawn_tokens, n))

    prefix, questions = tokens(16), []
    for n_context, lengths in ((4, (3, 6)), (48, (2, 7)), (9, (2, 7))):
        context = [*prefix, *tokens(n_context)]
        questions.append(EncodedQuestion([EncodedOption((*context, *tokens(n + 1)), n) for n in lengths], truncated=False))
    return questions


@torch.inference_mode()
def can_pack(decoder: Decoder) -> bool:
    """Return whether this family runs packed rows right: by its known properties, and by a trial on a row of three questions.

    Every option must have the states that it has alone, behind one layer of every kind. Families with recurrent layers or
    position biases of their own do not, and are scored one row per option.
    """
    if decoder.is_row_bound or not set(decoder.layer_types) <= {"full_attention", "sliding_attention"}:
        return False
    questions = _trial(decoder)
    # The last option of each question has the other beside it in the row; less is run so.
    last = {number: option for number, option in _options(questions).items() if number % 2}
    with layers_on_disk.in_part(decoder) as part, part.short_windows():
        scores = _packed_and_alone(part, pack(questions)[0], last)
        return scores is not None and all(part.agree(together, alone) for together, alone in scores)


def _options(questions: Sequence[EncodedQuestion]) -> dict[int, EncodedOption]:
    """Options by the numbers that a row files them under."""
    return dict(enumerate(option for question in questions for option in question.options))


def _packed_and_alone(decoder: Decoder, row: TreeRow, options: dict[int, EncodedOption]) -> list[tuple[Tensor, Tensor]] | None:
    """The normed states that predict some options of a row, in the shared row and alone; None if it cannot be run."""
    try:
        with skipping_masked(decoder):
            together = decoder.body(
                input_ids=torch.tensor([row.tokens], device=decoder.device),
                use_cache=False,
                **_packed_arguments([row], len(row), decoder),
            )[0][0]
        padded = right_padded([option.tokens for option in options.values()]).to(decoder.device)
        alone = decoder.body(input_ids=padded, use_cache=False)[0]
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return [
        (
            together[[node for number, node, _ in row.targets if number == index]],
            alone[entry, len(option.tokens) - option.n_scored - 1 : len(option.tokens) - 1],
        )
        for entry, (index, option) in enumerate(options.items())
    ]


@dataclass(frozen=True)
class Packing:
    """Whether questions share rows."""

    packed: bool
    sentence: str = ""
    """Why they do not although the family seemed to allow it, in a sentence; "" otherwise."""


_TRIED_TOKENS = 256
"""Tokens of the trial on a first batch, as far as its questions allow: they run once more than they need."""
_NATS = {torch.float32: 0.01, torch.float16: 0.2, torch.bfloat16: 1.5}
"""Largest difference between the log-likelihoods of an option scored in a row and alone. Rounding to bfloat16 moved one by up
to 0.9. Their states must agree as well."""
_found: WeakKeyDictionary[nn.Module, Packing] = WeakKeyDictionary()
"""By model, for the same one is looked up again and again: unpruned, pruned, healed."""


def packing(decoder: Decoder, questions: Sequence[EncodedQuestion]) -> Packing:
    """Return whether these questions are scored in shared rows: where the family can, and the first ones come out the same.

    Args:
        decoder: the model.
        questions: the questions; the first ones are tried out once for each model.
    """
    if not questions:
        return Packing(packed=False)
    if decoder.model not in _found:
        _found[decoder.model] = _tried(decoder, questions) if can_pack(decoder) else Packing(packed=False)
    return _found[decoder.model]


@torch.inference_mode()
def _tried(decoder: Decoder, questions: Sequence[EncodedQuestion]) -> Packing:
    """Score the first, the middle and the last option of a row of these questions alone as well."""
    if decoder.on_disk is not None:
        with layers_on_disk.in_part(decoder) as part:
            return _tried(part, questions)
    row = pack(questions, _TRIED_TOKENS, _TRIED_TOKENS)[0]
    numbers, options = sorted({number for number, _, _ in row.targets}), _options(questions)
    some_options = {number: options[number] for number in (numbers[0], numbers[len(numbers) // 2], numbers[-1])}
    scores = _packed_and_alone(decoder, row, some_options)
    if scores is None:
        return Packing(
            packed=False, sentence="Questions were scored one by one, because this model cannot score several in one sequence."
        )
    difference = _largest_difference(decoder, scores, list(some_options.values()))
    dtype = decoder.dtype
    if difference <= _NATS[dtype] and all(decoder.agree(together, alone) for together, alone in scores):
        return Packing(packed=True)
    return Packing(
        packed=False,
        sentence=f"Questions were scored one by one. In a shared sequence, an option's score was {difference:.2g} nats off. "
        f"Rounding in {str(dtype).removeprefix('torch.')} explains only {_NATS[dtype]:g}.",
    )


def _largest_difference(decoder: Decoder, scores: Sequence[tuple[Tensor, Tensor]], options: Sequence[EncodedOption]) -> float:
    """Return how far the log-likelihood of an option in a row is from the one alone, by the states of `_packed_and_alone`."""
    states = torch.cat([states for pair in scores for states in pair]).to(decoder.head_device)
    scored = [option.tokens[-option.n_scored :] for option in options]
    targets = torch.tensor([token for tokens in scored for token in (*tokens, *tokens)], device=decoder.head_device)
    indices = torch.arange(len(targets), device=decoder.head_device)
    values = iter(
        head.log_probabilities(decoder, states, indices, targets).split([len(part) for pair in scores for part in pair])
    )
    return max(abs(float(together.sum() - alone.sum())) for together, alone in zip(values, values, strict=True))


def rows_of(questions: Sequence[EncodedQuestion], *, packed: bool) -> list[TreeRow]:
    """Return the rows of tokens that questions go through a model in; `packed` as in `option_loglikelihoods`."""
    return pack(questions) if packed else one_row_each(questions)


class QuestionScoring:
    """Questions for some cuts: the rows that go through the model, and their scores."""

    groups: list[list[int]]
    """The rows of each batch."""
    costs: list["PassCost"]
    """Of each batch."""

    def __init__(self, decoder: Decoder, questions: Sequence[EncodedQuestion], cuts: Cuts, *, packed: bool) -> None:
        """Arguments as in `option_loglikelihoods`."""
        self._decoder, self._questions, self.cuts, self.packed = decoder, questions, cuts, packed
        self._rows = rows_of(questions, packed=packed)
        self.groups = batches([len(row) for row in self._rows], tokens_per_batch(decoder.device))
        self._batches: dict[int, _PackedBatch] = {}
        self._totals = torch.zeros(len(cuts), sum(len(question.options) for question in questions), dtype=torch.float64)
        rows = [[self._rows[index] for index in group] for group in self.groups]
        n_predicted = [sum(len({node for _, node, _ in row.targets}) for row in of_group) for of_group in rows]
        self.costs = [cost_of(decoder, list(map(len, of_group)), n) for of_group, n in zip(rows, n_predicted, strict=True)]

    @property
    def size(self) -> int:
        """Return the amount of work: tokens through layers, with the vocabulary head counted as tokens of the same cost."""
        return _size(self, self._decoder)

    def inputs(self) -> Iterator[Inputs]:
        """The batches, each made when it is asked for."""
        for number, group in enumerate(self.groups):
            batch = self._batches[number] = _batch([self._rows[index] for index in group], self._decoder, packed=self.packed)
            yield Inputs(batch.input_ids, self.cuts, batch.arguments)
            # With the whole model in memory a batch is done when the next one is asked for.
            if self._decoder.on_disk is None:
                del self._batches[number]

    def take(self, number: int, index: int, stream: Tensor) -> None:
        """x[L] of a batch without one of the cuts."""
        batch = self._batches[number]
        states = self._decoder.norm(stream.flatten(0, 1)[batch.where.to(stream.device)])
        log_probabilities = head.log_probabilities(self._decoder, states, batch.target_where, batch.target_tokens)
        self._totals[index].index_add_(0, batch.target_options, log_probabilities)

    @property
    def figures(self) -> list[list[list[float]]]:
        """As `option_loglikelihoods` returns them."""
        n_options = [len(question.options) for question in self._questions]
        return [[values.tolist() for values in row.split(n_options)] for row in self._totals]


class TextScoring:
    """Texts whose loss is measured without some cuts: the rows that go through the model, and their losses."""

    groups: list[list[int]]
    """The texts of each batch."""
    costs: list["PassCost"]
    """Of each batch."""

    def __init__(self, decoder: Decoder, token_ids: Sequence[Sequence[int]], cuts: Cuts) -> None:
        """Arguments as in `text_losses`."""
        self._decoder, self._token_ids, self.cuts = decoder, token_ids, cuts
        self.groups = text_batches(decoder, token_ids)
        lengths = [[len(token_ids[index]) for index in group] for group in self.groups]
        self.costs = [cost_of(decoder, of_group, sum(of_group) - len(of_group)) for of_group in lengths]
        self.figures: list[list[float]] = [[0.0] * len(token_ids) for _ in cuts]
        """As `text_losses` returns them."""

    @property
    def size(self) -> int:
        """Return the amount of work, in the unit of `QuestionScoring.size`."""
        return _size(self, self._decoder)

    def inputs(self) -> Iterator[Inputs]:
        """The batches."""
        for group in self.groups:
            yield Inputs(right_padded([self._token_ids[index] for index in group]), self.cuts)

    def take(self, number: int, index: int, stream: Tensor) -> None:
        """x[L] of a batch without one of the cuts."""
        group = self.groups[number]
        sequences = [self._token_ids[text] for text in group]
        for text, loss in zip(group, batch_losses(self._decoder, stream, sequences), strict=True):
            self.figures[index][text] = loss


Measure = QuestionScoring | TextScoring


@dataclass(frozen=True)
class PassCost:
    """Cost of a batch, in tokens through a layer."""

    layer: int
    """Of a layer that it goes through, padding included."""
    head: int
    """Of the vocabulary head, for each cut: a state through it costs as much as the layers that have so many weights."""


def cost_of(decoder: Decoder, lengths: Sequence[int], n_predicted: int) -> PassCost:
    """Return the cost of a batch.

    Args:
        decoder: the model.
        lengths: tokens of each row.
        n_predicted: states that go through the vocabulary head.
    """
    weights = sum(parameter.numel() for parameter in decoder.layers.parameters()) / decoder.n_layers
    of_head = decoder.config.hidden_size * decoder.config.vocab_size
    return PassCost(len(lengths) * max(lengths), round(n_predicted * of_head / weights))


_passes = functools.lru_cache(maxsize=8)(layer_passes)


def _size(measured: Measure, decoder: Decoder) -> int:
    return sum(_size_of(cost, measured, decoder) for cost in measured.costs)


def _size_of(cost: PassCost, measured: Measure, decoder: Decoder) -> int:
    return _passes(tuple(measured.cuts), decoder.n_layers) * cost.layer + len(measured.cuts) * cost.head


@torch.inference_mode()
def measure(decoder: Decoder, measures: Sequence[Measure], on_batch: OnBatch = lambda done: None) -> None:
    """Let batches of questions and texts go through the model; one that is read layer by layer takes all of them together.

    Args:
        decoder: the unpruned model; it is not changed.
        measures: the questions and texts; their `figures` are complete afterwards.
        on_batch: receives how much of the `size` of all of them is done, the same number many times.
    """
    if any(cut is not None for scoring in measures for cut in scoring.cuts):
        decoder.check_states_are_own()  # tries a few tokens, which are no progress
    owners = [(scoring, number) for scoring in measures for number in range(len(scoring.groups))]
    total, done, owners_iterator = sum(scoring.size for scoring in measures), 0, iter(owners)
    cost, end = PassCost(0, 0), 0

    def passed(steps: int, n_steps: int) -> None:
        on_batch(total * steps // n_steps)

    def one_by_one() -> Iterator[Inputs]:
        nonlocal cost, done, end
        for inputs in itertools.chain.from_iterable(scoring.inputs() for scoring in measures):
            owner, number = next(owners_iterator)
            cost, done = owner.costs[number], end  # a shared stream may have saved some layers
            end += _size_of(cost, owner, decoder)
            yield inputs

    def entered() -> None:
        nonlocal done
        on_batch(done)
        done = min(done + cost.layer, end)

    if decoder.on_disk is None:  # before anything is counted; layers on the disk are tried when they are read
        sublayers.check(decoder, itertools.chain.from_iterable(scoring.cuts for scoring in measures))
    # A long row is many seconds of work, and a cancel shall be heard within a few: hence a report before each layer.
    # Only for masks of ours: some families (Falcon) ask for the attention's name and make another kind of mask of their own.
    is_packed = any(isinstance(scoring, QuestionScoring) and scoring.packed for scoring in measures)
    attention = skipping_masked(decoder) if is_packed else contextlib.nullcontext()
    # If layers are on the disk, `passed` is that report.
    heard = before_each_layer(decoder, entered) if decoder.on_disk is None else contextlib.nullcontext()
    with attention, heard:
        for batch, index, stream in finals(decoder, one_by_one(), passed):
            scoring, number = owners[batch]
            scoring.take(number, index, stream)
            done += scoring.costs[number].head
            on_batch(done if decoder.on_disk is None else total)


def option_loglikelihoods(
    decoder: Decoder,
    questions: Sequence[EncodedQuestion],
    cuts: Cuts,
    on_batch: OnBatch = lambda done: None,
    *,
    packed: bool,
) -> list[list[list[float]]]:
    """Return the summed log-probability of every option's continuation, in nats, for every cut.

    Args:
        decoder: the unpruned model; it is not changed.
        questions: the questions to score.
        cuts: layers to leave out, each set measured on its own.
        on_batch: receives how much of `QuestionScoring(...).size` is done, the same number many times.
        packed: `packing(decoder, questions).packed`.

    Returns:
        Per cut, per question, per option.
    """
    scoring = QuestionScoring(decoder, questions, cuts, packed=packed)
    measure(decoder, [scoring], on_batch)
    return scoring.figures


def text_losses(
    decoder: Decoder, token_ids: Sequence[Sequence[int]], cuts: Cuts, on_batch: OnBatch = lambda done: None
) -> list[list[float]]:
    """Return the mean next-token cross-entropy of every text, in nats per token, for every cut.

    Args:
        decoder: the unpruned model; it is not changed.
        token_ids: texts of at least two tokens.
        cuts: layers to leave out, each set measured on its own.
        on_batch: receives how much of `TextScoring(...).size` is done.

    Returns:
        Per cut, per text.
    """
    read = TextScoring(decoder, token_ids, cuts)
    measure(decoder, [read], on_batch)
    return read.figures


def text_batches(decoder: Decoder, token_ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the texts of each batch of `text_losses`, as indices into `token_ids`.

    A batch is half as large as elsewhere, since every position goes through the head.
    """
    return batches([len(ids) for ids in token_ids], tokens_per_batch(decoder.device) // 2)


def batch_losses(decoder: Decoder, stream: Tensor, sequences: Sequence[Sequence[int]]) -> list[float]:
    """Mean next-token cross-entropy of each sequence of a right-padded batch, from its x[L], nats per token."""
    states = torch.cat([row[: len(ids) - 1] for row, ids in zip(stream, sequences, strict=True)])
    targets = sent(torch.tensor([token for ids in sequences for token in ids[1:]]), decoder.head_device)
    log_probabilities = head.log_probabilities(
        decoder, decoder.norm(states), torch.arange(len(states), device=targets.device), targets
    )
    return [-float(part.mean()) for part in log_probabilities.split([len(ids) - 1 for ids in sequences])]
