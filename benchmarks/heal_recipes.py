"""`python benchmarks/heal_recipes.py`: does healing work, and which recipe recovers most in the time it takes?

    python benchmarks/heal_recipes.py --ns 5 --recipes instant,quick            a part of it
    python benchmarks/heal_recipes.py --ns 5 --recipes quick --set steps=100    with other numbers

For every n the block is the similarity strategy's, from the precomputed map of the starter model. It measures loss on C4, which
no recipe trains on here, on held-out Wikipedia, the kind that they train on, and ARC-Easy accuracy. All are paired with the
pruned model: the interval says whether healing helped. A recipe takes minutes, so each runs once; every run is stored and not
repeated. Its operations a second are those of all of it: loading, scoring and training.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.experiments.accuracy import pairs

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from analysis.core.blocks import Block
from analysis.data.spec import BenchmarkSpec, default_loss_corpus
from analysis.experiments.heal import healing, recipes
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models import inspection
from analysis.models.spec import InspectSpec, ModelSpec
from analysis.results.compared.changes import Change
from analysis.results.words import heals
from benchmarks.evaluation_speed import best_blocks
from benchmarks.work import here, metered, say, take_dtype


def number(text: str) -> Any:
    """A setting's value: a whole number, a decimal, yes or no, or a word."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(text, text)


def spec_of(name: str, block: Block, dtype: str, options: argparse.Namespace) -> HealSpec:
    changes = dict(pair.split("=", 1) for pair in options.set)
    return recipes.heal_spec(
        name,
        model=ModelSpec(dtype=dtype),
        block=block,
        n_parameters=inspection.run(InspectSpec()).model.n_parameters,
        validation=replace(default_loss_corpus(), n_texts=options.texts),
        benchmark=BenchmarkSpec(limit=options.questions),
        **{key: number(value) for key, value in changes.items()},
    )


def interval(mean: float, low: float, high: float) -> str:
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def shift(change: Change) -> str:
    return interval(change.difference, change.low, change.high)


def line(name: str, result: HealResult) -> str:
    answers, judged, learnt = result.questions, heals.repair(result), heals.learnt(result)
    assert judged is not None
    assert learnt is not None
    pair = pairs.compare(answers["pruned"], answers["healed"])
    assert result.healed is not None
    return (
        f"  {name:24} {result.wall_s:6.0f} s  c4 {result.healed.loss:.2f}, {shift(judged.change)}  "
        f"wiki {learnt.healed.loss:.2f}, {shift(learnt.change)}  "
        f"acc {result.healed.acc:.3f}, {interval(100 * pair.difference, 100 * pair.low, 100 * pair.high)} points"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ns", default="3,5,8,10")
    parser.add_argument("--recipes", default="instant,quick,distill")
    parser.add_argument("--questions", type=int, default=None, help="of ARC-Easy (default: all 570)")
    parser.add_argument("--texts", type=int, default=32, help="texts of C4 of up to 256 tokens")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of HealSpec, quantization, seq_len")
    take_dtype(parser)
    options = parser.parse_args()
    place = here(options.dtype)
    best = {entry.n: entry.block for entry in best_blocks()}
    for n in map(int, options.ns.split(",")):
        for index, name in enumerate(options.recipes.split(",")):
            with metered() as work:
                result = healing.run(spec_of(name, best[n], place.dtype, options))
            assert result.unpruned is not None
            assert result.pruned is not None
            if index == 0:
                say(f"{best[n].describe()}: pruned c4 {result.pruned.loss:.2f} acc {result.pruned.acc:.3f}, unpruned c4 "
                    f"{result.unpruned.loss:.2f} acc {result.unpruned.acc:.3f} ({result.precision}, {result.pruned.n_samples} "
                    f"questions, {result.pruned.n_texts} texts)")  # fmt: skip
            say(line(f"{name} {' '.join(options.set)}", result))
            say(f"  {'':24} {place.speed(work) if work.flop else 'stored before, so nothing was computed'}")


if __name__ == "__main__":
    main()
