"""Every face prints the same value, interval and condition for a quantity of a selection, or that
it is not measured.
"""

import functools
import json
import random
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from streamlit.testing.v1 import AppTest

import analysis
from analysis import jobs
from analysis.cli import decision_sheet, main, requests
from analysis.cli.mcp.tools import Tools
from analysis.core import index
from analysis.core.blocks import Block
from analysis.data import gallery
from analysis.exports import card, report, sheet
from analysis.models.source.model_spec import ModelSpec
from analysis.results import evidence, library, verdict
from analysis.results.evidence import ESTIMATED, MEASURED, RECOVERY, SIZE, SPEED, UNKNOWN, Evidence
from analysis.results.score import stored_scores
from analysis.results.score.score import ACCURACY, BITS, LOSS
from analysis.results.verdict import DEFAULT, NATS, POINTS, Goal
from analysis.results.words import front_table, headline
from pages.components.shared import selection
from tests.support import fakes
from tests.support.seen import read, texts

N, N_OPENED = 200, 6
"""Number of selections, and of those that are opened on the pages and asked on the command line."""
MODELS = [ModelSpec(exhibit.source) for exhibit in gallery.EXHIBITS]
QUANTITIES = (ACCURACY, LOSS, SPEED, SIZE)
"""In the order of the table of a sheet."""


@functools.cache
def measured_blocks(model):
    """Return every block that a curve, an evaluation, a healing run or a table of methods
    scored.
    """
    models = (
        scores
        for kind in stored_scores.SCORED
        for result in library.of(kind, model)
        for scores in stored_scores.of_all(result)
    )
    cuts = {measured.cut for scores in models for measured in scores.values()}
    return sorted((cut for cut in cuts if isinstance(cut, Block)), key=str)


@functools.cache
def curves_of(model):
    return library.find("sweep", model)


@functools.cache
def scores_of(model):
    return [entry for kind in stored_scores.SCORED for entry in library.find(kind, model)]


def selections(n):
    """Return models of the gallery with a block and a curve on screen or None, without repetitions.

    Half of the blocks were scored, half are any.
    """
    rng = random.Random(62)
    chosen = {}
    while len(chosen) < n:
        model = rng.choice(MODELS)
        n_layers = curves_of(model)[0].result.n_layers
        start = rng.randrange(1, n_layers - 1)
        block = rng.choice(
            [Block(start, rng.randrange(1, n_layers - start)), rng.choice(measured_blocks(model))]
        )
        place = rng.choice([None, rng.randrange(len(curves_of(model)))])
        chosen[model, block, place] = None
    return [
        (model, block, None if place is None else curves_of(model)[place])
        for model, block, place in chosen
    ]


def as_told(found):
    """Return value, interval, condition and words of each quantity."""
    quantities = {name: found.quantity(name) for name in (*QUANTITIES, RECOVERY)}
    return {
        name: (one.state, one.change, one.before, one.after, one.on, headline.clause(one))
        for name, one in quantities.items()
    }


@pytest.fixture
def answers_are_kept(monkeypatch):
    """The front is another question, and no result is written meanwhile: both take most of the time
    of a sheet.
    """
    made, rows, kept = front_table.of_model(ModelSpec("nobody/nothing")), index.rows, {}

    def kept_rows(*query):
        key = repr(query)
        if key not in kept:
            kept[key] = rows(*query)
        return kept[key]

    monkeypatch.setattr(front_table, "of_model", lambda *args, **options: made)
    monkeypatch.setattr(index, "rows", kept_rows)
    monkeypatch.setattr(requests, "words", functools.cache(requests.words))


@pytest.fixture
def python():
    """A function that returns the model of Python."""
    return functools.cache(lambda model: analysis.model(model.source))


@pytest.fixture
def mcp():
    """A function that calls a tool of the MCP server."""
    return Tools(main.subcommands(), main.command_line).call


