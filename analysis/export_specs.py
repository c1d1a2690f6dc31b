"""The request for an export: which cut of which model goes into which folder under the cache."""

import re
from dataclasses import dataclass, field
from typing import ClassVar

from analysis.blocks import Block, LayerSet
from analysis.model_spec import ModelSpec
from analysis.spec import Spec, require

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class ExportSpec(Spec):
    """A plain Hugging Face folder of a model without some layers, an adapter merged in if there is one."""

    kind: ClassVar[str] = "export"

    block: Block | LayerSet
    """The layers to leave out."""
    name: str
    """Name of the folder under `exports/` in the cache: letters, digits, dots, dashes and underscores."""
    model: ModelSpec = field(default_factory=ModelSpec)
    """The model, unquantized; `dtype` is what the folder is saved in."""
    adapter: str | None = None
    """Folder of a PEFT adapter to merge in, relative to the cache folder or absolute; None for the bare cut."""

    def __post_init__(self) -> None:
        require(
            _NAME.fullmatch(self.name) is not None,
            f"The name of an export is up to 80 letters, digits, dots, dashes and underscores and begins with a letter or a "
            f"digit, not {self.name[:90]!r}.",
        )
        require(
            self.model.quantization == "none",
            "A quantized model is not exported: rounding would be baked in; choose quantization none.",
        )
