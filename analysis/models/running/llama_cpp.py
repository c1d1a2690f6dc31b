"""llama.cpp in a separate process, by the optional package `xllamacpp`."""

import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

from analysis.core import sandbox
from analysis.core.errors import LayerscopeError, SpecError, UnsupportedModelError

MISSING = "llama.cpp is not installed. Run `pip install -r requirements-llamacpp.txt`."
"""Message shown if the optional package is not installed."""
N_THREADS = 2
_SECONDS = 1800.0
_MEMORY_BYTES = 8 << 30
"""Maximum address space of the process in addition to the memory-mapped file."""


def is_installed() -> bool:
    """Return whether the package is installed."""
    return importlib.util.find_spec("xllamacpp") is not None


def version() -> str:
    """Return name, version and threads: "llama.cpp (xllamacpp 2026.10), 2 threads"."""
    return f"llama.cpp (xllamacpp {importlib.metadata.version('xllamacpp')}), {N_THREADS} threads"


def complete(
    file: Path,
    requests: list[dict[str, Any]],
    n_ctx: int = 512,
    *,
    in_float32: bool = False,
    adapter: Path | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Run greedy completions with a GGUF file, one after the other.

    Args:
        file: the model.
        requests: `prompt` (text or token ids), `max_tokens` and `logprobs`, as in the OpenAI
            interface.
        n_ctx: length of the context in tokens.
        in_float32: whether the KV cache is in float32 instead of half precision.
        adapter: GGUF file of a LoRA adapter to apply.

    Returns:
        The answers, with llama.cpp's `timings`, and the peak memory of the process in bytes.

    Raises:
        SpecError: If xllamacpp is not installed.
        UnsupportedModelError: If llama.cpp does not load the file, or fails on it.
    """
    if not is_installed():
        raise SpecError(MISSING)
    memory = _MEMORY_BYTES + 3 * file.stat().st_size
    function = f"{__name__}:_complete"
    try:
        arguments = (
            str(file.absolute()),
            json.dumps(requests),
            str(n_ctx),
            str(int(in_float32)),
            str(adapter or ""),
        )
        reply = sandbox.answer(function, *arguments, memory_bytes=memory, seconds=_SECONDS)
    except (RuntimeError, sandbox.OverLimitError) as error:
        raise UnsupportedModelError(
            f"llama.cpp does not run {file.name} ({str(error).strip().splitlines()[-1][:200]})."
            " Export a model folder (hf)."
        ) from error
    return reply["answers"], reply["peak_bytes"]


def _complete(
    file: str, requests: str, n_ctx: str, in_float32: str, adapter: str
) -> dict[str, Any]:
    xllamacpp: Any = importlib.import_module("xllamacpp")  # without types
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx = int(n_ctx)
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = N_THREADS
    params.warmup = False
    params.verbosity = 0
    if adapter:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter)]
    if in_float32 == "1":
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    answers = []
    for request in json.loads(requests):
        answer = server.handle_completions({"temperature": 0, "cache_prompt": False, **request})
        if "choices" not in answer:
            raise LayerscopeError(f"llama.cpp failed: {json.dumps(answer)[:200]}")
        answers.append(answer)
    return {"answers": answers, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    """Return the peak memory of this process on Linux, else 0. `getrusage` would include the parent
    process.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
