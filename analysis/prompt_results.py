"""What is found out about a prompt: texts that were written side by side, or the model's path from layer to layer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import ClassVar

from analysis.prompt_specs import CompareSpec, MicroscopeSpec, Variant
from analysis.result import Result
from analysis.spec import Spec


def first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Where two sequences part: the first index at which they differ or only one goes on; None when they are equal."""
    common = next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return None if common == len(a) == len(b) else common


@dataclass(frozen=True)
class Writing:
    """What one variant has written so far."""

    token_ids: list[int]
    """Without the token that ended the text, if one did."""
    pieces: list[str]
    """The text of each token; joined they are the text. Empty where a letter needs a further token."""
    own_surprise: list[float]
    """Per token, -log of its probability under the model that wrote it, at temperature 1; nats, at least 0."""
    unpruned_surprise: list[float]
    """The same under the unpruned model, which reads what was written; empty until all is written."""
    n_layers: int
    """Layers that this variant runs."""
    prefill_s: float
    """Seconds from the prompt to the first token."""
    decode_s: float
    """Seconds of all further tokens."""
    ended: bool
    """Whether the model ended the text by itself."""
    complete: bool

    @property
    def text(self) -> str:
        """All that was written."""
        return "".join(self.pieces)

    @property
    def decode_rate(self) -> float | None:
        """Tokens per second after the first; None while there is no second one."""
        steps = len(self.token_ids) + self.ended - 1
        return steps / self.decode_s if steps > 0 and self.decode_s > 0 else None

    def prefill_rate(self, n_prompt_tokens: int) -> float | None:
        """Prompt tokens read per second; None before the first token."""
        return n_prompt_tokens / self.prefill_s if self.prefill_s > 0 else None


def mean_surprise(surprise: Sequence[float]) -> float | None:
    """Mean nats per token; None for no tokens."""
    return fmean(surprise) if surprise else None


@dataclass(frozen=True)
class CompareResult(Result):
    """The same prompt, continued by several variants of a model."""

    kind: ClassVar[str] = "compare"
    spec_type: ClassVar[type[Spec]] = CompareSpec

    model_name: str
    n_layers: int
    """L of the unpruned model."""
    n_prompt_tokens: int
    writings: list[Writing] = field(default_factory=list)
    """One for each of `spec.variants` that has begun, in their order."""

    @property
    def written(self) -> list[tuple[Variant, Writing]]:
        """Every variant that has begun, with what it wrote."""
        return list(zip(self.spec.variants, self.writings, strict=False))

    def parts_at(self, index: int) -> int | None:
        """The first token at which a variant departs from the unpruned model's text; None where it does not (yet).

        Args:
            index: of the variant.
        """
        whole = next((writing for variant, writing in self.written if variant.is_unpruned), None)
        own = self.writings[index]
        if whole is None or whole is own:
            return None
        found = first_difference(own.token_ids, whole.token_ids)
        is_behind = found is not None and found in (len(own.token_ids), len(whole.token_ids))
        if is_behind and not (own.complete and whole.complete):
            return None
        return found


@dataclass(frozen=True)
class MicroscopeResult(Result):
    """What every layer does to every token of a prompt."""

    kind: ClassVar[str] = "microscope"
    spec_type: ClassVar[type[Spec]] = MicroscopeSpec

    model_name: str
    n_layers: int
    """L of the unpruned model."""
    layers: list[int]
    """The layers that ran, by their number in the unpruned model, first one first."""
    pieces: list[str]
    """The text of each token that was read."""
    n_left_out: int
    """Tokens at the prompt's end that were not read, because only so many are shown."""
    distances: list[list[float]]
    """Per layer that ran, per token: angular distance between its input and its output, in [0, 1]."""
    guesses: list[list[list[int]]]
    """Per depth (0 = embeddings, i = after the i-th layer that ran), per token: the likeliest next tokens, likeliest first."""
    probabilities: list[list[list[float]]]
    """Their probabilities, same shape."""
    final_probability: list[list[float]]
    """Per depth, per token: the probability of the token that is the likeliest after the last layer."""
    settled: list[int]
    """Per token: the first depth from which on the final guess stays on top."""
    vocabulary: dict[str, str]
    """The text of every guessed token, by its id in decimal."""

    def guess(self, depth: int, position: int, rank: int = 0) -> str:
        """The text of a guess."""
        return self.vocabulary[str(self.guesses[depth][position][rank])]
