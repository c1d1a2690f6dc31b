"""Steps that fit into a time: known answers, and the refusal of a time that is too short."""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.recipes import sizing

SPEC = HealSpec(block=Block(2, 2), steps=0, minutes=10.0)


def test_steps_fill_the_time_left_after_the_measurements():
    assert sizing.steps_that_fit(600, sizing.Needs(step_s=4, check_s=10, end_s=40)) == 125
    assert sizing.steps_that_fit(600, sizing.Needs(step_s=8, check_s=10, end_s=40)) == 62


def test_too_short_a_time_says_how_long_it_takes():
    with pytest.raises(RecipeError, match=r"1.0 minutes are left .* take 2.0. Give more minutes"):
        sizing.steps_that_fit(60, sizing.Needs(step_s=4, check_s=10, end_s=40))


def test_validations_and_warm_up_are_spread_over_the_steps():
    found = sizing.planned(SPEC, 125)
    assert (found.steps, found.eval_every, found.warmup_steps) == (125, 21, 9)
    assert (
        sum(step % found.eval_every == 0 or step == 125 for step in range(1, 126)) == sizing.CHECKS
    )
    assert sizing.planned(replace(SPEC, minutes=None, steps=7), 99).steps == 7
