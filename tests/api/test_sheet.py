"""`model.sheet` decides on a block and writes its page."""

from dataclasses import replace

import pytest

import analysis as layerscope
from analysis.cli import decision_sheet, main
from analysis.cli.front import ScoresSpec
from analysis.core import store
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


def test_a_sheet_has_a_recommendation_and_three_formats(model, tmp_path):
    made = model.sheet("11:5")
    assert made.recommendation == "don't"
    assert made.decision.removed == Block(11, 5)
    assert made._repr_markdown_() == made.markdown()
    starts = {"a.html": b"<!doctype html>", "a.md": b"# Decision: ", "a.pdf": b"%PDF-"}
    for name, start in starts.items():
        assert made.save(tmp_path / name).read_bytes().lstrip().startswith(start)
    with pytest.raises(SpecError, match="Change the extension"):
        made.save(tmp_path / "a.doc")


def test_a_sheet_takes_the_accepted_change(model):
    assert model.sheet(Block(11, 5), accept_points=40, accept_nats=9).recommendation == "go"


def test_a_sheet_takes_the_named_dataset(model, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")
    curve = fakes.sweep(answers=True)
    benchmark = replace(curve.spec.benchmark, task="arc_challenge", limit=50, identity="c")
    points = [replace(point, n_samples=50) for point in curve.points]
    replace(curve, spec=replace(curve.spec, benchmark=benchmark), points=points, n_questions=50, questions=[]).save()
    assert "50 ARC-Challenge questions" in model.sheet("11:5", task="arc_challenge", limit=50).markdown()
    text = model.sheet("11:5", task="arc_easy").markdown()
    assert "ARC-Challenge" not in text
    with pytest.raises(SpecError, match="has no setting 'tasks'.* Did you mean task"):
        model.sheet("11:5", tasks="arc_easy")


def test_a_model_of_the_gallery_needs_no_weights_for_stored_results():
    exhibit = gallery.EXHIBITS[2]
    model = layerscope.model(exhibit.source)
    sheet = model.sheet("9:10", accept_points=3, task="arc_easy")
    asked = decision_sheet.SheetSpec(Block(9, 10), ModelSpec(exhibit.source), dataset=ScoresSpec("arc_easy"))
    assert sheet.decision == decision_sheet.decide(asked, main.command_line).decision
    assert repr(model.goal(points=3)).startswith("<To lose less than 3 points of accuracy: ")
    assert model.facts.n_layers == 28
    with pytest.raises(ModelNotFoundError):
        _ = model.plan