@pytest.mark.usefixtures("cache", "answers_are_kept")
def test_every_face_has_the_same_evidence(python, mcp):
    for model, block, curve in selections(N):
        first = () if curve is None else (curve.key,)
        pruned = evidence.stored(block, model, shown=curve, chosen=first)
        for heal in (None, *pruned.finished_heals[:1]):
            found = (
                pruned
                if heal is None
                else evidence.stored(block, model, shown=curve, chosen=first, heal=heal)
            )
            recipe = heal.spec.recipe if heal else ""
            told = decision_sheet.data(
                python(model).sheet(block, healed_by=recipe, first=first).page
            )
            _agrees_with_numbers(found, told["numbers"])
            assert told["summary"] == headline.sentence(found), block
            arguments = {
                "model": model.source,
                "block": f"{block.start}:{block.size}",
                "healed_by": recipe,
                "first": [*first],
            }
            assert mcp("sheet", arguments) == told
            _agrees_with_card(found, card.of(model, found, heal=heal))
            _agrees_with_pages(found, curve)


def _agrees_with_numbers(found: Evidence, numbers) -> None:
    for name, number in zip(QUANTITIES, numbers, strict=True):
        quantity = found.quantity(name)
        assert number["state"] == quantity.state
        assert number["on"] == quantity.on
        assert number["value"] == headline.value_in_words(quantity)
        assert number["interval"] == headline.interval_in_words(quantity)
        assert (number["value"] == UNKNOWN) == (name in found.missing and quantity.state == UNKNOWN)


def _agrees_with_card(found: Evidence, text: str) -> None:
    results = {result.metric_type: result for result in ModelCard(text).data.eval_results or ()}
    for name in (ACCURACY, LOSS):
        score = found.score(name)
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


def _agrees_with_pages(found: Evidence, curve) -> None:
    """Explore and Export with the curve on screen, or else with one on the questions that the sheet
    selected by itself.
    """
    questions = found.selected.accuracy.condition
    curves = [curve] if curve else curves_of(found.model)
    same = [
        each
        for each in curves
        if curve or selection.conditions_of(each.result).get(ACCURACY) == questions
    ]
    shown = next(iter(same), curves[0])
    asked = selection.as_shown(found.model, shown.result)
    on_page = selection.evidence_on(found.removed, asked, shown, found.facts, heal=found.heal)
    if same:
        assert as_told(on_page) == as_told(found), found.removed
    elif (
        found.heal is None
    ):  # no curve has these questions: the page lists their scores under their own condition
        for name in (ACCURACY, LOSS):
            listed = [cost.condition for cost in on_page.selected.measured(name).elsewhere]
            score = found.score(name)
            assert score in (None, on_page.score(name)) or score.condition in listed, (
                name,
                found.removed,
            )


