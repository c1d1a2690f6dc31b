"""A recipe registered by a file outside the package is known everywhere; an invalid one is refused
at once.
"""

import json

import pytest

from analysis.cli import main
from analysis.core.blocks import Block
from analysis.core.errors import RecipeError, SpecError
from analysis.data.spec import default_loss_corpus
from analysis.experiments.heal import healing, recipes
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.recipes import saved
from analysis.experiments.heal.recipes.recipe import SETTINGS
from analysis.exports import report
from analysis.models.source.model_spec import ModelSpec
from tests.support import own_recipe

BLOCK = Block(2, 2)


@pytest.fixture
def recipe(tmp_path):
    with own_recipe.registered(tmp_path) as found:
        yield found


def test_its_name_is_known_while_it_is_registered(tmp_path):
    before = list(recipes.NAMES)
    with own_recipe.registered(tmp_path) as recipe:
        assert list(recipes.NAMES) == [*before, "gentle"]
        assert recipe.label == "gentle: a low rank, few steps"
        assert recipes.builtin_recipe("gentle, changed") == "gentle"
    assert list(recipes.NAMES) == before
    with pytest.raises(RecipeError, match="no recipe 'gentle'"):
        recipes.get("gentle")


def test_it_changes_only_its_own_settings(recipe):
    spec = recipes.heal_spec("gentle", model=ModelSpec(), block=BLOCK, on_gpu=False)
    plain = HealSpec(block=BLOCK)
    differing = {name for name in SETTINGS if getattr(spec, name) != getattr(plain, name)}
    assert differing == set(recipe.values)
    assert (spec.recipe, spec.r, spec.lora_dropout, spec.model.quantization) == (
        "gentle",
        2,
        plain.lora_dropout,
        "none",
    )
    assert (spec.corpus.n_texts, spec.validation) == (40, default_loss_corpus())
    assert recipes.heal_spec("gentle", model=ModelSpec(), block=BLOCK, on_gpu=True).batch_size == 8
    assert (
        recipes.heal_spec("gentle", model=ModelSpec(), block=BLOCK, r=3).recipe == "gentle, changed"
    )


def test_unknown_and_forbidden_settings_are_refused():
    with pytest.raises(
        RecipeError,
        match=(
            r"The recipe bad sets rank, which is no setting of healing\. Choose from model, corpus"
        ),
    ):
        recipes.Recipe("bad", "", "", {"rank": 3})
    for values, on_gpu in (({"r": 0}, {}), ({}, {"r": 0})):
        with pytest.raises(SpecError, match="r must be 1..4,096, not 0"):
            recipes.register(recipes.Recipe("bad", "", "", values, on_gpu))
    assert "bad" not in recipes.NAMES


@pytest.mark.usefixtures("recipe", "cache")
def test_it_is_in_the_help_and_its_name_is_taken(capsys):
    with pytest.raises(SystemExit):
        main.main(["heal", "--help"])
    assert "paper-phi-2, gentle" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(RecipeError, match="gentle is a built-in recipe"):
        saved.save("gentle", HealSpec(block=BLOCK))


@pytest.mark.usefixtures("recipe", "cache")
def test_result_command_and_report_of_a_run_name_the_recipe(capsys, tiny_folder):
    asked = ["heal", str(tiny_folder()), "--block", "2:2", "--recipe", "gentle"]
    assert main.main([*asked, "--set", "benchmark=null", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    result = HealResult.load(HealSpec.from_json(told["spec"]))
    assert result.to_json() | told == result.to_json()
    assert (result.spec.recipe, [step.step for step in result.steps]) == ("gentle", [1, 2])
    assert result.documents_apart is False
    assert healing.run(result.spec, lambda progress: pytest.fail("healed twice")) == result
    assert "--recipe gentle" in main.command_line(result.spec)
    document = report.of(result.spec.model, BLOCK, main.command_line)
    assert "gentle" in str(
        [table.rows for section in document.sections for table in section.tables]
    )
