"""Sentences on a heal: size of the repair, kind of text, ceiling, and the reason for a loss below
unpruned.
"""

from dataclasses import replace

import pytest

from analysis.core import stats, units
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy.points import Point
from analysis.experiments.heal.heal_result import HealResult, JunctionReport
from analysis.results import library
from analysis.results.compared import recovery
from analysis.results.words import heals
from tests.support import fakes

N = 32
TOKENS = [128 + 4 * place for place in range(N)]


def scored(mean: float, n: int, *, spread: float = 0.02) -> tuple[Point, list[float]]:
    """A point and its losses by text, around a mean that texts share."""
    losses = [mean + 0.5 * (place % 5 - 2) + spread * (place % 3 - 1) for place in range(N)]
    off = stats.weighted_mean_and_stderr(losses, TOKENS)[0] - mean
    losses = [loss - off for loss in losses]
    loss, stderr = stats.weighted_mean_and_stderr(losses, TOKENS)
    return Point(n, 11 if n else None, loss=loss, loss_stderr=stderr, n_texts=N), losses


def heal(
    judged: tuple[float, float, float], own: tuple[float, float, float], **changes
) -> HealResult:
    """A heal with these losses of the unpruned, pruned and healed model, on C4 and on Wikipedia."""
    spreads = {"unpruned": 0.0, "pruned": 0.05, "healed": 0.1}

    def of(losses: tuple[float, float, float]) -> dict[str, tuple[Point, list[float]]]:
        found = zip(spreads.items(), losses, strict=True)
        return {
            name: scored(loss, 5 * (name != "unpruned"), spread=spread)
            for (name, spread), loss in found
        }

    pairs = [of(judged), of(own)]
    made = replace(
        fakes.heal(),
        **{name: point for name, (point, _) in pairs[0].items()},
        text_losses={name: losses for name, (_, losses) in pairs[0].items()},
        text_tokens=TOKENS,
        same_kind={name: point for name, (point, _) in pairs[1].items()},
        same_kind_losses={name: losses for name, (_, losses) in pairs[1].items()},
        same_kind_tokens=TOKENS,
    )
    return replace(made, **changes)


def control(own: float) -> HealResult:
    made = heal((3.85, 3.85, 3.9), (3.0, 3.0, own))
    return replace(made, spec=made.spec.as_control(), pruned=None)


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        ((3.85, 4.93, 4.34), "Healing recovers 55 % (95 % CI "),
        ((3.85, 4.93, 4.93), "Healing does not significantly change the loss: it recovers"),
        ((3.85, 4.93, 5.3), "Healing raises the loss further, by 34 % (95 % CI "),
        ((3.85, 4.93, 3.85), "not significantly different."),
        (
            (3.85, 4.93, 4.34),
            "Accuracy: not measured. Healed against unpruned: +0.49 nats/token (95 % CI +",
        ),
        ((3.85, 3.80, 3.7), "Healing has no loss increase to recover"),
    ],
)
def test_the_first_sentence_states_recovery_accuracy_and_remaining_loss(judged, said):
    assert said in heals.sentences(heal(judged, (3.0, 4.3, 3.2)))[0]


@pytest.mark.parametrize("judged", [(3.85, 4.93, 4.34), (3.85, 4.93, 3.5), (3.85, 4.93, 3.849)])
@pytest.mark.parametrize("own", [(3.0, 4.3, 2.6), (3.0, 4.3, 3.2)])
@pytest.mark.parametrize("beside", [None, 2.4])
def test_a_loss_below_unpruned_is_never_stated_without_the_reason(judged, own, beside):
    found = heal(judged, own)
    said = " ".join(heals.sentences(found, None if beside is None else control(beside)))
    assert ("training on Wikipedia lowers it" in said) == (judged[2] < judged[0] or own[2] < own[0])


def test_the_control_stands_beside_the_loss_on_its_kind_of_text():
    found = heal((3.85, 4.93, 4.34), (3.0, 4.3, 2.6))
    losses = (
        "Loss on 32 texts of Wikipedia, the kind of the healing text: 3.00 unpruned, 4.30 pruned,"
        " 2.60 healed"
    )
    assert f"{losses}, 2.40 unpruned after the same training." in heals.sentences(
        found, control(2.4)
    )
    assert f"{losses}." in heals.sentences(found)
    (alone,) = heals.sentences(control(2.4))
    assert (
        "from 3.85 to 3.90 on 32 texts of C4, and from 3.00 to 2.40 on 32 texts of Wikipedia"
        in alone
    )


