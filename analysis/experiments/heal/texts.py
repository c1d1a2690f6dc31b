"""The texts that a healing run is measured on, and their separation from its training text."""

from dataclasses import dataclass, replace

from analysis.core.errors import CorpusError
from analysis.data import corpora
from analysis.data.near_copies import NearCopyFilter
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy import scores
from analysis.experiments.accuracy.scores import Material
from analysis.experiments.heal import packing
from analysis.experiments.heal.heal_spec import CHOICE_TEXTS, HealSpec
from analysis.models.loading.load import LoadedModel


@dataclass(frozen=True)
class HealTexts:
    """Texts that judge, that choose, and of the healing text's kind: each document in one of them."""

    near_copies: NearCopyFilter
    """Filter that keeps them out of the text for fitting and training."""
    same_kind: CorpusSpec | None
    """Held-out text of the healing text's kind, resolved; None if that is too small to hold any back."""
    n_choice: int
    """Texts that choose during training; 0 if the judging texts choose."""


def read_texts(loaded: LoadedModel, spec: HealSpec) -> HealTexts:
    """Read the texts of a healing run.

    Args:
        loaded: the model.
        spec: resolved.

    Raises:
        CorpusError: If the judging texts cannot be read or are too short.
    """
    n = spec.n_kept_clear
    judging = scores.prepare(loaded, None, replace(spec.validation, n_texts=n))
    choosing = choice(loaded, spec)
    texts = [*judging.texts, *choosing.texts]
    corpus = corpora.resolve(spec.same_kind)
    same_kind: CorpusSpec | None = corpus
    try:
        prepared = scores.prepare(loaded, None, replace(corpus, n_texts=n))
    except CorpusError:  # too small a text of one's own to hold any of it back
        same_kind = None
    else:
        texts += prepared.texts
    n_choice = 0 if choosing.texts == judging.texts else len(choosing.texts)
    return HealTexts(packing.near_copy_filter(texts, loaded.tokenizer), same_kind, n_choice)


def choice(loaded: LoadedModel, spec: HealSpec, benchmark: BenchmarkSpec | None = None) -> Material:
    """The texts that choose, the next documents of the draw that judges; the draw itself if it has too few.

    Args:
        loaded: the model.
        spec: resolved.
        benchmark: questions that are asked as well.
    """
    next_ones = replace(spec.validation, n_texts=CHOICE_TEXTS)
    material = scores.prepare(loaded, benchmark, next_ones, skip_texts=spec.n_kept_clear)
    return material if len(material.texts) > 1 else scores.prepare(loaded, benchmark, spec.validation)
