"""The loss-increase map: the form that measures it, and the map while it grows."""

from dataclasses import replace

from analysis import jobs
from analysis.experiments.maps.damage_spec import DamageSpec
from tests.support import fakes
from tests.support.seen import figures, ringed, trace


def test_the_form_queues_the_measurement(app):
    fakes.distances().save()
    at = app()
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
    job(
        DamageSpec(),
        jobs.RUNNING,
        "Damage map",
        done=4,
        total=10,
        result_key=part.spec.fingerprint(),
    )
    at = app(metric="damage", block="3:5")
    cells = [value for row in trace(figures(at)["map"], "damage")["z"] for value in row]
    assert sum(value is not None for value in cells) == 138
    assert ringed(at) == [(3, 5)]
