"""`python benchmarks/compensation.py`: recovery by each way of compensating removed layers without training.

    python benchmarks/compensation.py --cuts 14:5,12:8 --recipes instant,ghosted      a part of it

On the starter model it removes the similarity strategy's blocks at n = 3, 5, 8, 10, from the precomputed map. Two better
blocks, found by a search by loss, are removed as well. It prints nats per token over the unpruned model on 32 texts of C4.

The methods are fitted on Wikipedia, the instant heal's strength is chosen on eight other texts of C4. Intervals are 95 % of
paired differences over texts. All methods of a cut read the same fitting text, once; seconds are those of the
rest.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch

from analysis.core import stats
from analysis.core.blocks import Removal, parse_removal
from analysis.data import corpora
from analysis.data.spec import default_loss_corpus
from analysis.experiments.accuracy import scores
from analysis.experiments.heal import junction, packing, recipes
from analysis.experiments.heal.heal_spec import CALIBRATION_TEXTS, CHOICE_TEXTS, default_heal_corpus
from analysis.experiments.scoring import likelihood
from analysis.models.architecture.decoder import Decoder
from analysis.models.loading import load
from analysis.models.loading.load import LoadedModel
from analysis.models.source.model_spec import ModelSpec
from benchmarks.evaluation_speed import best_blocks
from benchmarks.work import here, say, take_dtype

BETTER = "14:5,12:8"
"""The contiguous blocks of five and of eight layers whose removal costs the starter model least."""
NS = (3, 5, 8, 10)


class Texts:
    """Texts to judge by, to choose on and to fit on: three sets of texts without a common passage."""

    def __init__(self, loaded: LoadedModel, n_fitted: int) -> None:
        judging = corpora.resolve(default_loss_corpus())
        self.judging = scores.prepare(loaded, None, judging).texts
        self.choosing = scores.prepare(loaded, None, replace(judging, n_texts=CHOICE_TEXTS), skip_texts=judging.n_texts).texts
        near_copies = packing.near_copy_filter([*self.judging, *self.choosing], loaded.tokenizer)
        corpus = corpora.resolve(default_heal_corpus())
        self.fitting = packing.beginnings(corpus, near_copies, loaded.tokenizer, n_fitted, junction.TEXT_TOKENS)
        self.weights = [len(ids) - 1 for ids in self.judging]

    def over(self, reference: list[float], losses: list[float]) -> str:
        """How far losses are over others, with the interval."""
        mean, low, high = stats.compare_losses(reference, losses, self.weights)
        return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def keep_what_is_read() -> None:
    """Let the methods of a cut share the streams read at a gap; the first one has to watch the projection."""
    read, cache = junction.Gap.states, {}

    def seen(entered_gap: junction.Gap, module: Any, sequences: Any) -> Any:
        if entered_gap.earlier:  # the streams there depend on the method
            return read(entered_gap, module, sequences)
        key = entered_gap.gap, tuple(sequences[0][:16])
        if key not in cache:
            if any(gap != entered_gap.gap for gap, _ in cache):
                cache.clear()
            cache[key] = read(entered_gap, module, sequences)
        return cache[key]

    junction.Gap.states = seen


@torch.inference_mode()
def healed(decoder: Decoder, cut: Removal, name: str, texts: Texts) -> tuple[list[float], str]:
    """Return the losses of the cut model with a recipe's compensation, and its strength and seconds in words."""
    started, recipe = time.perf_counter(), recipes.get(name)
    fitted = junction.fit(decoder, cut, texts.fitting, texts.choosing, compensation=recipe.compensation)
    seconds = time.perf_counter() - started
    with junction.applied(decoder, cut, fitted.changes, fitted.bridges):
        losses = likelihood.text_losses(decoder, texts.judging, [None])[0]
    factors = [report.factor for report in fitted.report.gaps if report.factor is not None]
    strength = ", ".join(f"x {factor:.3f}" for factor in factors) or f"strength {fitted.report.strength:.2f}"
    return losses, f"{strength}, {seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", default="", help="START:SIZE, several joined by commas, sets of layers by +")
    parser.add_argument("--recipes", default="instant,prune-comp,linear-patch,ghosted")
    parser.add_argument("--fitted", type=int, default=CALIBRATION_TEXTS, help="texts of Wikipedia to fit on")
    take_dtype(parser, "float32")
    options = parser.parse_args()
    here(options.dtype)
    loaded = load.load(ModelSpec(dtype=options.dtype))
    similar = {entry.n: entry.block for entry in best_blocks()}
    cuts: list[Removal] = [similar[n] for n in NS] + [parse_removal(text) for text in BETTER.split(",")]
    if options.cuts:
        cuts = [parse_removal(text) for text in options.cuts.split(",")]
    texts = Texts(loaded, options.fitted)
    keep_what_is_read()
    unpruned, *pruned = likelihood.text_losses(loaded.decoder, texts.judging, [None, *cuts])
    level = sum(loss * weight for loss, weight in zip(unpruned, texts.weights, strict=True)) / sum(texts.weights)
    say(
        f"{loaded.facts.name}, {options.dtype}: unpruned {level:.3f} nats on {len(unpruned)} texts of C4, "
        f"{sum(texts.weights):,} tokens, fitted on {len(texts.fitting)} texts of Wikipedia, "
        f"{sum(map(len, texts.fitting)):,} tokens"
    )
    say("| n | cut | recipe | nats over unpruned | against the unhealed model | |\n|--:|---|---|---|---|---|")
    for cut, pruned_loss in zip(cuts, pruned, strict=True):
        say(f"| {cut.size} | {cut.halves()} | none | {texts.over(unpruned, pruned_loss)} | | |")
        for name in options.recipes.split(","):
            losses, strength = healed(loaded.decoder, cut, name, texts)
            figures = f"{texts.over(unpruned, losses)} | {texts.over(pruned_loss, losses)}"
            say(f"| {cut.size} | {cut.halves()} | {name} | {figures} | {strength} |")


if __name__ == "__main__":
    main()
