"""Which model is asked about, and how it runs: a part of nearly every request."""

from dataclasses import dataclass
from typing import ClassVar

from analysis.spec import Spec, require

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("none", "4bit", "8bit")


@dataclass(frozen=True)
class ModelSpec(Spec):
    """Which model, and in which precision and place it runs."""

    kind: ClassVar[str] = "model"

    source: str = "starter"
    """`starter`, a hub id, a local Hugging Face folder, or a GGUF file."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; None for the default branch."""
    dtype: str = "auto"
    """float32, bfloat16, float16, or auto: what this machine is good at."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto."""
    quantization: str = "none"
    """none, 4bit (NF4) or 8bit."""
    identity: str = ""
    """What the weights are, whatever the path: filled in by `models.resolve`, empty before."""

    def __post_init__(self) -> None:
        require(bool(self.source.strip()), "No model was named: give `starter`, a hub id, a folder or a GGUF file.")
        require(self.dtype in DTYPES, f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}.")
        require(
            self.quantization in QUANTIZATIONS,
            f"quantization must be one of {', '.join(QUANTIZATIONS)}, not {self.quantization!r}.",
        )
