"""Charts draw the measured values, in the documented colours."""

import json
import re
from dataclasses import replace

import pytest
from plotly.io import to_json

from analysis.charts import curves, heals, maps, selected
from analysis.charts import look as drawing
from analysis.core import stats
from analysis.core.blocks import Block, LayerSet, parse_removal
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.experiments.strategies import STRATEGIES
from tests.support.seen import contrast
from tests.support.toy import DAMAGE, HEAL, MAP, MEAN, SWEEP


def trace(figure, name):
    found = [item for item in figure.data if item.name == name]
    assert found, f"no trace {name!r} among {[item.name for item in figure.data]}"
    return found[0]


def read_outs(figure):
    """Return the hover texts of all blocks, by START:SIZE."""
    marks = trace(figure, "cells")
    assert marks.marker.opacity == 0
    said = maps.hover_texts(marks)
    assert not [text for text in said if "%{" in text]
    return {fields[0]: text for fields, text in zip(marks.customdata, said, strict=True)}


def test_map_holds_every_distance_and_nothing_outside_the_triangle():
    heat = trace(maps.distance_map(MAP), "distance")
    assert [list(row) for row in heat.z] == [
        [0.30, 0.10, 0.20, 0.40],
        [0.35, 0.15, 0.45, None],
        [0.5, 0.5, None, None],
        [0.6, None, None, None],
    ]
    assert list(heat.x) == [0, 1, 2, 3]
    assert list(heat.y) == [1, 2, 3, 4]
    assert heat.reversescale, "similar must be yellow, the light end of Viridis"


def test_map_hover_gives_both_index_forms_and_the_error():
    read = read_outs(maps.distance_map(MAP))
    assert (
        read["1:2"]
        == "<b>layers 1-2</b><br>distance 0.1500, 95 % interval 0.1070 to 0.1930<br>200 parameters"
        " (30.5%), 800 B"
    )
    assert len(read) == 10
    assert "includes the last layer" in read["2:2"]
    assert "no layer would remain" in read["0:4"]
    assert "last layer" not in read["1:2"]


@pytest.mark.parametrize("dark", [False, True])
def test_colours_of_meaning(dark):
    colours = drawing.palette(dark)
    figure = curves.accuracy_curve(SWEEP, [HEAL], dark=dark)
    assert trace(figure, "unpruned").line.color == colours.unpruned
    assert trace(figure, "unpruned").line.dash == "dash"
    assert trace(figure, "pruned").marker.color == colours.pruned
    assert trace(figure, "healed").marker.color == colours.healed
    assert trace(figure, "chance").line.color == colours.chance
    assert trace(figure, "chance").line.dash == "dot"


def test_curves_hold_values_and_errors():
    figure = curves.accuracy_curve(SWEEP, [HEAL])
    pruned = trace(figure, "pruned")
    assert list(pruned.x) == [0, 1]
    assert list(pruned.y) == [0.5, 0.4]
    low, high = stats.share_interval(40 / 100, 100)
    assert f"accuracy 40.0%, 95 % interval {low:.1%} to {high:.1%}" in pruned.text[1]
    band = trace(figure, "interval")
    assert list(band.x) == [0, 1, 1, 0]
    assert (band.y[1], band.y[2]) == (high, low)
    assert band.fill == "toself"
    healed = trace(figure, "healed")
    assert healed.y[0] + healed.error_y.array[0] == pytest.approx(
        stats.share_interval(45 / 100, 100)[1]
    )
    assert healed.y[0] == 0.45
    loss = curves.loss_curve(SWEEP, [HEAL])
    assert (list(trace(loss, "pruned").y), trace(loss, "healed").y[0]) == ([2.0, 2.5], 2.2)
    t = 2.364624  # of 8 texts
    assert list(trace(loss, "interval").y) == pytest.approx(
        [2.0 + 0.1 * t, 2.5 + 0.2 * t, 2.5 - 0.2 * t, 2.0 - 0.1 * t]
    )


