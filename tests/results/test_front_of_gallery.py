"""Properties of the front on the committed results: what is stored is used, and a size is the same
everywhere.
"""

from dataclasses import replace

import pytest

from analysis.data import gallery
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from analysis.results.compared import front, unmeasured
from analysis.results.compared.material_filter import SameMaterial
from analysis.results.score import stored_scores
from analysis.results.score.score import ACCURACY, LOSS
from pages.components.explore import savings
from pages.components.shared.cuts import Cut
from tests.support import fakes

SOURCES = [exhibit.source for exhibit in gallery.EXHIBITS]


@pytest.mark.parametrize("source", SOURCES)
def test_every_method_of_a_table_is_a_candidate(cache, source):
    tables = library.of("methods", ModelSpec(source))
    for table in tables:
        compared = front.of_model(
            ModelSpec(source), SameMaterial.of(stored_scores.conditions_of(table).values())
        )
        losses = {
            candidate.scores[LOSS].value for candidate in compared.forms if LOSS in candidate.scores
        }
        scored = stored_scores.of_all(table)
        assert len(scored) == 1 + sum(not cell.error for cell in table.cells)
        assert {scores[LOSS].value for scores in scored} <= losses
        alike = [candidate for candidate in compared.forms if candidate.model == table.spec.model]
        assert all(
            candidate.changes[ACCURACY].paired
            for candidate in alike
            if candidate is not compared.reference
        )
        named = [
            measurement.what for measurement in unmeasured.missing(compared, ModelSpec(source))
        ]
        assert f"accuracy and loss in {table.spec.model.dtype}" not in named


@pytest.mark.parametrize("source", SOURCES)
def test_cost_tab_and_front_state_one_size(cache, source):
    for candidate in front.of_model(ModelSpec(source)).forms:
        cut = Cut(candidate.cut.size if candidate.cut else 0, candidate.cut, None)
        rows = savings.saved_by(
            candidate.facts, None, cut, tokens=1, batch_size=1, dtype=candidate.model.dtype
        )
        sizes = {row.what: row.pruned for row in rows}
        if candidate.is_file:
            continue
        if candidate.facts.layers or candidate.model.quantization == "none":
            assert sizes[f"Weights, {candidate.model.precision}"] == candidate.memory


def test_other_weights_under_the_source_of_the_gallery_are_no_rivals(cache):
    """A random model of a test was stored as `starter`, and offered as another way to fit a
    size.
    """
    for result in library.of("sweep", ModelSpec(SOURCES[1])):
        random_model = replace(result.spec.model, source="starter", identity="random")
        other_facts = replace(fakes.FACTS, name="random", vocab_size=result.model.vocab_size)
        replace(result, spec=replace(result.spec, model=random_model), model=other_facts).save()
    compared = front.of_model(ModelSpec(SOURCES[1]))
    assert {candidate.model.source for candidate in compared.candidates} == set(SOURCES)
    assert "random" not in {candidate.model.identity for candidate in compared.candidates}
