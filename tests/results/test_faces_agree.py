"""Every face prints the same value, interval and condition for a quantity of a selection, or that it is not measured."""

import functools
import random

import pytest
from huggingface_hub import ModelCard

from analysis.cli import decision_sheet, main
from analysis.core.blocks import Block
from analysis.data import gallery
from analysis.exports import card, report, sheet
from analysis.models.source.model_spec import ModelSpec
from analysis.results import evidence, library, verdict
from analysis.results.evidence import RECOVERY, SIZE, SPEED, UNKNOWN, Evidence
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, LOSS, Reading
from analysis.results.verdict import DEFAULT, NATS, POINTS, Goal
from analysis.results.words import front_table, headline
from pages.components.shared import selection, stored_results

N = 200


@functools.cache
def measured_blocks(model: ModelSpec) -> list[Block]:
    """Return every block that a curve, an evaluation, a healing run or a table of methods scored."""
    models = (readings for kind in reading.SCORED for result in library.of(kind, model) for readings in reading.of_all(result))
    cuts = {measured.cut for readings in models for measured in readings.values()}
    return sorted((cut for cut in cuts if isinstance(cut, Block)), key=str)


def selections():
    """Return models of the gallery with a block each, without repetitions: half of the blocks were scored, half are any."""
    rng = random.Random(62)
    models = [ModelSpec(exhibit.source) for exhibit in gallery.EXHIBITS]
    models = [model for model in models if measured_blocks(model)]
    chosen = {}
    for _ in range(N):
        model = rng.choice(models)
        n_layers = library.of("sweep", model, most=1)[0].n_layers
        start = rng.randrange(1, n_layers - 1)
        any_block = Block(start, rng.randrange(1, n_layers - start))
        chosen[model, rng.choice(measured_blocks(model)) if rng.random() < 0.5 else any_block] = None
    return list(chosen)


def as_told(found: Evidence) -> dict[str, tuple]:
    """Return value, interval, condition and words of each quantity."""
    quantities = {name: found.quantity(name) for name in (SIZE, SPEED, ACCURACY, LOSS, RECOVERY)}
    return {
        name: (one.state, one.change, one.before, one.after, one.on, headline.clause(one)) for name, one in quantities.items()
    }


@pytest.fixture
def front_is_made_once(monkeypatch):
    """The front is another question, and takes most of the time of a sheet."""
    made = front_table.of_model(ModelSpec("nobody/nothing"))
    monkeypatch.setattr(front_table, "of_model", lambda *args, **options: made)


@pytest.mark.usefixtures("cache", "front_is_made_once")
def test_every_face_has_the_same_evidence():
    for model, block in selections():
        pruned = evidence.stored(block, model)
        for heal in (None, *pruned.finished_heals[:1]):
            found = pruned if heal is None else evidence.stored(block, model, heal=heal)
            request = decision_sheet.SheetSpec(block, model, healed_by=heal.spec.recipe if heal else "")
            told = decision_sheet.data(decision_sheet.decide(request, main.command_line))
            _agrees_with_numbers(found, told["numbers"])
            assert told["summary"] == headline.sentence(found), block
            _agrees_with_card(found, card.of(model, found, heal=heal))
            _agrees_with_pages(found, model, block)


def _agrees_with_numbers(found: Evidence, numbers: list[dict]) -> None:
    for name, number in zip((ACCURACY, LOSS, SPEED, SIZE), numbers, strict=True):
        quantity = found.quantity(name)
        assert number["state"] == quantity.state
        assert number["on"] == quantity.on
        assert number["value"] == headline.value_in_words(quantity)
        assert number["interval"] == headline.interval_in_words(quantity)
        assert (number["value"] == UNKNOWN) == (name in found.missing and quantity.state == UNKNOWN)


def _agrees_with_card(found: Evidence, text: str) -> None:
    results = {result.metric_type: result for result in ModelCard(text).data.eval_results or ()}
    for name in (ACCURACY, LOSS):
        score = found.reading(name)
        assert (name in results) == (score is not None)
        if score is not None:
            args = results[name].metric_args
            assert (results[name].metric_value, args["low"], args["high"], args["n"]) == (
                pytest.approx(score.value),
                pytest.approx(score.low),
                pytest.approx(score.high),
                score.condition.n,
            )
            assert f"{score.value:.3f} (" in text


def _agrees_with_pages(found: Evidence, model: ModelSpec, block: Block) -> None:
    """Explore and Export with the curve on screen whose questions the sheet selects by itself."""
    questions = found.selected.selection.questions
    curves = library.find("sweep", model, having=(("strategy", "similarity"),))
    shown = next((curve for curve in curves if selection.conditions_of(curve.result).get(ACCURACY) == questions), None)
    if shown is None:
        assert found.scored.kind == "methods", "every other score is on the questions of a curve"
        return
    known = selection.stored(shown, None, stored_results.known(model))
    on_page = known.on(block, model, found.facts, found.heal)
    assert as_told(on_page) == as_told(found), block
    tile = on_page.quantity(ACCURACY).after
    assert not isinstance(tile, Reading) or tile == found.reading(ACCURACY)


def test_the_report_begins_with_the_same_sentences(cache):
    model, block = ModelSpec("starter"), Block(9, 10)
    document = report.of(model, block, main.command_line)
    assert document.sentences[0] == headline.sentence(evidence.stored(block, model))


def test_no_answer_of_a_sheet_is_beyond_its_tolerance(cache):
    source = next(exhibit.source for exhibit in gallery.EXHIBITS if "1.5B" in exhibit.source)
    made = sheet.of(ModelSpec(source), Block(9, 10), main.command_line)
    assert made.decision.recommendation == verdict.STOP
    accepted = [Goal(POINTS, DEFAULT.points), Goal(NATS, DEFAULT.nats)]
    answers = [answer for answer in made.front.answers if answer.candidate is not None]
    assert answers
    assert not [answer.said for answer in answers for goal in accepted if goal.is_missed(answer.candidate)]
    assert made.decision.next_steps[0].startswith("Healed by recipe instant: don't. Loss change +0.7"), "its stored decision"
