"""Requests about a prompt of the user's own: several models go on with it side by side, or one is watched reading it."""

from dataclasses import dataclass, field
from typing import ClassVar

from analysis.blocks import Block, LayerSet
from analysis.model_spec import ModelSpec
from analysis.spec import Spec, require

LONGEST_PROMPT = 2000
"""Characters of a prompt."""
MOST_NEW_TOKENS = 512
"""Tokens that a model may be asked to write."""
MOST_VARIANTS = 8
"""Models that write side by side."""
LABELS = ("unpruned", "pruned", "instant", "healed")
"""What has been done to a model: nothing, cut, cut and healed in closed form, cut and healed by training."""


@dataclass(frozen=True)
class Variant(Spec):
    """One of the models that are compared: the model of the request, cut or not, healed or not."""

    kind: ClassVar[str] = "variant"

    label: str = "unpruned"
    """One of `LABELS`: what people are told has been done to it."""
    block: Block | LayerSet | None = None
    """The removed layers; None for none."""
    adapter: str | None = None
    """A PEFT folder, or its place under the cache folder; applied after the cut."""
    identity: str = ""
    """What the adapter's weights are, whatever the path: filled in by `comparison.resolve`."""

    def __post_init__(self) -> None:
        require(self.label in LABELS, f"A variant is one of {', '.join(LABELS)}, not {self.label!r}.")
        require(
            self.label != "unpruned" or (self.block is None and self.adapter is None),
            "The unpruned model has no layers removed and no adapter; call this variant pruned or healed.",
        )

    @property
    def is_unpruned(self) -> bool:
        """Whether nothing has been done to it."""
        return self.block is None and self.adapter is None


def check_prompt(prompt: str) -> None:
    """Raise `SpecError` unless there is a prompt and it is short enough."""
    require(bool(prompt.strip()), "The prompt is empty; write the beginning of a text that the model can go on with.")
    require(
        len(prompt) <= LONGEST_PROMPT,
        f"The prompt has {len(prompt):,} characters and may have {LONGEST_PROMPT:,}; shorten it.",
    )
    require(not any("\ud800" <= letter <= "\udfff" for letter in prompt), "The prompt is not valid text; write it as UTF-8.")


@dataclass(frozen=True)
class CompareSpec(Spec):
    """Several variants of a model that go on with the same prompt, with the same seed."""

    kind: ClassVar[str] = "compare"

    model: ModelSpec = field(default_factory=ModelSpec)
    prompt: str = "The capital of France is"
    """The beginning of a text, as it stands: no chat template is put around it."""
    variants: tuple[Variant, ...] = (Variant(),)
    """Who writes, in order."""
    max_new_tokens: int = 64
    """Where to stop at the latest."""
    temperature: float = 0.0
    """0 takes the likeliest token each time (greedy); above 0 tokens are drawn, at 1 by the model's own probabilities."""
    seed: int = 0
    """Seed of the draws, the same for every variant; without effect at temperature 0."""

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        require(
            1 <= len(self.variants) <= MOST_VARIANTS,
            f"Between 1 and {MOST_VARIANTS} variants can be compared, not {len(self.variants)}.",
        )
        require(
            1 <= self.max_new_tokens <= MOST_NEW_TOKENS,
            f"The number of tokens to write must be 1..{MOST_NEW_TOKENS}, not {self.max_new_tokens}.",
        )
        require(0 <= self.temperature <= 5, f"The temperature must be 0 (greedy) to 5, not {self.temperature:g}.")
        require(0 <= self.seed < 2**63, f"The seed must be a whole number of at least 0, not {self.seed}.")


@dataclass(frozen=True)
class MicroscopeSpec(Spec):
    """What every layer does to every token of a prompt, and what the model would guess after each layer."""

    kind: ClassVar[str] = "microscope"

    model: ModelSpec = field(default_factory=ModelSpec)
    prompt: str = "The capital of France is"
    """The text that is read, as it stands."""
    block: Block | LayerSet | None = None
    """Layers to leave out; None for the whole model."""

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
