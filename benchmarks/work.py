"""Helpers of benchmarks: random models of any size, and the speed of code relative to this machine's peak."""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from analysis.core import host, store
from analysis.core.meter import COUNTS
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import float32_products, residual
from analysis.models.loading import cuda, gguf_conversion, machine, planning
from analysis.models.source.model_spec import ModelSpec

_HEAD_WIDTH = 64
_LASTING_SIZE = 1024
"""Rows and columns of the matrices whose products last for a second."""
DTYPES = ("float32", "bfloat16")


def say(*words: object) -> None:
    print(*words, flush=True)


def busy_program() -> subprocess.Popen[bytes]:
    """Start a program that keeps a core busy. It ends with this process, however that ends."""
    return subprocess.Popen([sys.executable, "-c", f"import os\nwhile os.getppid() == {os.getpid()}: pass"])


@dataclass
class Work:
    """Computation of models in stretches of code, padding and masked attention included, and its seconds."""

    seconds: float = 0.0
    flop: float = 0.0
    layer_tokens: int = 0
    """Tokens that went through a layer, each counted once for each layer."""
    cpu_s: float = 0.0
    """CPU seconds of this process, which grow less on a machine that others use."""


@contextlib.contextmanager
def metered(work: Work | None = None) -> Iterator[Work]:
    """Time the code inside, and count the computation of its models that `operations.watch` watches, as it watches loaded ones.

    Args:
        work: the sum to add to; nothing by default.
    """
    work = Work() if work is None else work
    flop, layer_tokens, cpu, started = COUNTS.flop, COUNTS.layer_tokens, time.process_time(), time.perf_counter()
    try:
        yield work
    finally:
        work.seconds += time.perf_counter() - started
        work.flop += COUNTS.flop - flop
        work.layer_tokens += COUNTS.layer_tokens - layer_tokens
        work.cpu_s += time.process_time() - cpu


def interleaved(repeats: int, **runs: Callable[[], object]) -> dict[str, list[Work]]:
    """Run every piece of work some times, taken in turns, so that drift of the machine affects all equally."""
    works: dict[str, list[Work]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            with metered() as work:
                run()
            works[name].append(work)
    return works


def typical(works: Sequence[Work]) -> Work:
    """Of repeats of the same, or of much the same: the median of each figure."""
    return Work(*(median(figures) for figures in zip(*map(astuple, works), strict=True)))


@dataclass(frozen=True)
class Here:
    """The machine that a benchmark runs on, in the dtype that models are computed in."""

    dtype: str
    most_flop_s: float
    """Operations a second of its fastest matrix products."""

    def speed(self, work: Work) -> str:
        """Return operations a second, and their share of the speed of products."""
        flop_s = work.flop / work.seconds
        return f"{flop_s / 1e9:.1f} GFLOP/s, {flop_s / self.most_flop_s:.0%} of the peak"


def here(dtype: str, device: str = "auto") -> Here:
    """Measure the peak speed of this machine, and print it with its load.

    Args:
        dtype: `auto` is the one that suits the machine.
        device: of the models; `auto` is the one that a model is loaded on.
    """
    spec = planning.resolve(ModelSpec(dtype=dtype, device=device))
    most_flop_s = machine.most_flop_s(spec.device, spec.dtype, again=True)
    name = cuda.name(spec.device) if spec.device.startswith("cuda") else machine.cpu_name()
    busy = host.load()
    description = f"{name}, load {busy.average:.1f} on {busy.cores} core{'s' * (busy.cores > 1)}"
    lasting = _lasting_flop_s(spec.device, spec.dtype)
    reach = f"products reach {most_flop_s / 1e9:.0f} GFLOP/s in {spec.dtype}, and {lasting / 1e9:.0f} over a second"
    say(f"{description}, {reach}")
    return Here(spec.dtype, most_flop_s)


def _lasting_flop_s(device: str, dtype: str) -> float:
    """Return operations a second of products one after another: a processor may not keep its fastest clock for a second."""
    of_products = getattr(torch, dtype)
    if device == "cpu":
        of_products = float32_products.dtype_of_products(of_products)
    matrix = torch.randn(_LASTING_SIZE, _LASTING_SIZE).to(device, of_products)
    started, n_products = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started) < 1.0:
        matrix.matmul(matrix)
        cuda.wait(device)
        n_products += 1
    return 2.0 * _LASTING_SIZE**3 * n_products / seconds


def take_dtype(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """Give a command line `--dtype`, as `here` takes it."""
    help_text = "of the weights and of the computation (auto: the one that suits this machine)"
    parser.add_argument("--dtype", default=default, choices=("auto", *DTYPES), help=f"{help_text} (default: {default})")


@dataclass(frozen=True)
class Made:
    """A random model in memory, with a tokenizer that fits it."""

    decoder: architecture.Decoder
    tokenizer: Any

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.decoder.model.parameters())  # tied weights are yielded once


def fresh_cache() -> None:
    """Compute in an empty cache that shares the converted starter model, so that nothing is read from earlier runs."""
    gguf_conversion.model_folder()
    machine.bfloat16_speed_ratio()
    scratch = tempfile.mkdtemp(prefix="layerscope-bench-")
    for name in ("models", "machine.json"):
        os.symlink(store.cache_dir() / name, os.path.join(scratch, name))
    os.environ["LAYERSCOPE_CACHE"] = scratch


def random_llama(n_layers: int, hidden_size: int, *, dtype: str, device: str = "cpu", window: int = 4096) -> Made:
    """A random Llama with the starter model's vocabulary, tied as it is there, the same at every call.

    Args:
        n_layers: decoder layers.
        hidden_size: a multiple of 64, the width of a head; a quarter of the heads have keys and values.
        dtype: of the weights.
        device: where they are.
        window: positions that it knows.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf_conversion.model_folder())
    heads = hidden_size // _HEAD_WIDTH
    config = LlamaConfig(
        hidden_size=hidden_size,
        intermediate_size=-(-8 * hidden_size // 3 // 64) * 64,
        num_hidden_layers=n_layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 4),
        vocab_size=len(tokenizer),
        max_position_embeddings=window,
        tie_word_embeddings=True,
        dtype=dtype,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    decoder = architecture.find_decoder(model)
    float32_products.prepare(model.modules())
    residual.widen(decoder)  # both as a model that is loaded
    return Made(decoder, tokenizer)


def flop_of(run: Callable[[], object]) -> float:
    """Return the floating-point operations of a run's products and attention, two for a multiply-add.

    Computation without effect, such as padding, counts. Half of a causal square is counted on a CPU, whose kernel leaves the
    other half out, and the whole on a GPU.
    """
    on_cpu = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_on_cpu,
    }
    with FlopCounterMode(display=False, custom_mapping=on_cpu) as counter:
        run()
    return float(counter.get_total_flops())


def _attention_on_cpu(query: Any, key: Any, value: Any, dropout_p: float = 0.0, is_causal: bool = False, **options: Any) -> int:
    batch, heads, n_queries, width = query
    operations = 2 * batch * heads * n_queries * key[-2] * (width + value[-1])
    return operations // 2 if is_causal else operations
