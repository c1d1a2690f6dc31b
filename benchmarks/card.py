"""`make bench-gpu`: the figures of the README on the CUDA GPU of this machine; without one it says so and ends with 2.

    python benchmarks/card.py                                the starter model and a random one of 1.5 billion parameters
    python benchmarks/card.py starter --dtype float32

It measures a distance map against a plain forward pass on the same batches, and the loss on text. It measures a curve of n = 0
to half of the layers, too. Each has seconds (median of `--repeats`, after a first run that counts the operations), tokens a
second and peak memory of the GPU. Operations a second come with their share of the fastest of some large products on this GPU.
Before it, the starter model on the GPU is compared with the same model on the CPU in float32.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import torch

from analysis.core import units
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import Question
from analysis.experiments.scoring import likelihood, trees
from analysis.models.loading import load, machine
from analysis.models.running import hidden_states
from analysis.models.source.model_spec import ModelSpec
from benchmarks.distance_speed import full_map
from benchmarks.scaling import cuts
from benchmarks.work import Made, flop_of, random_llama, say, wait

MODELS = ("starter", "random")


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
        wait(device)
        started = time.perf_counter()
        run()
        wait(device)
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
    curve = cuts(decoder.n_layers, decoder.n_layers // 2)
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
            sum(likelihood.row_lengths(encoded, packed=packed)),
        ),
    }
    return [measured(name, run, n_tokens, device, repeats) for name, (run, n_tokens) in work.items()]


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
    if not torch.cuda.is_available():
        print("There is no CUDA GPU that torch can use on this machine, so nothing was measured.", file=sys.stderr)
        return 2
    device = "cuda"
    peak = machine.most_flop_s(device, options.dtype, again=True)
    say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.dtype} products reach {peak / 1e12:.1f} TFLOP/s")
    chosen = questions.load(BenchmarkSpec("arc_easy", limit=options.questions))
    sizes = {"n_texts": options.texts, "seq_len": options.seq_len, "device": device, "repeats": options.repeats}
    for name in options.models or MODELS:
        loaded = (
            starter(options.dtype, device) if name == "starter" else random_llama(32, 2048, dtype=options.dtype, device=device)
        )
        if name == "starter":
            difference = apart(loaded, starter("float32", "cpu"), chosen[:8])
            say(f"the starter model on the card is within {difference:.1e} nats an option of float32 on the processor")
        tell(name, loaded, rows(loaded, chosen, **sizes), peak)
    return 0


if __name__ == "__main__":
    sys.exit(main())