def test_older_heal_judged_by_its_own_kind_is_recognized():
    """Stored before texts were distinguished by kind: eight validation texts of Wikipedia, healed
    on Wikipedia.
    """
    found = heal((3.09, 4.30, 2.62), (3.0, 4.3, 2.6))
    spec = replace(found.spec, validation=CorpusSpec("wiki", 8, 256, split="validation"))
    old = replace(
        found, spec=spec, text_losses={}, text_tokens=[], same_kind={}, same_kind_text=None
    )
    assert heals.sentences(old)[0].startswith(
        "Healing was evaluated on the kind of text that it trained on"
    )


def test_limits_of_a_measurement_are_named():
    found = heal((3.85, 4.93, 4.34), (3.0, 4.3, 3.2))
    assert heals.remarks(found) == []
    few = replace(
        found, same_kind_tokens=TOKENS[:9], n_choice_texts=0, spec=replace(found.spec, instant=True)
    )
    said = " ".join(heals.remarks(few))
    assert "Only 9 of 32 texts of Wikipedia have at least 128 tokens." in said
    assert "also selected the strength" in said


def test_control_is_matched_by_training_text_and_closest_comes_first():
    found = heal((3.85, 4.93, 4.34), (3.0, 4.3, 2.6))
    right = control(2.4)
    longer = replace(right, spec=replace(right.spec, steps=500), planned_steps=500)
    on_other_text = replace(right, spec=replace(right.spec, corpus=CorpusSpec("mine.txt", 9)))
    unfinished = replace(right, healed=None)
    assert heals.control_of(found, [on_other_text, unfinished, longer, found, right]) is right
    assert heals.control_of(found, [on_other_text, unfinished, longer]) is longer
    assert heals.control_of(found, [on_other_text, unfinished]) is None
    assert heals.control_of(right, [right]) is None
    timed = replace(found, spec=replace(found.spec, steps=0, minutes=2.5))
    ten = replace(right, spec=replace(right.spec, steps=0, minutes=10.0))
    assert heals.control_of(timed, [ten]) is None, "four times the training is no control"
    assert heals.control_of(replace(timed, spec=replace(timed.spec, minutes=10.0)), [ten]) is ten


def test_a_run_without_a_step_is_not_called_trained():
    """Two minutes were too short for a step: only the instant heal was applied."""
    made = heal((3.8, 4.5, 4.1), (3.0, 3.6, 3.2))
    spec = replace(made.spec, steps=0, minutes=2.0, instant=True)
    fit = JunctionReport("model.layers.10.mlp.down_proj", 1.0, 4.5, 4.2, 4096, 20.0)
    made = replace(made, spec=spec, steps=[], junction=fit, planned_steps=0, wall_s=100.0)
    said = heals.sentences(made, None)
    assert "trained" not in " ".join(said)
    assert "No training step fit into 2 minutes: the scores are of the instant heal alone." in said
    assert recovery.clause(made).startswith(
        "healing (fit 20 s, no training step in 2 min) recovers"
    )
    assert heals.control_of(made, [control(2.9)]) is None


def test_stored_runs_name_fit_and_training_apart_from_scoring():
    """A fit of 13 minutes in a run of 57 was called healing for 57 minutes."""
    made = [
        found.result
        for found in library.find("heal")
        if found.precomputed and not found.result.spec.control
    ]
    assert made
    for result in made:
        assert result.fit_s + result.training_s + result.scoring_s == pytest.approx(result.wall_s)
        assert recovery.clause(result).startswith(f"healing ({recovery.course(result)})")
        assert units.duration(result.wall_s) not in recovery.course(result)


def test_a_run_that_was_stopped_during_training_names_its_last_step():
    found = heal((3.85, 4.93, 4.34), (3.0, 4.3, 2.6))
    stopped = replace(found, healed=None, adapter="a", kept_step=68, planned_steps=130)
    assert "after step 68 of 130 is kept" in heals.sentences(stopped)[0]
    assert "step" not in heals.sentences(replace(stopped, kept_step=0))[0]
