"""Log-likelihoods of answer options and losses on texts, for many sets of removed layers of one
model at once.

Two optimizations do not change the results:

* Shared context. Questions run as packed prefix trees (`trees`), so a common prefix, such as worked
  examples, is computed once. Each token has the position of its depth and attends only to its
  ancestors, exactly as in a sequence of its own. Masked pairs are not computed (`attention`).
  Families that cannot run packed rows (`can_pack`), and models with other scores for the first
  questions (`packing`), run one row per option.
* Shared trunk. Layers before the removed ones have the same input in all models. The unpruned model
  runs once, and each pruned model only runs its later layers from the stored residual stream
  (`hidden_states.run_trunk`, `run_tails`).
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
"""Sets of removed layers that are measured in one pass; None is the unpruned model."""
OnBatch = Callable[[int], None]
"""Progress callback that receives the finished work in units of `Measure.size`; may raise
`Cancelled`."""


@dataclass(frozen=True)
class _PackedBatch:
    """Rows as tensors, inputs on the device of the embeddings and targets on the device of the
    head.
    """

    input_ids: Tensor
    arguments: dict
    """Further inputs of the body: positions and masks of packed rows, none for plain rows."""
    nodes: Tensor
    """Flat indices (row * seq + node) of the distinct predicting nodes."""
    target_nodes: Tensor
    """Index into `nodes` of each target."""
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
    """Return positions and attention masks in which every node sees the same tokens as in a
    sequence of its own.
    """
    positions = torch.zeros(len(rows), max_length, dtype=torch.long)
    # Padding attends to itself, since a softmax over no columns is NaN.
    visible = torch.eye(max_length, dtype=torch.bool).repeat(len(rows), 1, 1)
    for index, row in enumerate(rows):
        positions[index, : len(row)] = torch.tensor(row.depths)
        visible[index, : len(row), : len(row)] = row.visible()
    dtype = decoder.dtype

    def additive(visible: Tensor) -> Tensor:
        mask = torch.zeros(visible.shape, dtype=dtype).masked_fill_(
            ~visible, torch.finfo(dtype).min
        )
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
    """Return the window of sliding attention; None if all layers have full attention."""
    types = decoder.layer_types
    return None if types and "sliding_attention" not in types else decoder.sliding_window


def _trial(decoder: Decoder) -> list[EncodedQuestion]:
    """Return questions with a common prefix and options of unequal lengths, far apart in a packed
    row.
    """
    drawn_tokens = iter(decoder.trial_tokens(160))

    def tokens(n: int) -> list[int]:
        return list(itertools.islice(drawn_tokens, n))

    prefix = tokens(16)
    questions = []
    for n_context, lengths in ((4, (3, 6)), (48, (2, 7)), (9, (2, 7))):
        context = [*prefix, *tokens(n_context)]
        questions.append(
            EncodedQuestion(
                [EncodedOption((*context, *tokens(n + 1)), n) for n in lengths], truncated=False
            )
        )
    return questions


@torch.inference_mode()
def can_pack(decoder: Decoder) -> bool:
    """Return whether this family can run packed rows, by its properties and a trial on a row of
    three questions.

    Every option must have the same states as alone, after one layer of every kind. Families with
    recurrent layers or position biases do not fulfil this.
    """
    if decoder.is_row_bound or not set(decoder.layer_types) <= {
        "full_attention",
        "sliding_attention",
    }:
        return False
    questions = _trial(decoder)
    # Only the last option of each question, which follows the other one in the row.
    last = {number: option for number, option in _options(questions).items() if number % 2}
    with layers_on_disk.in_part(decoder) as part, part.short_windows():
        scores = _packed_and_alone(part, pack(questions)[0], last)
        return scores is not None and all(part.agree(together, alone) for together, alone in scores)


def _options(questions: Sequence[EncodedQuestion]) -> dict[int, EncodedOption]:
    """Return options by their number in packed rows."""
    return dict(enumerate(option for question in questions for option in question.options))


def _packed_and_alone(
    decoder: Decoder, row: TreeRow, options: dict[int, EncodedOption]
) -> list[tuple[Tensor, Tensor]] | None:
    """Return the final states that predict options of a row, in the row and alone; None if the row
    cannot be run.
    """
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
    """Reason why they do not although the family seemed to allow it, in a sentence; ""
    otherwise."""


_TRIED_TOKENS = 256
"""Maximum number of tokens of the trial with the first questions, if they are not longer."""
_NATS = {torch.float32: 0.01, torch.float16: 0.2, torch.bfloat16: 1.5}
"""Maximum difference between the log-likelihoods of an option in a row and alone. Rounding to
bfloat16 caused up to 0.9. The states must agree too."""
_packing_of: WeakKeyDictionary[nn.Module, Packing] = WeakKeyDictionary()
"""Cache of `packing` by model."""


def packing(decoder: Decoder, questions: Sequence[EncodedQuestion]) -> Packing:
    """Return whether questions share rows: if the family can pack them and the scores of the first
    ones are equal.

    Args:
        decoder: The model.
        questions: The questions. The first ones are tested, once per model.
    """
    if not questions:
        return Packing(packed=False)
    if decoder.model not in _packing_of:
        _packing_of[decoder.model] = (
            _tried(decoder, questions) if can_pack(decoder) else Packing(packed=False)
        )
    return _packing_of[decoder.model]


@torch.inference_mode()
def _tried(decoder: Decoder, questions: Sequence[EncodedQuestion]) -> Packing:
    """Compare the scores of the first, middle and last option of a packed row with those alone."""
    if decoder.on_disk is not None:
        with layers_on_disk.in_part(decoder) as part:
            return _tried(part, questions)
    row = pack(questions, _TRIED_TOKENS, _TRIED_TOKENS)[0]
    numbers = sorted({number for number, _, _ in row.targets})
    options = _options(questions)
    some_options = {
        number: options[number] for number in (numbers[0], numbers[len(numbers) // 2], numbers[-1])
    }
    scores = _packed_and_alone(decoder, row, some_options)
    if scores is None:
        return Packing(
            packed=False,
            sentence=(
                "Questions were scored one by one, because this model cannot score several in one"
                " sequence."
            ),
        )
    difference = _largest_difference(decoder, scores, list(some_options.values()))
    dtype = decoder.dtype
    if difference <= _NATS[dtype] and all(
        decoder.agree(together, alone) for together, alone in scores
    ):
        return Packing(packed=True)
    return Packing(
        packed=False,
        sentence=(
            "Questions were scored one by one. In a shared sequence, an option's score was"
            f" {difference:.2g} nats off. Rounding in {str(dtype).removeprefix('torch.')} explains"
            f" only {_NATS[dtype]:g}."
        ),
    )


def _largest_difference(
    decoder: Decoder, scores: Sequence[tuple[Tensor, Tensor]], options: Sequence[EncodedOption]
) -> float:
    """Return the largest difference between log-likelihoods in a row and alone, from the states of
    `_packed_and_alone`.
    """
    states = torch.cat([states for pair in scores for states in pair]).to(decoder.head_device)
    scored = [option.tokens[-option.n_scored :] for option in options]
    targets = torch.tensor(
        [token for tokens in scored for token in (*tokens, *tokens)], device=decoder.head_device
    )
    indices = torch.arange(len(targets), device=decoder.head_device)
    values = iter(
        head.log_probabilities(decoder, states, indices, targets).split(
            [len(part) for pair in scores for part in pair]
        )
    )
    return max(
        abs(float(together.sum() - alone.sum()))
        for together, alone in zip(values, values, strict=True)
    )


def rows_of(questions: Sequence[EncodedQuestion], *, packed: bool) -> list[TreeRow]:
    """Return the rows in which questions run through the model; `packed` as in
    `option_loglikelihoods`.
    """
    return pack(questions) if packed else one_row_each(questions)


class QuestionScoring:
    """Scoring of questions for some cuts: batches of rows and the log-likelihoods of options."""

    groups: list[list[int]]
    """Indices of the rows of each batch."""
    costs: list["PassCost"]
    """Cost of each batch."""

    def __init__(
        self, decoder: Decoder, questions: Sequence[EncodedQuestion], cuts: Cuts, *, packed: bool
    ) -> None:
        """Arguments as in `option_loglikelihoods`."""
        self._decoder = decoder
        self._questions = questions
        self.cuts = cuts
        self.packed = packed
        self._rows = rows_of(questions, packed=packed)
        self.groups = batches([len(row) for row in self._rows], tokens_per_batch(decoder.device))
        self._batches: dict[int, _PackedBatch] = {}
        self._totals = torch.zeros(
            len(cuts), sum(len(question.options) for question in questions), dtype=torch.float64
        )
        rows = [[self._rows[index] for index in group] for group in self.groups]
        n_predicted = [
            sum(len({node for _, node, _ in row.targets}) for row in of_group) for of_group in rows
        ]
        self.costs = [
            cost_of(decoder, list(map(len, of_group)), n)
            for of_group, n in zip(rows, n_predicted, strict=True)
        ]

    @property
    def size(self) -> int:
        """Return the amount of work: tokens through layers, with the vocabulary head counted as
        tokens of the same cost.
        """
        return _size(self, self._decoder)

    def inputs(self) -> Iterator[Inputs]:
        """Yield the batches, each created when it is requested."""
        for number, group in enumerate(self.groups):
            batch = self._batches[number] = _batch(
                [self._rows[index] for index in group], self._decoder, packed=self.packed
            )
            yield Inputs(batch.input_ids, self.cuts, batch.arguments)
            # If the model is in memory, a batch is finished when the next one is requested.
            if self._decoder.on_disk is None:
                del self._batches[number]

    def take(self, number: int, index: int, stream: Tensor) -> None:
        """Add the scores of a batch for one cut, from its x[L]."""
        batch = self._batches[number]
        states = self._decoder.norm(stream.flatten(0, 1)[batch.nodes.to(stream.device)])
        log_probabilities = head.log_probabilities(
            self._decoder, states, batch.target_nodes, batch.target_tokens
        )
        self._totals[index].index_add_(0, batch.target_options, log_probabilities)

    @property
    def figures(self) -> list[list[list[float]]]:
        """Return the log-likelihoods, as in `option_loglikelihoods`."""
        n_options = [len(question.options) for question in self._questions]
        return [[values.tolist() for values in row.split(n_options)] for row in self._totals]


class TextScoring:
    """Scoring of texts for some cuts: batches of texts and their losses."""

    groups: list[list[int]]
    """Indices of the texts of each batch."""
    costs: list["PassCost"]
    """Cost of each batch."""

    def __init__(self, decoder: Decoder, token_ids: Sequence[Sequence[int]], cuts: Cuts) -> None:
        """Arguments as in `text_losses`."""
        self._decoder = decoder
        self._token_ids = token_ids
        self.cuts = cuts
        self.groups = text_batches(decoder, token_ids)
        lengths = [[len(token_ids[index]) for index in group] for group in self.groups]
        self.costs = [
            cost_of(decoder, of_group, sum(of_group) - len(of_group)) for of_group in lengths
        ]
        self.figures: list[list[float]] = [[0.0] * len(token_ids) for _ in cuts]
        """Losses, as in `text_losses`."""

    @property
    def size(self) -> int:
        """Return the amount of work, in the unit of `QuestionScoring.size`."""
        return _size(self, self._decoder)

    def inputs(self) -> Iterator[Inputs]:
        """Yield the batches."""
        for group in self.groups:
            yield Inputs(right_padded([self._token_ids[index] for index in group]), self.cuts)

    def take(self, number: int, index: int, stream: Tensor) -> None:
        """Set the losses of a batch for one cut, from its x[L]."""
        group = self.groups[number]
        sequences = [self._token_ids[text] for text in group]
        for text, loss in zip(group, batch_losses(self._decoder, stream, sequences), strict=True):
            self.figures[index][text] = loss


Measure = QuestionScoring | TextScoring


@dataclass(frozen=True)
class PassCost:
    """Cost of a batch, in tokens through a layer."""

    layer: int
    """Cost of a layer: the number of tokens, padding included."""
    head: int
    """Cost of the vocabulary head per cut, by the number of its weights relative to a layer."""


def cost_of(decoder: Decoder, lengths: Sequence[int], n_predicted: int) -> PassCost:
    """Return the cost of a batch.

    Args:
        decoder: The model.
        lengths: Number of tokens of each row.
        n_predicted: Number of states that go through the vocabulary head.
    """
    weights = sum(parameter.numel() for parameter in decoder.layers.parameters()) / decoder.n_layers
    of_head = decoder.config.hidden_size * decoder.config.vocab_size
    return PassCost(len(lengths) * max(lengths), round(n_predicted * of_head / weights))


_passes = functools.lru_cache(maxsize=8)(layer_passes)


def _size(measured: Measure, decoder: Decoder) -> int:
    return sum(_size_of(cost, measured, decoder) for cost in measured.costs)


def _size_of(cost: PassCost, measured: Measure, decoder: Decoder) -> int:
    return (
        _passes(tuple(measured.cuts), decoder.n_layers) * cost.layer
        + len(measured.cuts) * cost.head
    )


@torch.inference_mode()
def measure(
    decoder: Decoder, measures: Sequence[Measure], on_batch: OnBatch = lambda done: None
) -> None:
    """Run batches of questions and texts through the model. A model with layers on disk runs all
    batches layer by layer.

    Args:
        decoder: The unpruned model; it is not changed.
        measures: Questions and texts, whose `figures` are complete afterwards.
        on_batch: Receives the finished part of the total `size`, possibly several times the same
            number.
    """
    if any(cut is not None for scoring in measures for cut in scoring.cuts):
        decoder.check_states_are_own()  # runs a few tokens, which are not reported
    owners = [(scoring, number) for scoring in measures for number in range(len(scoring.groups))]
    total = sum(scoring.size for scoring in measures)
    done = 0
    owners_iterator = iter(owners)
    cost = PassCost(0, 0)
    end = 0

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

    if decoder.on_disk is None:  # layers on disk are checked when they are read
        sublayers.check(
            decoder, itertools.chain.from_iterable(scoring.cuts for scoring in measures)
        )
    # Only for packed rows, since some families (Falcon) create another kind of mask for an unknown
    # attention function.
    is_packed = any(isinstance(scoring, QuestionScoring) and scoring.packed for scoring in measures)
    attention = skipping_masked(decoder) if is_packed else contextlib.nullcontext()
    # Report before each layer, so that a cancel takes effect within seconds. With layers on disk,
    # `passed` reports.
    reporting = (
        before_each_layer(decoder, entered) if decoder.on_disk is None else contextlib.nullcontext()
    )
    with attention, reporting:
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
    """Return the log-likelihood of every option in nats, for every cut.

    Args:
        decoder: The unpruned model; it is not changed.
        questions: The questions.
        cuts: Sets of layers to remove, each measured separately.
        on_batch: Receives the finished part of `QuestionScoring(...).size`.
        packed: `packing(decoder, questions).packed`.

    Returns:
        Log-likelihoods by cut, question and option.
    """
    scoring = QuestionScoring(decoder, questions, cuts, packed=packed)
    measure(decoder, [scoring], on_batch)
    return scoring.figures


def text_losses(
    decoder: Decoder,
    token_ids: Sequence[Sequence[int]],
    cuts: Cuts,
    on_batch: OnBatch = lambda done: None,
) -> list[list[float]]:
    """Return the mean next-token cross-entropy of every text, in nats per token, for every cut.

    Args:
        decoder: The unpruned model; it is not changed.
        token_ids: Texts of at least two tokens.
        cuts: Sets of layers to remove, each measured separately.
        on_batch: Receives the finished part of `TextScoring(...).size`.

    Returns:
        Losses by cut and text.
    """
    scoring = TextScoring(decoder, token_ids, cuts)
    measure(decoder, [scoring], on_batch)
    return scoring.figures


def text_batches(decoder: Decoder, token_ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the texts of each batch of `text_losses`, as indices into `token_ids`.

    Batches are half as large as others, since every position goes through the head.
    """
    return batches([len(ids) for ids in token_ids], tokens_per_batch(decoder.device) // 2)


def batch_losses(
    decoder: Decoder, stream: Tensor, sequences: Sequence[Sequence[int]]
) -> list[float]:
    """Return the mean next-token cross-entropy of each sequence of a right-padded batch from its
    x[L], in nats per token.
    """
    states = torch.cat([row[: len(ids) - 1] for row, ids in zip(stream, sequences, strict=True)])
    targets = sent(
        torch.tensor([token for ids in sequences for token in ids[1:]]), decoder.head_device
    )
    log_probabilities = head.log_probabilities(
        decoder, decoder.norm(states), torch.arange(len(states), device=targets.device), targets
    )
    return [
        -float(part.mean()) for part in log_probabilities.split([len(ids) - 1 for ids in sequences])
    ]