@pytest.mark.usefixtures("cache", "running_server")
def test_pages_and_command_line_print_the_evidence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(jobs, "start", lambda: None)
    for model, block, curve in [one for one in selections(N) if one[2] is not None][:N_OPENED]:
        found = evidence.stored(block, model, shown=curve, chosen=(curve.key,))
        address = {"model": model.source, "block": f"{block.start}:{block.size}"}
        words = [
            "sheet",
            model.source,
            "--block",
            address["block"],
            "--first",
            curve.key,
            "--json",
            "-",
        ]
        assert main.main([*words, "--out", str(tmp_path / "sheet.md")]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["summary"] == headline.sentence(found)

        at = AppTest.from_file(str(fakes.APP), default_timeout=90)
        at.query_params.update({**address, "strategy": curve.result.spec.strategy})
        at.session_state["shown_sweep"], at.session_state["picked_sweep"] = [curve.key], {curve.key}
        at.switch_page("pages/explore.py").run()
        assert not at.exception
        [line] = [item for item in at.markdown if headline.verdict(found) in read(item.value)]
        assert told["summary"] in read(line.help)

        at.switch_page("pages/export.py").run()
        assert not at.exception
        rows = at.table[0].value
        numbers = dict(zip(QUANTITIES, told["numbers"], strict=True))
        for name, (_, row) in zip((SIZE, SPEED, ACCURACY, LOSS), rows.iterrows(), strict=True):
            number = numbers[name]
            interval = f" ({number['interval']})" * bool(number["interval"])
            assert read(row["change"]) in (
                f"{number['value']}{interval}",
                headline.clause(found.quantity(SIZE)),
            )
            assert number["on"] in read(texts(at))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("model", MODELS, ids=[exhibit.title for exhibit in gallery.EXHIBITS])
def test_fronts_have_the_values_of_the_sheet(model, python, mcp, monkeypatch):
    made = front_table.of_model(model)
    monkeypatch.setattr(front_table, "of_model", lambda *args, **options: made)
    rows = {
        row["id"]: row
        for row in mcp("front", {"model": model.source, "fields": ["points"]})["points"]
    }
    assert list(rows.values()) == python(model).front().to_json()["points"]
    for candidate in made.comparison.forms:
        # A file has the scores of its weights in float32, which the sheet states under that
        # condition.
        if not isinstance(candidate.cut, Block) or candidate.repair or candidate.is_file:
            continue
        for name, score in candidate.scores.items():
            shown = next(
                (
                    each
                    for each in scores_of(model)
                    if selection.conditions_of(each.result).get(name) == score.condition
                ),
                None,
            )
            if shown is None:
                assert name == BITS
                continue
            found, row = evidence.stored(candidate.cut, model, shown=shown), rows[candidate.id]
            told = found.score(name)
            field = {ACCURACY: "acc", LOSS: "loss"}[name]
            assert (row[field], row[f"{field}_low"], row[f"{field}_high"]) == (
                told.value,
                told.low,
                told.high,
            )
            assert row["memory_bytes"] == found.quantity(SIZE).after
            gain = found.quantity(SPEED)
            if gain.state == MEASURED and row["times"] is not None:
                assert row["times"] == pytest.approx(1 + gain.change.difference)


def test_the_report_opens_with_a_sheet_of_at_most_200_words(cache):
    model, block = ModelSpec("starter"), Block(11, 5)
    first = report.of(model, block, main.command_line).sections[0]
    made = sheet.of(model, block, main.command_line)
    assert (first.title, first.sentences) == (
        f"{made.title} {made.recommendation}",
        made.decision.reasons,
    )
    tokens = [*sheet.markdown(made).split("## Method")[0].split(), *first.drawing.words]
    assert len([token for token in tokens if any(map(str.isalnum, token))]) <= 200


def test_no_answer_of_a_sheet_is_beyond_its_tolerance(cache):
    source = next(exhibit.source for exhibit in gallery.EXHIBITS if "1.5B" in exhibit.source)
    made = sheet.of(ModelSpec(source), Block(9, 10), main.command_line)
    assert made.decision.recommendation == verdict.STOP
    accepted = [Goal(POINTS, DEFAULT.points), Goal(NATS, DEFAULT.nats)]
    answers = [answer for answer in made.front.answers if answer.candidate is not None]
    assert answers
    assert not [
        answer.said for answer in answers for goal in accepted if goal.is_missed(answer.candidate)
    ]
    assert made.decision.next_steps[0].startswith(
        "Healed by recipe instant: don't. Loss change +0.7"
    ), "its stored decision"


def test_the_table_of_the_readme_has_the_numbers_of_the_sheets(cache):
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+)-(\d+) \| smallest [^|]*\| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 2
    for first, last, row in rows:
        block = Block(int(first), int(last) - int(first) + 1)
        made = sheet.of(ModelSpec("starter"), block, main.command_line)
        accuracy, loss, speed, size = made.decision.numbers
        cells = row.split(" | ")
        for number, cell in zip((accuracy, loss), cells[:2], strict=True):
            assert cell == f"{number.value} ({number.interval.removeprefix('95 % CI ')})"
        assert cells[2] == f"-{size.value.partition(' smaller')[0]}"
        assert cells[3] == speed.value
        assert cells[3].startswith("about ") == (speed.state == ESTIMATED)
