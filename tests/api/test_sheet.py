"""`model.sheet` decides on a block and writes its page."""

import pytest

import analysis as layerscope
from analysis.cli import decision_sheet, main
from analysis.cli.front import ScoresSpec
from analysis.core.blocks import Block
from analysis.core.errors import ModelNotFoundError, SpecError
from analysis.data import gallery
from analysis.models.source.model_spec import ModelSpec
from tests.support import fakes

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def model(monkeypatch):
    """The starter model by name, with made-up results and without its files."""

    def plan(spec):
        raise ModelNotFoundError("The files are gone.")

    for result in (fakes.distances(), fakes.sweep(answers=True), fakes.alike_heal(), fakes.speed()):
        result.save()
    monkeypatch.setattr("analysis.models.loading.planning.plan", plan)
    return layerscope.model("starter")


def test_a_sheet_has_a_recommendation_and_is_saved(model, tmp_path):
    made = model.sheet("11:5")
    assert made.recommendation == "don't"
    assert made.decision.removed == Block(11, 5)
    assert made._repr_markdown_() == made.markdown()
    assert made.save(tmp_path / "a.md").read_text() == made.markdown()
    assert model.sheet(Block(11, 5), accept_points=40, accept_nats=9).recommendation == "go"
    with pytest.raises(SpecError, match="has no setting 'tasks'.* Did you mean task"):
        model.sheet("11:5", tasks="arc_easy")
    with pytest.raises(SpecError, match="Change the extension"):
        made.save(tmp_path / "a.doc")


def test_a_model_of_the_gallery_needs_no_weights_for_stored_results():
    exhibit = gallery.EXHIBITS[2]
    model = layerscope.model(exhibit.source)
    sheet = model.sheet("9:10", accept_points=3, task="arc_easy")
    asked = decision_sheet.SheetSpec(
        Block(9, 10), ModelSpec(exhibit.source), dataset=ScoresSpec("arc_easy")
    )
    assert sheet.decision == decision_sheet.decide(asked, main.command_line).decision
    assert repr(model.goal(points=3)).startswith("<To lose less than 3 points of accuracy: ")
    assert model.facts.n_layers == 28
    with pytest.raises(ModelNotFoundError):
        _ = model.plan
