"""The checks of every architecture, each compared with `Truth`."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis.core import failures
from analysis.core.blocks import Block
from analysis.core.errors import LayerscopeError
from analysis.data import corpora, questions
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy import evaluation
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal import healing
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps import damage as damages
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.prompt import comparison
from analysis.experiments.prompt.comparison_spec import CompareSpec, Variant
from analysis.experiments.scoring import likelihood
from analysis.experiments.speed import speed as speeds
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.exports import export as exports
from analysis.exports import folders
from analysis.exports.spec import ExportSpec
from analysis.models.source.model_spec import ModelSpec
from tests.support import documents
from tests.support.on_disk import load_from_disk
from tests.zoo import models
from tests.zoo.truth import Truth

BLOCK = Block(2, 2)
_LOGITS = 1e-3
"""How far apart summed log-probabilities and logits may be, in float32."""
_MEANS = 2e-4
"""The same of means over tokens and of angles."""


@dataclass(frozen=True)
class Outcome:
    """How one check of one architecture ended."""

    kind: str
    """right, refused, stopped (in the model's own code, with a sentence that says so), crash,
    wrong, or late."""
    said: str = ""


class WrongError(Exception):
    """A wrong figure."""


def _same(what: str, found: float, expected: float, tolerance: float) -> None:
    if not abs(found - expected) <= tolerance * max(1.0, abs(expected)):
        raise WrongError(f"{what} is {found:.6g} and should be {expected:.6g}")


class Animal:
    """One architecture with its small model in a folder, and its measurements."""

    def __init__(self, name: str, folder: Path) -> None:
        """Build it.

        Raises:
            NotBuiltError: when the library cannot.
        """
        self.name, self.folder = name, folder / "model"
        models.save(name, self.folder)
        self.spec = ModelSpec(str(self.folder), dtype="float32", device="cpu")
        texts, others = documents.two_kinds(folder)
        self.corpus = CorpusSpec(others, n_texts=3, seq_len=48)
        self.healing_corpus = CorpusSpec(texts, n_texts=30, seq_len=32, split="train")
        asked = folder / "questions.jsonl"
        words = [text.split(". ", 1)[1] for text in documents.sentences(3, seed=3, words=60)]
        # The first two share a beginning, and options are of unlike length: so a packed row is far
        # from its plain rows.
        asked.write_text(
            "\n".join(
                json.dumps(
                    {
                        "question": (
                            (words[0][:70] + words[index][70 : 80 + 9 * index])
                            if index < 2
                            else words[index][:60]
                        ),
                        "choices": [
                            words[index][90:93],
                            words[index][100:117],
                            words[index][120:151],
                        ],
                        "answer": index % 3,
                    }
                )
                for index in range(3)
            )
        )
        self.benchmark = BenchmarkSpec(task=str(asked), limit=3)

    @cached_property
    def truth(self) -> Truth:
        """Return the true figures, from plain transformers."""
        return Truth(self.folder)

    @cached_property
    def tokenizer(self) -> Any:
        """Bytes."""
        return models.tokenizer()

    def texts(self, spec: CorpusSpec) -> list[list[int]]:
        """Token ids."""
        return corpora.tokenize(spec, self.tokenizer).token_ids

    @cached_property
    def heal(self) -> Any:
        """A heal of two steps."""
        return healing.run(
            HealSpec(
                block=BLOCK,
                model=self.spec,
                corpus=self.healing_corpus,
                validation=self.corpus,
                benchmark=None,
                steps=2,
                r=4,
                batch_size=2,
                learning_rate=1e-2,
            )
        )


def distances(animal: Animal) -> None:
    """The whole map."""
    result = distance_map.run(DistanceSpec(animal.spec, animal.corpus))
    for (n, start), expected in animal.truth.angles(animal.texts(result.spec.corpus)).items():
        _same(
            f"the distance of {start} and {start + n}", result.mean[n - 1][start], expected, _MEANS
        )


def scores(animal: Animal) -> None:
    """Log-likelihoods of options and losses, unpruned and pruned."""
    for block in (None, BLOCK):
        result = evaluation.run(
            EvaluateSpec(animal.spec, block, None, animal.benchmark, animal.corpus)
        )
        removed = () if block is None else block.layers
        for ids, loss in zip(
            animal.texts(result.spec.loss_corpus), result.text_losses, strict=True
        ):
            _same(f"a loss without {list(removed)}", loss, animal.truth.loss(ids, removed), _MEANS)
        _options(
            animal,
            result.spec.benchmark,
            {answer.id: answer.loglikelihoods for answer in result.questions},
            removed,
        )


def _options(
    animal: Animal, benchmark: BenchmarkSpec, found: dict[str, list[float]], removed: Iterable[int]
) -> None:
    for question in questions.load(benchmark):
        for (context, option), value in zip(question.pairs(), found[question.id], strict=True):
            ids = animal.tokenizer(context + option).input_ids
            own = animal.truth.log_probabilities(ids, tuple(removed))[
                -len(animal.tokenizer(option).input_ids) :
            ]
            _same(f"an option without {list(removed)}", value, sum(own), _LOGITS)


def layer_by_layer(animal: Animal) -> None:
    """Losses of a cut with the layers on the disk."""
    decoder = load_from_disk(animal.spec).decoder
    texts = animal.texts(animal.corpus)
    (found,) = likelihood.text_losses(decoder, texts, [BLOCK])
    for ids, loss in zip(texts, found, strict=True):
        _same("a loss", loss, animal.truth.loss(ids, BLOCK.layers), _MEANS)


def damage(animal: Animal) -> None:
    """Loss increase of blocks of one and two layers."""
    map_of = DistanceSpec(animal.spec, animal.corpus)
    result = damages.run(DamageSpec(animal.spec, animal.corpus, map_of, max_size=2))
    texts = animal.texts(result.spec.corpus)
    weights = [len(ids) - 1 for ids in texts]

    def loss(removed: tuple[int, ...]) -> float:
        return sum(
            animal.truth.loss(ids, removed) * n for ids, n in zip(texts, weights, strict=True)
        ) / sum(weights)

    whole = loss(())
    for n, start in ((1, 0), (1, 3), (2, 1), (2, 4)):
        found = result.increase[n - 1][start]
        if found is None:
            raise WrongError(f"the loss increase of {start}..{start + n - 1} is missing")
        _same(
            f"the loss increase of {start}..{start + n - 1}",
            found,
            loss(tuple(range(start, start + n))) - whole,
            _MEANS,
        )


def writing(animal: Animal) -> None:
    """Tokens that are written with a cache, by the whole and by the cut model, against reading all
    again for each.
    """
    asked = CompareSpec(
        animal.spec,
        "The river and the stone of the winter garden are",
        (Variant(), Variant("pruned", BLOCK)),
        max_new_tokens=6,
    )
    for variant, wrote in comparison.run(asked).written:
        removed = () if variant.block is None else variant.block.layers
        ids = list(animal.tokenizer(asked.prompt).input_ids)
        for token, surprise in zip(wrote.token_ids, wrote.own_surprise, strict=True):
            found = animal.truth.logits(ids, removed)[-1].double().log_softmax(-1)
            _same(
                f"the surprisal of a token without {list(removed)}",
                surprise,
                -found[token].item(),
                _LOGITS,
            )
            _same(
                f"the most likely token without {list(removed)}",
                found[token].item(),
                found.max().item(),
                _LOGITS,
            )
            ids.append(token)
        if not wrote.token_ids and not wrote.ended:
            raise WrongError("no token was generated")


def speed(animal: Animal) -> None:
    """Times of the unpruned and of a cut model, which nobody can predict."""
    result = speeds.run(
        SpeedSpec(animal.spec, ns=(0, 2), prompt_tokens=16, new_tokens=3, repeats=1)
    )
    if [point.n for point in result.points] != [0, 2]:
        raise WrongError("a model was not timed")


def heal(animal: Animal) -> None:
    """The cut model's loss before two steps, and a finite one after them."""
    result = animal.heal
    texts = animal.texts(result.spec.validation)
    weights = [len(ids) - 1 for ids in texts]
    expected = sum(
        animal.truth.loss(ids, BLOCK.layers) * n for ids, n in zip(texts, weights, strict=True)
    ) / sum(weights)
    _same("the loss of the pruned model", result.pruned.loss, expected, _MEANS)
    if not math.isfinite(result.healed.loss):
        raise WrongError(f"the loss of the healed model is {result.healed.loss}")


def export(animal: Animal) -> None:
    """The folder of the cut model, loaded by plain transformers."""
    exports.run(ExportSpec(BLOCK, "cut", animal.spec))
    again = Truth(folders.folder("cut"))
    for ids in animal.texts(animal.corpus):
        gap = (again.logits(ids) - animal.truth.logits(ids, BLOCK.layers)).abs().max().item()
        _same("a logit of the folder", gap, 0.0, _LOGITS)


def healed_export(animal: Animal) -> None:
    """The folder of the healed model, whose loss in plain transformers is the one that the heal
    reports.
    """
    result = animal.heal
    exports.run(ExportSpec(BLOCK, "healed", animal.spec, result.adapter))
    again = Truth(folders.folder("healed"))
    texts = animal.texts(result.spec.validation)
    n = [len(ids) - 1 for ids in texts]
    found = sum(again.loss(ids) * weight for ids, weight in zip(texts, n, strict=True)) / sum(n)
    _same("the loss of the folder", found, result.healed.loss, _MEANS)


CHECKS: dict[str, Callable[[Animal], None]] = {
    "distances": distances,
    "scores": scores,
    "layer by layer": layer_by_layer,
    "loss increase": damage,
    "generation": writing,
    "speed": speed,
    "heal": heal,
    "export": export,
    "healed export": healed_export,
}


def outcome(check: Callable[[Animal], None], animal: Animal) -> Outcome:
    """How it ends."""
    try:
        check(animal)
    except LayerscopeError as error:
        return Outcome("refused", str(error).replace(str(animal.folder.parent), "…"))
    except WrongError as error:
        return Outcome("wrong", str(error))
    except Exception as error:  # unforeseen errors are the very thing to find
        if failures.model_type(error):
            return Outcome(
                "stopped", failures.in_a_sentence(error, doing="doing this", log="the log")
            )
        return Outcome("crash", " ".join(f"{type(error).__name__}: {error}".split())[:300])
    return Outcome("right")
