"""`make bench-gpu`: the figures of the README on the CUDA GPU of this machine; without one it says so and ends with 2.

    python benchmarks/card.py                                the starter model and a random one of 1.5 billion parameters
    python benchmarks/card.py starter --dtype float32

It measures a distance map against a plain forward pass on the same batches, and the loss on text. It measures a curve of n = 0
to half of the layers, too. Each has seconds (median of `--repeats`, after a first run that counts the operations), tokens a
second and peak memory of the GPU. Operations a second come with their share of the fastest of some large products on this GPU.
Before it, the starter model on the GPU is compared with the same model on the CPU in float32.

Then peers score the starter model's curve, each n on a really pruned model. lm-evaluation-harness chooses its batch size, and
vLLM runs through it. Each runs at the first and the last n, after a run that is not timed. Its other n are on the line through
both. A peer that is not installed is named as missing. The harness needs requirements-dev.txt.
"""

import argparse
import gc
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import torch

from analysis.core import units
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import Question
from analysis.experiments.scoring import likelihood, trees
from analysis.models.loading import cuda, load, machine
from analysis.models.running import hidden_states, pruning
from analysis.models.source.model_spec import ModelSpec
from benchmarks.distance_speed import full_map
from benchmarks.evaluation_speed import whole
from benchmarks.scaling import cuts
from benchmarks.work import Made, flop_of, random_llama, say

MODELS = ("starter", "random")
PEERS = {"lm-eval": "lm_eval", "vLLM": "vllm"}
"""Packages that score the same questions, by the names that are printed."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    seconds: float
    n_tokens: int
    """Tokens that went in, independent of the layers that they pass."""
    peak_bytes: int
    flop: float

    def told(self, peak: float) -> str:
        """In words, beside the operations a second that a product reached."""
        speed = self.flop / self.seconds
        return (
            f"  {self.what:32}{self.seconds:9.3f} s{self.n_tokens / self.seconds:12,.0f} tokens/s"
            f"{units.size(self.peak_bytes):>10}{speed / 1e9:12,.0f} GFLOP/s {speed / peak:6.1%}"
        )


def measured(name: str, run: Callable[[], object], n_tokens: int, device: str, repeats: int) -> Row:
    machine.reset_peak(device)
    flop = flop_of(run)
    seconds = []
    for _ in range(repeats):
        cuda.wait(device)
        started = time.perf_counter()
        run()
        cuda.wait(device)
        seconds.append(time.perf_counter() - started)
    return Row(name, median(seconds), n_tokens, machine.peak_bytes(device), flop)


@torch.inference_mode()
def rows(loaded: Made, chosen: list[Question], *, n_texts: int, seq_len: int, device: str, repeats: int) -> list[Row]:
    """All that is measured of a model."""
    decoder = loaded.decoder
    tokens = iter(decoder.trial_tokens(n_texts * seq_len))
    texts = [[next(tokens) for _ in range(seq_len)] for _ in range(n_texts)]
    budget = hidden_states.tokens_per_batch(decoder.device)
    groups = [[texts[index] for index in group] for group in hidden_states.batches([seq_len] * n_texts, budget)]
    curve = curve_of(decoder)
    packed = likelihood.can_pack(decoder)
    encoded = [trees.encode(question, loaded.tokenizer, None) for question in chosen]

    def bare() -> None:
        for group in groups:
            decoder.body(input_ids=hidden_states.sent(hidden_states.right_padded(group), decoder.device), use_cache=False)

    work: dict[str, tuple[Callable[[], object], int]] = {
        "bare forward pass": (bare, n_texts * seq_len),
        "distance map": (lambda: full_map(decoder, groups), n_texts * seq_len),
        "loss, unpruned": (lambda: likelihood.text_losses(decoder, texts, [None]), n_texts * seq_len),
        f"curve, n = 0..{decoder.n_layers // 2}": (
            lambda: likelihood.option_loglikelihoods(decoder, encoded, curve, packed=packed),
            sum(map(len, likelihood.rows_of(decoder, encoded, packed=packed))),
        ),
    }
    return [measured(name, run, n_tokens, device, repeats) for name, (run, n_tokens) in work.items()]


def curve_of(decoder: Any) -> list:
    """The unpruned model and cuts of one layer to half of them."""
    return cuts(decoder.n_layers, decoder.n_layers // 2)


def requests_of(chosen: Sequence[Question]) -> list[list[Any]]:
    """The questions as the harness takes them: a context and an option each."""
    from lm_eval.api.instance import Instance

    return [
        [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(question.pairs())] for question in chosen
    ]


def harness_model(loaded: Made, dtype: str, batch_size: int | str = "auto") -> Any:
    """The harness's own way to run a model of transformers, with a batch size that it finds out."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=loaded.decoder.model, tokenizer=loaded.tokenizer, batch_size=batch_size)


