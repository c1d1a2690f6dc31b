"""Explore as one instrument: a clicked block is selected everywhere, and the address holds the
whole view.
"""

from collections.abc import Collection
from types import SimpleNamespace
from unittest import mock

import pytest

from analysis import jobs, service
from analysis.core.blocks import Block, LayerSet
from analysis.data.spec import BenchmarkSpec
from pages.components.explore import chart_selection, linked_view, result_choice
from pages.components.shared import cuts
from tests.support import fakes
from tests.support.seen import figures, marks, ringed, score, strip, texts, trace

OWN = Block(7, 5)
"""Other than the choice of `similarity` at n = 5 on the made-up map."""
BEST = fakes.distances().best[4].block


def fill() -> None:
    fakes.rich_distances().save()
    fakes.sweep().save()
    fakes.damage().save()


def shown_cuts(at) -> set[tuple[int, int]]:
    """The blocks that the strip and the rings show, as start and size."""
    removed = strip(at)["cut"]
    found = {(removed[0], len(removed))}
    found.update(ringed(at, next(key for key in marks(at) if key.startswith("map"))))
    return found


def test_block_picked_by_hand_holds_everywhere_until_undone(app):
    fill()
    at = app(n="3", block="7:5")
    assert at.slider(key="n").value == 5
    assert shown_cuts(at) == {(OWN.start, OWN.size)}
    assert f"**{OWN.brief()}**" in texts(at)
    assert score(at, "accuracy") is None, "the curve has no scores of this block"
    assert f"**Not measured**: {OWN.brief()}" in texts(at)
    assert at.query_params["block"] == ["7:5"] or at.query_params["block"] == "7:5"
    back = at.button(key="back")
    assert back.label == "Back to similarity"
    back.click().run()
    assert shown_cuts(at) == {(BEST.start, BEST.size)}
    assert "block" not in at.query_params
    assert not at.exception


def test_moving_the_slider_follows_the_strategy_again(app):
    fill()
    at = app(block="7:5")
    at.slider(key="n").set_value(6).run()
    best = fakes.distances().best[5].block
    assert shown_cuts(at) == {(best.start, 6)}
    assert "block" not in at.query_params


def test_a_rerun_looks_up_the_scores_of_the_selection_once(app):
    fill()
    at = app(n="5")
    at.slider(key="n").set_value(6).run()
    with mock.patch.object(service, "evidence", side_effect=service.evidence) as looked_up:
        at.slider(key="n").set_value(4).run()
    assert looked_up.call_count == 1


def test_strategys_block_in_the_address_is_no_manual_choice(app):
    fill()
    at = app(block=f"{BEST.start}:5")
    assert not [button for button in at.button if button.key == "back"]
    assert score(at, "accuracy") is not None


@pytest.mark.parametrize("what", ["angular", "relative-l2", "damage"])
def test_lines_of_every_measure(app, what):
    fill()
    at = app(n="5", view="lines", metric=what)
    assert not at.exception
    drawn = figures(at)["map"]
    assert at.selectbox(key="map-view").value == "lines"
    assert at.selectbox(key="metric").value == what
    assert ringed(at) == [(BEST.start, BEST.size)]
    assert "selected" not in [item["name"] for item in drawn["data"]], (
        "a figure that moves with the selection is drawn anew"
    )
    rows = {
        "damage": fakes.damage().increase,
        "angular": fakes.distances().mean[:-1],
        "relative-l2": fakes.rich_distances().others["relative-l2"][:-1],
    }[what]
    assert len([item for item in drawn["data"] if item["name"].startswith("n = ")]) == len(rows)
    assert trace(drawn, "minima")["y"] == [min(row) for row in rows]
    cells = trace(drawn, "cells")
    place = [fields[0] for fields in cells["customdata"]].index(f"{BEST.start}:{BEST.size}")
    assert (cells["x"][place], cells["y"][place]) == (BEST.start, rows[4][BEST.start])
    assert at.query_params["view"] in ("lines", ["lines"])


def test_the_address_asks_for_texts_and_questions_by_name(app):
    older = fakes.sweep(limit=50)
    older.save()
    fill()
    at = app(benchmark="arc_easy:50")
    assert at.selectbox(key=f"pick-sweep-{older.spec.fingerprint()}")
    assert at.query_params["benchmark"] in ("arc_easy:50", ["arc_easy:50"])
    assert at.query_params["texts"] in ("c4:32x256", ["c4:32x256"])
    assert "This link asks for" not in texts(at)
    newest = fakes.sweep().spec.fingerprint()
    at.selectbox(key=f"pick-sweep-{older.spec.fingerprint()}").set_value(newest).run()
    assert at.query_params["benchmark"] in ("arc_easy:100", ["arc_easy:100"])
    at.slider(key="n").set_value(9).run()
    assert "This link asks for" not in texts(at), (
        "an address that the page itself wrote is no request"
    )


def test_missing_result_is_named_and_offered_but_never_started(app):
    fill()
    at = app(benchmark="boolq:40", texts="wiki:8x64")
    assert not jobs.list_jobs()
    said = texts(at)
    assert "This link asks for a map of Wikipedia 8 × 64, which is not measured here" in said
    assert "a similarity curve on 40 questions of BoolQ, which is not measured here" in said
    assert at.query_params["benchmark"] in ("boolq:40", ["boolq:40"]), "a reload still asks for it"
    at.button(key="asked-sweep-go").click().run()
    (made,) = jobs.active()
    assert (made.spec.benchmark, made.spec.strategy) == (BenchmarkSpec("boolq", 40), "similarity")
    at.button(key="asked-distances-drop").click().run()
    assert "Wikipedia 8 × 64" not in texts(at)


