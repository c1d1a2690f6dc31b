"""One dataset is selected, and verdict, chart, Cost and Export all show it; other datasets are
named beside it.
"""

import json
import shlex
from dataclasses import replace

import pytest

from analysis.cli import main
from tests.support import fakes
from tests.support.seen import figures, opened, read, score, texts, trace

EASY = ":gray-badge[ARC-Easy · n = 100 · C4 · n = 8 texts] :gray-badge[bfloat16 · Q4\\_1 weights]"
SHORT = 4
"""Layers that the curve on the second dataset reaches."""


def challenge(curve):
    """Return the curve with 300 questions of another dataset; every block answers fewer of them."""
    asked = replace(
        curve.spec,
        benchmark=replace(curve.spec.benchmark, task="arc_challenge", limit=300, identity="c"),
    )
    points = [
        replace(point, acc=point.acc - 0.1, n_samples=300) for point in curve.points[: SHORT + 1]
    ]
    return replace(curve, spec=asked, points=points, n_questions=300)


@pytest.fixture
def two(ui_cache):
    """A long curve on ARC-Easy, a short one with more questions on ARC-Challenge, and a third
    strategy on both.
    """
    fakes.distances().save()
    for strategy in ("similarity", "deepest"):
        curve = fakes.sweep(strategy=strategy)
        curve.save()
        challenge(curve).save()


def verdict(at) -> str:
    """Return the verdict and its details on hover."""
    return read(
        next(
            f"{item.value}\n{item.help}"
            for item in at.markdown
            if item.value.startswith("Without ")
        )
    )


def test_verdict_chart_and_cost_use_one_dataset_and_mention_another(app, two):
    at = app(n="5")
    assert "100 ARC-Easy questions" in verdict(at)
    assert max(trace(figures(at)["accuracy"], "pruned")["x"]) > SHORT, (
        "the chart is the curve on the same dataset"
    )
    assert score(at, "accuracy") == fakes.sweep().points[5].acc
    at.session_state["details"] = True
    at.run()
    assert "Also measured on ARC-Challenge (300 questions)" in read(texts(at))
    assert EASY in texts(at)
    assert EASY in texts(opened(at, "cost"))


@pytest.mark.parametrize(("task", "limit"), [("arc_easy", 100), ("arc_challenge", 300)])
def test_the_printed_command_makes_the_sheet_on_screen(app, two, tmp_path, capsys, task, limit):
    at = app(n="3", benchmark=f"{task}:{limit}")
    at.session_state["address"]["way"] = "Decision sheet"
    at.switch_page("pages/export.py").run()
    assert not at.exception
    command = next(
        line for code in at.code for line in code.value.splitlines() if " sheet " in line
    )
    for option in (
        f"--task {task}",
        f"--limit {limit}",
        "--texts c4",
        "--samples 8",
        "--strategy similarity",
        "--dtype bfloat16",
    ):
        assert option in command
    arguments = shlex.split(command)[3:]
    arguments[arguments.index("sheet.html")] = str(tmp_path / "sheet.md")
    assert main.main([*arguments, "--json", "-"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert any("ARC-" in number["on"] for number in made["numbers"])
    assert made["commands"][-1].split(" --out ")[0] == command.split(" --out ")[0]


def test_a_dataset_in_the_address_is_selected_everywhere(app, two):
    at = app(n="3", benchmark="arc_challenge:300")
    assert "300 ARC-Challenge questions" in verdict(at)
    at = app(n="5", benchmark="arc_challenge:300")
    assert "Accuracy is not measured on 300 ARC-Challenge questions." in verdict(at)
    assert "ARC-Easy questions" not in verdict(at)
    assert any(button.key == "score-cut" for button in at.button)


def test_block_chosen_by_hand_has_loss_map_and_button(app, two):
    fakes.damage().save()
    at = app(block="15:11")
    said = verdict(at)
    rise = fakes.damage().increase[10][15]
    assert "Accuracy is not measured on 100 ARC-Easy questions." in said
    assert f"loss rises by {rise:.2f} nats/token on other texts" in said
    assert f"Loss rises by {rise:.2f} nats/token (95 % CI" in said
    assert "loss-increase map, 8 texts of Wikipedia" in said
    keys = {button.key for button in at.button}
    assert "score-cut" in keys
    assert not {"instant", "measure-generation"} & keys, "an unmeasured block is scored first"