def of_strategy(strategy, *, draw=0, acc=0.35, layers=None):
    spec = SweepSpec(
        max_n=2, strategy=strategy, draw=draw, blocks=(Block(1, 1),) if strategy == "manual" else ()
    )
    point = replace(SWEEP.points[1], start=0, acc=acc, layers=layers)
    return replace(SWEEP, spec=spec, points=[SWEEP.points[0], point])


@pytest.mark.parametrize("dark", [False, True])
def test_strategies_differ_in_dash_marker_and_shade(dark):
    others = [of_strategy(name) for name in STRATEGIES if name != "similarity"]
    figure = curves.accuracy_curve(SWEEP, others=others, dark=dark)
    main = trace(figure, "similarity")
    assert main.marker.color == drawing.palette(dark).pruned
    looks = [
        (item.line.dash, item.marker.symbol, item.marker.color)
        for item in (trace(figure, o.spec.strategy) for o in others)
    ]
    for place in range(3):
        assert len({look[place] for look in looks}) == len(looks)
    assert all(trace(figure, o.spec.strategy).line.width < main.line.width for o in others)
    assert not {drawing.palette(dark).healed, drawing.palette(dark).unpruned} & {
        look[2] for look in looks
    }
    assert not any(item.showlegend for item in curves.loss_curve(SWEEP, others=others).data)


def test_draws_of_random_are_one_band_with_a_mean():
    draws = [of_strategy("random", draw=draw, acc=acc) for draw, acc in enumerate((0.3, 0.2, 0.4))]
    figure = curves.accuracy_curve(SWEEP, others=draws)
    assert list(trace(figure, "random draws").y) == [0.5, 0.4, 0.2, 0.5]
    assert list(trace(figure, "random × 3").y) == pytest.approx([0.5, 0.3])
    assert "lowest 20.0%, highest 40.0%" in trace(figure, "random × 3").text[1]
    assert not [item for item in figure.data if item.name == "random"]


def test_curves_name_the_texts_of_their_blocks_if_the_loss_has_others():
    assert SWEEP.spec.chosen_on.subject == SWEEP.spec.loss_corpus.subject
    own_texts = replace(SWEEP.spec.loss_corpus, source="mine.txt")
    own = replace(SWEEP, spec=replace(SWEEP.spec, loss_corpus=own_texts))
    for draw in (curves.accuracy_curve, curves.loss_curve):
        assert draw(SWEEP).layout.xaxis.title.text == "removed layers n"
        assert draw(own).layout.xaxis.title.text == "removed layers n (chosen on texts of C4)"


def test_two_manual_cuts_of_one_size_are_not_joined():
    sweep = of_strategy("manual")
    twice = replace(sweep, points=[*sweep.points, replace(sweep.points[1], start=2)])
    assert trace(curves.accuracy_curve(twice), "pruned").mode == "markers"


def test_layers_of_a_scattered_cut_are_in_the_hover():
    figure = curves.accuracy_curve(of_strategy("block-influence", layers=[0, 2]))
    assert "layers 0, 2" in trace(figure, "pruned").text[1]


def test_the_located_cliff_is_marked_with_its_strategy():
    falls = replace(
        SWEEP,
        points=[
            replace(SWEEP.points[0], n_samples=400),
            replace(SWEEP.points[1], acc=0.26, n_samples=400),
        ],
    )
    figure = curves.accuracy_curve(falls)
    assert figure.layout.annotations[0].text == "cliff of similarity blocks, n = 1 (1 only)"
    assert figure.layout.annotations[0].x == 1
    assert not curves.accuracy_curve(SWEEP).layout.annotations


def test_a_curve_without_scores_yet_is_an_empty_chart():
    empty = replace(SWEEP, points=[], lines=None)
    assert not trace(curves.accuracy_curve(empty), "pruned").x
    assert not trace(curves.loss_curve(empty), "pruned").x