@pytest.mark.parametrize(
    "spec",
    [
        BenchmarkSpec(),
        BenchmarkSpec("mmlu", None, shots=5, subset=("stem", "virology"), protocol="paper"),
        BenchmarkSpec("boolq", 7, seed=3, shots=0),
    ],
)
def test_questions_have_names_that_can_be_read_back(spec):
    assert result_choice.read_questions(result_choice.name_questions(spec)) == spec


def click(
    session: dict, on: str, block: str | None, n_layers: int = 30, kept: Collection[int] = ()
) -> Block | str | None:
    """Return the result of a click on the chart drawn in this session: a block, "strategy", or None
    where it is ignored.
    """
    heard = {}
    points = [{"customdata": block}] if block else []
    fake = mock.MagicMock(session_state=session)
    done = []
    with (
        mock.patch.object(chart_selection, "st", fake),
        mock.patch.object(
            chart_selection.chart,
            "show",
            lambda _, key, on_select, **__: heard.update({key: on_select}),
        ),
        mock.patch.object(cuts.state, "choose_cut", done.append),
        mock.patch.object(cuts.state, "protected", return_value=frozenset(kept)),
        mock.patch.object(cuts.state, "choose_n", side_effect=lambda _: done.append("strategy")),
    ):
        chart_selection.chart_of_blocks(
            SimpleNamespace(),
            key=on,
            alt="",
            file_name="",
            n_layers=n_layers,
            chosen=lambda n: Block(13, n),
        )
        (name,) = heard
        session[name] = {"selection": {"points": points}}
        heard[name]()
        first = list(done)
        heard[name]()
        assert done == first, "one click counts once"
    return done[0] if done else None


def test_clicks():
    session: dict = {}
    assert click(session, "map", "7:5") == Block(7, 5)
    assert click(session, "map", "7:5") == Block(7, 5), "the same block can be clicked again later"
    assert click(session, "map", "13:5") == "strategy"
    assert click(session, "map", None) is None
    assert click(session, "map", "0:30") is None, "a model keeps a layer"
    assert click(session, "map", "5:5", kept={9}) is None, "nor does it lose a protected one"
    assert click(session, "map", "nonsense") is None
    assert click(session, "accuracy", ["7:5", 5]) == Block(7, 5), (
        "a point of a curve, which says its n too"
    )
    assert click(session, "accuracy", ["unpruned", 0]) == "strategy", "n = 0 is no choice by hand"


def test_a_block_can_be_written_instead_of_clicked(app):
    fill()
    at = app(n="3")
    at.text_input(key="own-block").set_value("7:1+9:2").run()
    assert set(ringed(at)) == {(7, 1), (9, 2)}
    assert at.query_params["block"] in ("7:1+9:2", ["7:1+9:2"])
    at.text_input(key="own-block").set_value("7:5").run()
    assert shown_cuts(at) == {(7, 5)}
    at.text_input(key="own-block").set_value("28:9").run()
    assert shown_cuts(at) == {(7, 5)}
    assert "28" in at.error[0].value
    assert not at.exception


def test_link_to_a_missing_distance_names_it(app):
    fakes.distances().save()
    assert "relative L2, which this map does not have" in texts(app(metric="relative-l2"))


SCATTERED = LayerSet((3, 7, 8))


def test_separate_layers_in_the_address_hold_on_every_page(app):
    fill()
    at = app(block="3:1+7:2")
    assert at.slider(key="n").value == 3
    assert set(ringed(at)) == {(3, 1), (7, 2)}
    assert f"**{SCATTERED.brief()}**" in texts(at)
    assert score(at, "accuracy") is None, "the curve has no scores of these layers"
    at.switch_page("pages/heal.py").run()
    assert f"**{SCATTERED.brief()}**" in texts(at)
    at.switch_page("pages/export.py").run()
    assert SCATTERED.brief() in texts(at)
    assert at.query_params["block"] in ("3:1+7:2", ["3:1+7:2"])
    assert not at.exception


def test_protected_layer_stays_in_the_address_and_is_not_removed(app):
    fill()
    at = app(n="3", keep="0:1+12:1")
    at.text_input(key="own-block").set_value("10:4").run()
    assert "Layer 12 is protected. Select other layers" in at.error[0].value
    assert "block" not in at.query_params
    at.text_input(key="own-block").set_value("13:4").run()
    assert shown_cuts(at) == {(13, 4)}
    assert at.query_params["keep"] in ("0:1+12:1", ["0:1+12:1"])
    assert not at.exception


def test_only_the_open_tab_is_drawn_and_in_the_address(app):
    fill()
    at = app(tab="data")
    assert at.query_params["tab"] in ("data", ["data"])
    assert not figures(at)
    for former in ("damage", "generation", "sideways"):
        assert set(figures(app(tab=former))) == {"map", "accuracy", "loss"}


@pytest.mark.parametrize("title", ["No tab", "", ["Map"], 3])
def test_an_unknown_tab_from_a_browser_changes_nothing(monkeypatch, title):
    monkeypatch.setattr(linked_view.st, "session_state", {"tab": title})
    linked_view._opened()
    assert linked_view.st.session_state == {"tab": title}


def test_block_beyond_the_model_is_named(app):
    fill()
    at = app(block="99:5")
    assert "The address of this page names layers 99-103, but this model has layers 0-29." in texts(
        at
    )
    assert ringed(at) == [(BEST.start, BEST.size)]
    assert "The address of this page" not in texts(app(block="7:5"))
    assert "has n = 500, but this model has 30 layers. n = 29 is shown instead." in texts(
        app(n="500")
    )
