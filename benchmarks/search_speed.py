"""`make bench-search`: a searched path against the same search by full forwards of a really cut model.

    python benchmarks/search_speed.py [MAX_N] [--strategy greedy] [--dtype bfloat16] [--every 16]

Ours walks the whole path and measures every set that the walk asks for. The peer takes the layers out and lets the whole model
read the texts. It compares its logits with those of the unpruned model, whose log-probabilities it keeps. It measures every
so-many-th of the sets that ours measured, on the very texts, and its time per token is multiplied by all tokens. The figures
are compared too.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from analysis.core.blocks import removal
from analysis.data import corpora
from analysis.experiments.search.objective import Objective, counted, looks
from analysis.experiments.search.search_spec import STREAM_BYTES, SearchSpec
from analysis.experiments.strategies import SEARCHING, STRATEGIES, Layers, greedy
from analysis.models.loading import load
from analysis.models.running.hidden_states import right_padded
from analysis.models.running.pruning import without_block
from analysis.models.source.model_spec import ModelSpec
from benchmarks.work import Work, here, metered, say, take_dtype

TARGET, TARGET_S = 5, 300


class Asking:
    """Questions of a walk, answered by `Objective`, with a note of all measured sets."""

    def __init__(self, loaded: Any, spec: SearchSpec, max_n: int) -> None:
        self.n_layers, self.max_n, self.budget, self.seed = loaded.decoder.n_layers, max_n, spec.budget, spec.seed
        self.free = range(self.n_layers)
        self.texts = corpora.tokenize(spec.corpus, loaded.tokenizer).token_ids
        self._ends = looks(len(self.texts), spec.first)
        self._objective = Objective(
            loaded.decoder, self.texts, kind="kl", stride=spec.stride, ends=self._ends, keep_bytes=STREAM_BYTES
        )
        self.values: dict[Layers, np.ndarray] = {}
        self.measured: list[tuple[Layers, int, int]] = []
        """The sets, each with the texts [begin, end) that it was measured on."""

    def _ask(self, sets: Sequence[Layers], begin: int, end: int) -> None:
        missing = [
            layers
            for layers in dict.fromkeys(sets)
            if layers not in self.values or np.isnan(self.values[layers][begin:end]).any()
        ]
        for layers in missing:
            self.values.setdefault(layers, np.full(len(self.texts), np.nan))
        self.measured += [(layers, begin, end) for layers in missing]
        for index, texts, values in self._objective.measured(missing, begin, end) if missing else ():
            self.values[missing[index]][texts] = values

    def _means(self, sets: Sequence[Layers], n_looks: int) -> list[float]:
        ends = self._ends[:n_looks]
        for begin, end in itertools.pairwise((0, *ends)):
            self._ask(sets, begin, end)
        return [float(self.values[layers][: ends[-1]].mean()) for layers in sets]

    def first(self, sets: Sequence[Layers]) -> list[float]:
        return self._means(sets, 1)

    def half(self, sets: Sequence[Layers]) -> list[float]:
        return self._means(sets, 2)

    def whole(self, sets: Sequence[Layers]) -> list[float]:
        return self._means(sets, 3)

    influence = property(lambda self: self._objective.influence)
    likeness = property(lambda self: self._objective.likeness)


class Plain:
    """The same by full forwards of the model that is really cut."""

    def __init__(self, loaded: Any, texts: list[list[int]], stride: int) -> None:
        self._loaded, self._texts, self._stride = loaded, texts, stride
        self._unpruned: dict[tuple[int, int], torch.Tensor] = {}

    @torch.inference_mode()
    def _read(self, layers: Layers, begin: int, end: int) -> torch.Tensor:
        ids = right_padded(self._texts[begin:end])
        with without_block(self._loaded.decoder, removal(layers) if layers else None):
            return self._loaded.model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)

    def prepare(self, begin: int, end: int) -> None:
        """Read the texts once with the unpruned model, which is not timed."""
        if (begin, end) not in self._unpruned:
            self._unpruned[begin, end] = self._read((), begin, end)

    def measure(self, layers: Layers, begin: int, end: int) -> list[float]:
        """KL of each text, nats per token."""
        p, q = self._unpruned[begin, end], self._read(layers, begin, end)
        divergence = (p.exp() * (p - q)).sum(-1)
        return [
            float(divergence[row, list(counted(len(ids), self._stride))].mean())
            for row, ids in enumerate(self._texts[begin:end])
        ]


def main() -> None:
    """Search, replay a part of it plainly as it goes, and print both."""
    parser = argparse.ArgumentParser(description="A searched path against full forwards of really cut models.")
    parser.add_argument("max_n", nargs="?", type=int, default=15)
    parser.add_argument("--strategy", choices=list(SEARCHING), default="greedy")
    parser.add_argument("--every", type=int, default=16, help="one in so many sets is measured plainly")
    take_dtype(parser)
    options = parser.parse_args()
    this_machine = here(options.dtype)
    spec = SearchSpec(strategy=options.strategy)
    loaded = load.load(ModelSpec(dtype=this_machine.dtype, device="cpu"))
    search = STRATEGIES[options.strategy].search
    assert search is not None
    own, other = Work(), Work()
    with metered(own):
        asking = Asking(loaded, spec, options.max_n)
    plain = Plain(loaded, asking.texts, spec.stride)
    walk, path, done, differences, sampled = search.walk(asking), [], 0, [], 0
    for _ in range(options.max_n):  # taken in turns, so that other load of the machine affects both
        with metered(own):
            path.append(next(walk)[0])
        for layers, begin, end in asking.measured[done :: options.every]:
            plain.prepare(begin, end)
            with metered(other):
                values = plain.measure(layers, begin, end)
            sampled += tokens_of(asking, begin, end)
            differences.append(max(abs(a - b) for a, b in zip(values, asking.values[layers][begin:end], strict=True)))
        done = len(asking.measured)
    tokens = sum(tokens_of(asking, begin, end) for _, begin, end in asking.measured)
    n_sets = len(asking.values.keys() - {()})
    say(f"{options.strategy}, n = 1..{options.max_n}: {n_sets} sets, {tokens:,} tokens without some layers")
    say(f"  {torch.get_num_threads()} thread(s), ends with {removal(path[-1]).describe()}")
    say(f"  ours   {own.seconds:.1f} s (target {TARGET_S}), {this_machine.speed(own)}")
    say(f"  plain  predicted from {len(differences)} of {len(asking.measured)} measurements, {this_machine.speed(other)}")
    n_published = greedy.n_grown(asking.n_layers, options.max_n) if options.strategy == "greedy" else n_sets
    all_tokens = n_published * tokens_of(asking, 0, len(asking.texts))
    published = f"{n_published} sets, each on all texts"
    for description, read in (("the very measurements", tokens), (published, all_tokens)):
        estimate, processor, flop = (amount * read / sampled for amount in (other.seconds, other.cpu_s, other.flop))
        ratios = estimate / own.seconds, processor / own.cpu_s, flop / own.flop
        say(
            f"    {description}: {estimate:.1f} s, {ratios[0]:.2f} x (target {TARGET}), of CPU seconds {ratios[1]:.2f} x, "
            f"of the operations {ratios[2]:.2f} x"
        )
    say(f"  KL differs by {fmean(differences):.1e} nats on average, {max(differences):.1e} at most")


def tokens_of(asking: Asking, begin: int, end: int) -> int:
    """Of some texts."""
    return sum(len(ids) for ids in asking.texts[begin:end])


if __name__ == "__main__":
    main()