def test_ring_of_the_selected_block_stands_at_its_own_value():
    plain = curves.accuracy_curve(SWEEP)
    figure = selected.marked(plain, [(4, 0.37)])
    ring = trace(figure, selected.NAME)
    assert (list(ring.x), list(ring.y)) == ([4], [0.37])
    assert ring.marker.color == drawing.SELECTED
    assert figure.layout.xaxis.range == (-0.5, 4.5), "the axis reaches the ring"
    assert not [shape for shape in figure.layout.shapes if shape.type == "line"], (
        "no line crosses the curve"
    )
    assert (len(plain.data), plain.layout.xaxis.range) == (len(figure.data) - 2, (-0.5, 2.5))


def test_block_without_a_measured_increase_is_noted_on_the_map():
    for block in (Block(2, 1), Block(0, 3)):
        figure = maps.damage_map(DAMAGE, selected=block)
        assert not [item for item in figure.data if item.name == selected.NAME]
        assert [note.text for note in figure.layout.annotations] == [
            "Not measured for this selection"
        ]


def test_damage_map_leaves_unmeasured_blocks_blank():
    figure = maps.damage_map(DAMAGE, selected=Block(1, 2))
    heat = trace(figure, "damage")
    assert [list(row) for row in heat.z] == [[2.0, 0.1, None, 0.4], [3.0, 0.2, 0.5, None]]
    assert heat.reversescale, "little damage must be yellow, as similar is"
    assert not heat.hoverongaps
    read = read_outs(figure)
    assert (
        "layer 1</b><br>loss +0.100 nats per token, 95 % interval -0.027 to +0.227<br>2 of 8 texts"
        in read["1:1"]
    )
    assert "loss +3.000 nats per token, 95 % interval not known<br>1 of 8 texts" in read["0:2"]
    assert "2:1" not in read, (
        "nothing can be read of a block that was not measured, and it cannot be picked"
    )
    assert (trace(figure, "path").x, trace(figure, "path").y) == ((1,), (2,))
    assert (trace(figure, "selected").x, trace(figure, "selected").y) == ((1,), (2,))
    assert (trace(figure, selected.OUTLINE).x, trace(figure, selected.OUTLINE).y) == ((1,), (2,))


def test_loss_increase_of_single_layers_is_drawn_as_bars():
    single = replace(
        DAMAGE,
        increase=DAMAGE.increase[:1],
        stderr=DAMAGE.stderr[:1],
        n_measured=DAMAGE.n_measured[:1],
    )
    figure = maps.damage_map(single, selected=Block(0, 1))
    measured = [
        (start, value) for start, value in enumerate(single.increase[0]) if value is not None
    ]
    bars = trace(figure, "damage")
    assert bars.type == "bar"
    assert list(zip(bars.x, bars.y, strict=True)) == measured
    assert [fields[0] for fields in trace(figure, "cells").customdata] == [
        f"{start}:1" for start, _ in measured
    ]


def test_rings_mark_every_run_of_a_scattered_cut():
    ring = trace(maps.distance_map(MAP, selected=LayerSet((0, 2, 3))), "selected")
    assert list(zip(ring.x, ring.y, strict=True)) == [(0, 1), (2, 2)]
    bars = maps.layer_strip(4, LayerSet((0, 2, 3))).data[0]
    assert [text.endswith("removed") for text in bars.text] == [True, False, True, True]


def test_training_curve_and_comparison():
    figure = heals.training_curve(HEAL)
    assert list(trace(figure, "training loss on Wikipedia").y) == [2.5, 2.3]
    assert list(trace(figure, "loss on held-out text").x) == [0, 2]
    accuracy = heals.heal_comparison(HEAL, "acc")
    assert [trace(accuracy, name).y[0] for name in ("unpruned", "pruned", "healed")] == [
        0.5,
        0.4,
        0.45,
    ]
    running = heals.heal_comparison(replace(HEAL, healed=None), "loss")
    assert [item.name for item in running.data] == ["unpruned", "pruned"]
    control = replace(HEAL, spec=replace(HEAL.spec, control=True, instant=False), pruned=None)
    beside = heals.heal_comparison(HEAL, "loss", control=control)
    assert [item.name for item in beside.data] == ["unpruned", "pruned", "healed", "control"]
    assert [item.name for item in heals.heal_comparison(control, "loss").data] == [
        "unpruned",
        "control",
    ]


