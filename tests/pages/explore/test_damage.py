"""Choice of layers by distance against the damage map: missing, growing, done, and beside layers outside of the map."""

from dataclasses import replace

from analysis import jobs
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.results.compared import agreement
from tests.support import fakes
from tests.support.seen import figures, metric, read, ringed, texts, trace


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
    assert "blank cells are not measured yet" in texts(at)
    assert metric(at, "Extra loss of distance's pick, Wikipedia").delta == "outside this map"
    assert metric(at, "Rank correlation, n = 12").value == "–"


def test_agreement_within_size_and_price_of_pick_come_first(app):
    """The old page led with 0.83 over all sizes, and compared the distance's own block with itself."""
    fakes.distances().save()
    measured = fakes.damage()
    measured.save()
    at = app(tab="damage", n="5")
    found = agreement.of_size(measured, fakes.distances(), 5)
    labels = [one.label for one in at.metric]
    assert labels == [
        "Rank correlation, n = 5",
        "Extra loss of distance's pick, Wikipedia",
        "Selected block vs. that pick, Wikipedia",
        "All sizes pooled",
    ]
    within = metric(at, "Rank correlation, n = 5")
    assert within.value == f"{found.correlation.value:.2f}"
    assert within.delta == found.correlation.basis()
    assert within.delta.startswith("95 % ")
    assert "26 blocks" in within.delta
    start, least = fakes.distances().best[4].start, measured.best[4]
    paid = metric(at, "Extra loss of distance's pick, Wikipedia")
    assert paid.value == f"{measured.increase[4][start] - least.increase:+.2f} nats"
    assert f"[{start}, {start + 5}) vs. [{least.start}, {least.start + 5})" in paid.delta
    assert "[13, 18) vs. [10, 15)" in paid.delta
    assert metric(at, "Selected block vs. that pick, Wikipedia").delta == f"[{start}, {start + 5}) is the pick"
    assert metric(at, "All sizes pooled").delta == "driven by block size"
    distance, damage = figures(at)["distances"], figures(at)["damage-map"]
    for axis in ("xaxis", "yaxis"):
        assert distance["layout"][axis]["range"] == damage["layout"][axis]["range"]
    assert ringed(at, "damage-map") == ringed(at, "distances") == [(start, 5)]
    assert "Unfinished" not in texts(at)


def test_selected_block_is_compared_with_the_pick_of_its_size(app):
    fakes.distances().save()
    measured = fakes.damage()
    measured.save()
    at = app(tab="damage", n="5", block="3:5")
    start = fakes.distances().best[4].start
    own = metric(at, "Selected block vs. that pick, Wikipedia")
    assert own.value == f"{measured.increase[4][3] - measured.increase[4][start]:+.2f} nats"
    assert f"[3, 8) vs. [{start}, {start + 5})" in own.delta
    assert "The distance picks layers" in read(texts(at))
