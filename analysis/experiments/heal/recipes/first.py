"""The first heal of a block: three minutes on two cores, its verdict included, and a judgement that can be refined."""

from dataclasses import replace

from analysis.data.spec import BenchmarkSpec, default_loss_corpus
from analysis.experiments.heal.recipes.recipe import register
from analysis.experiments.heal.recipes.timed import DISTILL
from analysis.experiments.heal.spec import HealSpec

_FULL = default_loss_corpus().n_texts
QUESTIONS, TEXTS = 50, 8
"""Of the first judgement."""
FULL_QUESTIONS = 200
"""Of the refined judgement, which reads as many texts as the loss of a sweep."""

FIRST = register(
    replace(
        DISTILL,
        name="first",
        title="a verdict in three minutes, to refine later",
        why="The recipe distill in 2.5 minutes, loading and scoring included. 50 questions and 8 texts judge it. Refine judges "
        "the same adapter by 200 questions and 32 texts, and scores only the new ones.",
        values=DISTILL.values
        | {
            "minutes": 2.5,
            "benchmark": BenchmarkSpec(limit=QUESTIONS),
            "validation": replace(default_loss_corpus(), n_texts=TEXTS),
            "judging_texts": _FULL,
            "generation": None,
            "check_questions": 0,
        },
    )
)


def refined(spec: HealSpec) -> HealSpec:
    """The full judgement of a heal: the same training, 200 questions or more, and all texts that were kept clear for it.

    Equal to `spec` where it is judged in full already.
    """
    benchmark = spec.benchmark
    if benchmark is not None and benchmark.limit is not None:
        benchmark = replace(benchmark, limit=max(benchmark.limit, FULL_QUESTIONS))
    return replace(spec, benchmark=benchmark, validation=replace(spec.validation, n_texts=spec.n_kept_clear))


def is_first(spec: HealSpec) -> bool:
    """Return whether a healing run was judged by fewer questions or texts than it can be."""
    return spec.judging_texts > 0 and refined(spec) != spec
