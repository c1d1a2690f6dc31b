"""What one cut of a model scored: its answers, its losses in one line, what it wrote."""

from dataclasses import dataclass

from analysis.core.blocks import Block, LayerSet


@dataclass(frozen=True)
class Point:
    """What one cut of the model scored."""

    n: int
    """Removed layers; 0 is the unpruned model."""
    start: int | None
    """First removed layer; None for n = 0."""
    acc: float | None = None
    """Share of questions whose highest log-likelihood option is right."""
    acc_stderr: float | None = None
    acc_norm: float | None = None
    """The same with log-likelihoods divided by the option's length in characters, its leading space not counted."""
    acc_norm_stderr: float | None = None
    n_samples: int = 0
    """Questions scored."""
    loss: float | None = None
    """Mean next-token cross-entropy, nats per token."""
    loss_stderr: float | None = None
    """Standard error over texts."""
    n_texts: int = 0
    """Texts the loss was measured on."""
    acc_macro: float | None = None
    """Mean over subjects of each subject's accuracy; None where questions have no subjects."""
    layers: list[int] | None = None
    """The removed layers where they are not one block."""
    loss_per_ln_v: float | None = None
    """The loss divided by ln V, V the size of the vocabulary: 1 is what uniform guessing scores."""
    perplexity: float | None = None
    """exp(loss)."""
    bits_per_byte: float | None = None
    """Bits needed per byte of the scored text, which unlike the loss can be compared between vocabularies."""
    repetition_rate: float | None = None
    """Mean share of runs of four tokens that repeat within a greedy continuation, in [0, 1]."""
    distinct_rate: float | None = None
    """Mean distinct tokens per token of the continuations, in [0, 1]."""
    generated_tokens: float | None = None
    """Mean length of the continuations."""
    sum_acc: float | None = None
    """Share of small sums whose written answer is right."""
    sum_acc_stderr: float | None = None

    @property
    def block(self) -> Block | LayerSet | None:
        """The removed layers, or None for the unpruned model."""
        if self.layers is not None:
            return LayerSet(tuple(self.layers))
        return None if self.start is None or self.n == 0 else Block(self.start, self.n)


@dataclass(frozen=True)
class Answer:
    """How one question was scored, by one cut."""

    id: str
    """Identifier in the source."""
    loglikelihoods: list[float]
    """Summed natural-log probability of each option, nats."""
    prediction: int
    """Index of the highest."""
    gold: int


@dataclass(frozen=True)
class Lines:
    """The horizontals every accuracy is read against."""

    chance: float
    """Expected accuracy of guessing."""
    majority: float
    """Accuracy of always giving the most frequent right answer of these questions."""


@dataclass(frozen=True)
class Continuation:
    """What followed one prompt."""

    prompt: str
    text: str
    n_tokens: int
    """Length, the end-of-text token not counted."""
    repetition_rate: float
    """Share of its runs of four tokens that have occurred before in it, in [0, 1]."""
    distinct_rate: float
    """Distinct tokens per token, in [0, 1]."""
    ended: bool
    """Whether the model ended the text itself."""


@dataclass(frozen=True)
class SumAnswer:
    """A sum and what the model wrote."""

    question: str
    answer: int
    text: str
    is_right: bool


@dataclass(frozen=True)
class GenerationCheck:
    """What one model, cut or not, wrote."""

    continuations: list[Continuation]
    sums: list[SumAnswer]
    repetition_rate: float
    """Means over the continuations."""
    distinct_rate: float
    n_tokens: float
    acc: float
    """Share of the sums that came out right."""
    acc_stderr: float
