"""Texts that a healing run is evaluated on, kept separate from its training text."""

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
    """Judging texts, selection texts and held-out text of the healing text's kind, without common
    documents.
    """

    near_copies: NearCopyFilter
    """Filter that excludes these texts from fitting and training."""
    same_kind: CorpusSpec | None
    """Resolved request for held-out text of the healing text's kind; None if the healing text is
    too small for any."""
    n_choice: int
    """Number of selection texts; 0 if the judging texts are used for selection too."""


def read_texts(loaded: LoadedModel, spec: HealSpec) -> HealTexts:
    """Read the texts of a healing run.

    Args:
        loaded: The model.
        spec: The resolved request.

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
    except CorpusError:  # a custom text that is too small to hold any out
        same_kind = None
    else:
        texts += prepared.texts
    n_choice = 0 if choosing.texts == judging.texts else len(choosing.texts)
    return HealTexts(packing.near_copy_filter(texts, loaded.tokenizer), same_kind, n_choice)


def choice(loaded: LoadedModel, spec: HealSpec, benchmark: BenchmarkSpec | None = None) -> Material:
    """Return the selection texts: the next documents of the judging draw, or the judging texts if
    there are too few.

    Args:
        loaded: The model.
        spec: The resolved request.
        benchmark: Questions of validations; None for none.
    """
    next_ones = replace(spec.validation, n_texts=CHOICE_TEXTS)
    material = scores.prepare(loaded, benchmark, next_ones, skip_texts=spec.n_kept_clear)
    return (
        material if len(material.texts) > 1 else scores.prepare(loaded, benchmark, spec.validation)
    )
