"""Exports of model folders: the request, and the result of loading one again."""

import re
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from analysis.core.blocks import Removal
from analysis.core.bounds import Count, Loss, NonNegative, Share, one_of
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts

FORMS = ("hf", "gguf")
"""The forms in which a model is saved: a plain Hugging Face folder, or one GGUF file for
llama.cpp."""
FORMATS = (*FORMS, "mergekit")
"""The forms and the recipe of another program, which holds no weights."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@spec_dataclass
class ExportSpec(Spec):
    """Export of a pruned model, with its adapter merged in, as a plain Hugging Face folder or a
    GGUF file.
    """

    kind: ClassVar[str] = "export"
    later: ClassVar[tuple[str, ...]] = ("format", "push", "is_private")

    block: Annotated[Removal, Option()]
    """Removed layers or sublayers."""
    name: Annotated[str, Option()]
    """Name of the folder under `exports/` in the cache folder."""
    model: ModelSpec = field(default_factory=ModelSpec)
    """Unquantized model; `dtype` is that of the folder."""
    adapter: Annotated[str | None, Option(metavar="DIR")] = None
    """Folder of a PEFT adapter to merge in, or `adapters/ID` in the cache folder (default:
    none)."""
    format: Annotated[str, Option(known=FORMATS)] = "hf"
    """Format: `hf` is a folder, `gguf` the cut GGUF file, `mergekit` its recipe (with `--out`)."""

    push: str | None = None
    """Repository on the Hub to upload it to, ORG/NAME; None for no upload."""
    is_private: bool = True
    """Make a new repository private."""

    def __post_init__(self) -> None:
        one_of("format", self.format, FORMATS)
        require(
            self.format in FORMS,
            f"A {self.format} recipe is not saved under a name. Use --out DIR.",
        )
        require(
            _NAME.fullmatch(self.name) is not None,
            f"{self.name[:90]!r} is not the name of an export. Use up to 80 letters, digits, dots,"
            " dashes and underscores, with a letter or a digit first.",
        )
        require(
            self.model.quantization == "none",
            "A quantized model cannot be exported, because the export would keep the rounding."
            " Choose quantization none.",
        )


@dataclass(frozen=True)
class RuntimeCheck:
    """Comparison of an exported file in another runtime with the same file in this one."""

    runtime: str
    """Name of the runtime."""
    n_prompts: Count
    """Prompts that both continue greedily."""
    n_same: Count
    """Prompts with the same text if the runtime reads the file's weights in float32."""
    n_prefixes: Count
    """Prefixes whose most likely next tokens were compared."""
    mean_difference: NonNegative
    """Mean absolute difference of their log-probabilities then, in nats."""
    tolerance: NonNegative
    """Largest `mean_difference`."""
    n_same_stored: Count
    """`n_same` for the written file itself, for which llama.cpp rounds activations to 8 bits."""
    stored_difference: NonNegative
    """`mean_difference` for the written file itself."""

    def in_words(self) -> str:
        """Return the comparison in a sentence."""
        return (
            f"In {self.runtime}, with these weights in float32, {self.n_same} of {self.n_prompts}"
            " greedy texts are the same, and log-probabilities of the next token differ by"
            f" {self.mean_difference:.1g} nats on average ({self.n_prefixes} prefixes, allowed"
            f" {self.tolerance:g}). With the file as it is, {self.runtime} rounds activations to 8"
            f" bits: {self.n_same_stored} of {self.n_prompts}, and {self.stored_difference:.3f}"
            " nats."
        )


@dataclass(frozen=True)
class ReloadCheck:
    """Comparison of a saved folder, loaded again in plain transformers, with the model in memory,
    on real text.
    """

    dtype: str
    """The dtype of both computations."""
    n_tokens: Count
    """Tokens whose logits were compared."""
    max_difference: NonNegative
    """Largest absolute difference of a logit."""
    relative_difference: NonNegative
    """Root mean square of the difference over that of the logits, each less its token's mean."""
    tolerance: NonNegative
    """Largest `relative_difference` in this dtype."""
    same_first: Share
    """Share of the tokens with the same most likely next token, in [0, 1]."""
    merged: bool
    """Whether an adapter was merged in; then the reference is the model with the unmerged
    adapter."""
    runtime: RuntimeCheck | None = None
    """Comparison in llama.cpp; None for a folder, and if llama.cpp is not installed."""
    loss: Loss | None = None
    """Loss of a healed GGUF file by its own bytes, in nats/token; None for others."""
    healed_loss: Loss | None = None
    """Loss of the healed model before its changed matrices were quantized again."""
    loss_texts: Count = 0
    """Texts of C4 that both losses were measured on."""

    def in_words(self) -> str:
        """Return loss and comparison in llama.cpp of a GGUF file in sentences; "" for others."""
        sentences = [] if self.runtime is None else [self.runtime.in_words()]
        if self.loss is not None:
            loss = (
                f"Loss of the file {self.loss:.3f} nats/token, of the healed model before"
                f" quantization {self.healed_loss:.3f}"
            )
            sentences.insert(0, f"{loss} ({self.loss_texts} texts of C4).")
        return " ".join(sentences)


@dataclass(frozen=True)
class ExportResult(Result):
    """An exported model folder."""

    kind: ClassVar[str] = "export"
    spec_type: ClassVar[type[Spec]] = ExportSpec

    model: ModelFacts
    """Unpruned model."""
    n_layers: Count
    """Layers left."""
    size_bytes: Count
    """Bytes of the folder."""
    check: ReloadCheck
    pushed: str = ""
    """Address on the Hub; "" if it was not uploaded."""


register(
    Experiment(
        ExportSpec, ExportResult, run="analysis.exports.export:run", title="Export", place=11
    )
)
