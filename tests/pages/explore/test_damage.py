"""Choice of layers by distance against the damage map: missing, growing, done, and beside layers outside of the map."""

from dataclasses import replace

from analysis import jobs
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.results.compared import agreement
from tests.support import fakes
from tests.support.seen import figures, marked, ringed, texts, trace


def test_section_without_a_damage_map_offers_and_queues_one(app):
    fakes.distances().save()
    at = app(tab="damage")
    assert "Does the distance pick the right layers?" in [item.value for item in at.header]
    assert "Click **Measure loss increase**" in texts(at)
    at.number_input(key="damage-n").set_value(4)
    at.number_input(key="damage-size").set_value(6)
    at.button(key="damage-go").click().run()
    (made,) = jobs.active()
    assert made.kind == "damage"
    assert (made.spec.corpus.source, made.spec.corpus.n_texts, made.spec.max_size) == ("wiki", 4, 6)
    assert made.spec.corpus.split == "validation"
    assert made.spec.distances.corpus == replace(fakes.distances().spec.corpus, identity="")


def test_a_growing_damage_map_leaves_unmeasured_blocks_blank(app, job):
    fakes.distances().save()
    part = fakes.damage(0.4)
    part.save()
    job(DamageSpec(), jobs.RUNNING, "Damage map", done=4, total=10, result_key=part.spec.fingerprint())
    at = app(tab="damage", n="12")
    cells = [value for row in trace(figures(at)["damage-map"], "damage")["z"] for value in row]
    assert sum(value is not None for value in cells) == 138
    assert "138 of 345 blocks measured" in texts(at)
    assert "Blank cells are not measured yet" in texts(at)
    assert "No block of 12 layers is measured." in texts(at)


def test_agreement_is_that_of_blocks_of_the_selected_size(app):
    fakes.distances().save()
    measured = fakes.damage()
    measured.save()
    at = app(tab="damage", n="5", block="3:5")
    found = agreement.of_size(measured, fakes.distances(), 5)
    assert f"Rank correlation {found.correlation.value:.2f} (95 % CI " in texts(at)
    assert "26 blocks" in texts(at)
    assert ringed(at, "damage-map") == [(3, 5)]
    assert marked(at, "distance-and-damage") == [(fakes.distances().mean[4][3], measured.increase[4][3])]
    assert "Unfinished" not in texts(at)
    at.slider(key="n").set_value(20).run()
    assert "No block of 20 layers is measured." in texts(at)
    assert not at.exception
