"""Scores of a model that are stored already, so that a heal does not compute them again."""

from dataclasses import dataclass

from analysis.core.blocks import Removal
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy import scores
from analysis.experiments.accuracy.scores import Scores
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec


@dataclass(frozen=True)
class CachedScores:
    """Stored scores of the unpruned model, and of the model without any block."""

    judging: Scores
    """On the questions, and on the text that judges."""
    same_kind: Scores
    """On the text of the healing text's kind."""

    def counts(self, cut: Removal | None) -> tuple[int, int, int]:
        """Number of stored answers, losses on judging texts and losses on texts of the healing text's kind.

        Args:
            cut: the removed layers; None for the unpruned model.
        """
        judging, same_kind = self.judging, self.same_kind
        return len(judging.answers.get(cut, {})), len(judging.losses.get(cut, [])), len(same_kind.losses.get(cut, []))


def load_cached_scores(spec: HealSpec, same_kind: CorpusSpec | None) -> CachedScores:
    """Return scores of stored sweeps, evaluations and healing runs with the same weights, dtype, questions and texts.

    Larger sets begin with the same questions or texts, so their sizes need not be equal.

    Args:
        spec: the request, resolved.
        same_kind: text of the healing text's kind, resolved.
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