def test_gap_of_a_heal_spans_the_losses_of_its_checks():
    first, *_, last = HEAL.validations
    pruned, now = heals.gap(replace(HEAL, unpruned_check=replace(first, loss=2.5))).data
    assert (pruned.base, pruned.base + pruned.x[0]) == (2.5, first.loss)
    assert now.base + now.x[0] == pytest.approx(last.loss)


@pytest.mark.parametrize(("dark", "background"), [(False, "#ffffff"), (True, "#13181d")])
def test_lines_have_contrast_on_the_page(dark, background):
    colours = drawing.palette(dark)
    for name in ("unpruned", "pruned", "healed", "chance", "marker"):
        colour = getattr(colours, name)
        assert re.fullmatch("#[0-9a-f]{6}", colour)
        assert contrast(colour, background) >= 3, f"{name} {colour} on {background}"
    assert contrast(drawing.SELECTED, background) >= 3, "the marker of the selected block"
    for strategy in STRATEGIES:
        colour = drawing.STRATEGY_STYLES[strategy].shade(dark=dark)
        assert contrast(colour, background) >= 3, f"{strategy} {colour} on {background}"


@pytest.mark.parametrize("dark", [False, True])
def test_lines_are_map_rows_with_one_line_through_minima(dark):
    figure = maps.distance_lines(MAP, dark=dark)
    assert [list(trace(figure, f"n = {n}").y) for n in (1, 2, 3)] == MEAN[:-1]
    assert list(zip(trace(figure, "minima").x, trace(figure, "minima").y, strict=True)) == [
        (1, 0.10),
        (1, 0.15),
        (1, 0.5),
    ]
    marks = trace(figure, "cells")
    assert (
        dict(zip([fields[0] for fields in marks.customdata], marks.y, strict=True))["2:2"] == 0.45
    )
    picked = maps.picked(figure, Block(2, 2), dark=dark)
    assert trace(picked, "n = 2").line.color == drawing.palette(dark).pruned
    assert trace(figure, "n = 2").line.color != drawing.palette(dark).pruned, (
        "a shared chart is not changed"
    )
    assert maps.picked(figure, LayerSet((0, 2))) is figure


def test_ringing_and_marking_leave_the_shared_chart_alone():
    plain = maps.distance_map(MAP, tied=[[2], [], [0], []])
    ringed = maps.ringed(plain, Block(1, 2))
    assert len(ringed.data) == len(plain.data) + 2
    assert list(zip(trace(plain, "tied").x, trace(plain, "tied").y, strict=True)) == [
        (2, 1),
        (0, 3),
    ]
    curve = curves.accuracy_curve(SWEEP)
    assert curves.reaching(curve, 9).layout.xaxis.range == (-0.5, 9.5)
    assert not curve.layout.shapes


def test_strip_marks_half_a_cell_for_a_removed_sublayer():
    whole, half = maps.layer_strip(4, parse_removal("a0+m2+3:1")).data
    assert [text.partition(", ")[2] for text in whole.text] == ["kept", "kept", "kept", "removed"]
    assert (list(half.x), list(half.base), list(half.y)) == ([0, 2], [0.5, 0], [0.5, 0.5])
    assert list(half.text) == ["layer 0, attention removed", "layer 2, feed-forward removed"]


def test_finished_figure_is_taken_apart_once_and_stays_the_same():
    plain = maps.distance_map(MAP)
    kept = drawing.Finished(plain)
    assert kept.drawing().to_dict() is kept.drawing().to_dict()
    assert json.loads(to_json(kept.drawing().to_dict(), validate=False)) == json.loads(
        plain.to_json()
    )
    maps.picked(kept, Block(0, 1))
    assert json.loads(to_json(kept.drawing().to_dict(), validate=False)) == json.loads(
        plain.to_json()
    )
