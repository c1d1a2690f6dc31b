"""Stored scores of the models of a healing run, which are not computed again."""

from dataclasses import dataclass

from analysis.core.blocks import Removal
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy import scores
from analysis.experiments.accuracy.scores import Scores
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec


@dataclass(frozen=True)
class CachedScores:
    """Stored scores by removed layers."""

    judging: Scores
    """Scores on the questions and the judging texts."""
    same_kind: Scores
    """Losses on held-out text of the kind of the healing text."""

    def counts(self, cut: Removal | None) -> tuple[int, int, int]:
        """Return the numbers of stored answers, of losses on judging texts, and of losses on text
        of the healing text's kind.

        Args:
            cut: Removed layers; None for the unpruned model.
        """
        judging = self.judging
        same_kind = self.same_kind
        return (
            len(judging.answers.get(cut, {})),
            len(judging.losses.get(cut, [])),
            len(same_kind.losses.get(cut, [])),
        )


def load_cached_scores(spec: HealSpec, same_kind: CorpusSpec | None) -> CachedScores:
    """Return scores of stored sweeps, evaluations and healing runs with the same weights, dtype,
    questions and texts.

    The number of questions or texts may differ, since a smaller set is a prefix of a larger one.

    Args:
        spec: The resolved request.
        same_kind: Resolved request for held-out text of the kind of the healing text.
    """
    judging = scores.stored_scores(spec.model, spec.benchmark, spec.validation, spec.generation)
    same_kind_scores = scores.stored_scores(spec.model, None, same_kind, None)
    for heal in HealResult.all_of(spec.model):
        if heal.spec.model != spec.model:
            continue
        asks_the_same = scores.same_questions(heal.spec.benchmark, spec.benchmark)
        reads_the_same = scores.same_texts(heal.spec.validation, spec.validation)
        for model, cut in (("unpruned", None), ("pruned", heal.spec.block)):
            answers = heal.questions.get(model, []) if asks_the_same else []
            judging.take(cut, answers, heal.text_losses.get(model, []) if reads_the_same else [])
            if scores.same_texts(heal.same_kind_text, same_kind):
                same_kind_scores.take(cut, [], heal.same_kind_losses.get(model, []))
    return CachedScores(judging, same_kind_scores)