def vllm_model(loaded: Made, dtype: str) -> Any:
    """VLLM, as the harness runs it, on a checkpoint of the model; batches are vLLM's own."""
    from lm_eval.models.vllm_causallms import VLLM

    folder = tempfile.mkdtemp(prefix="layerscope-bench-")
    loaded.decoder.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return VLLM(pretrained=folder, dtype=dtype, batch_size="auto", gpu_memory_utilization=0.5)


def peer_seconds(peer: Callable[[Made, str], Any], load_model: Callable[[], Made], dtype: str, requests: list) -> list[float]:
    """Seconds of a peer for the unpruned model and for the last cut of the curve, loading and pruning left out."""
    seconds = []
    for is_pruned in (False, True):
        loaded = load_model()
        if is_pruned:
            pruning.cut(loaded.decoder, curve_of(loaded.decoder)[-1])
        runner = peer(loaded, dtype)
        flat = [request for question in requests for request in question]
        for is_timed in (False, True):
            started = time.perf_counter()
            runner.loglikelihood(flat, disable_tqdm=True)
            if is_timed:
                seconds.append(time.perf_counter() - started)
        del runner, loaded
        gc.collect()
        cuda.release_memory()
    return seconds


def against_peers(ours: Row, n_layers: int, load_model: Callable[[], Made], dtype: str, chosen: list[Question]) -> list[str]:
    """One line for each peer: its seconds for the whole curve over ours."""
    lines = []
    makers = {"lm-eval": harness_model, "vLLM": vllm_model}
    for name, package in PEERS.items():
        missing = [needed for needed in dict.fromkeys(("lm_eval", package)) if importlib.util.find_spec(needed) is None]
        if missing:
            lines.append(f"  against {name:24} not measured, not installed: {', '.join(missing)}")
            continue
        first, last = peer_seconds(makers[name], load_model, dtype, requests_of(chosen))
        ns = list(range(n_layers // 2 + 1))
        total, estimate = whole({ns[0]: first, ns[-1]: last}, ns)
        lines.append(f"  against {name:24}{total:9.3f} s for all n ({estimate}), {total / ours.seconds:.2f} x ours")
    return lines


def tell(name: str, loaded: Made, measurements: list[Row], peak: float) -> None:
    n_parameters = loaded.n_parameters / 1e6
    say(f"{name}: {n_parameters:,.0f} M parameters, {loaded.decoder.n_layers} layers")
    for row in measurements:
        say(row.told(peak))
    seconds_of = {row.what: row.seconds for row in measurements}
    say(f"  a distance map takes {seconds_of['distance map'] / seconds_of['bare forward pass']:.3f} x the bare forward pass")


@torch.inference_mode()
def apart(on_card: Made, on_cpu: Made, chosen: list[Question]) -> float:
    """Largest difference of an option's log-likelihood, nats."""
    scores = []
    for loaded in (on_card, on_cpu):
        encoded = [trees.encode(question, loaded.tokenizer, None) for question in chosen]
        packed = likelihood.can_pack(loaded.decoder)
        scores.append(
            likelihood.option_loglikelihoods(loaded.decoder, encoded, cuts(loaded.decoder.n_layers, 2), packed=packed)
        )
    pairs = zip(*scores, strict=True)
    return max(abs(a - b) for x, y in pairs for p, q in zip(x, y, strict=True) for a, b in zip(p, q, strict=True))


def starter(dtype: str, device: str) -> Made:
    loaded = load.load(ModelSpec(dtype=dtype, device=device))
    return Made(loaded.decoder, loaded.tokenizer)


def main() -> int:
    parser = argparse.ArgumentParser(description="The figures of the README on a CUDA GPU.")
    parser.add_argument("models", nargs="*", help=f"{', '.join(MODELS)} (default: both)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--questions", type=int, default=200, help="questions of ARC-Easy")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if unknown := set(options.models) - set(MODELS):
        parser.error(f"no model {', '.join(unknown)}: choose from {', '.join(MODELS)}")
    if not cuda.is_available():
        print("There is no CUDA GPU that torch can use on this machine, so nothing was measured.", file=sys.stderr)
        return 2
    device = "cuda"
    peak = machine.most_flop_s(device, options.dtype, again=True)
    say(f"{cuda.name(device)}, torch {torch.__version__}, {options.dtype} products reach {peak / 1e12:.1f} TFLOP/s")
    chosen = questions.load(BenchmarkSpec("arc_easy", limit=options.questions))
    sizes = {"n_texts": options.texts, "seq_len": options.seq_len, "device": device, "repeats": options.repeats}
    for name in options.models or MODELS:
        loaded = (
            starter(options.dtype, device) if name == "starter" else random_llama(32, 2048, dtype=options.dtype, device=device)
        )
        if name == "starter":
            difference = apart(loaded, starter("float32", "cpu"), chosen[:8])
            say(f"the starter model on the card is within {difference:.1e} nats an option of float32 on the processor")
        measurements = rows(loaded, chosen, **sizes)
        tell(name, loaded, measurements, peak)
        if name == "starter":
            for line in against_peers(
                measurements[-1], loaded.decoder.n_layers, lambda: starter(options.dtype, device), options.dtype, chosen
            ):
                say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
