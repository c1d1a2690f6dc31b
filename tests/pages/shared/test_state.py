"""Choices of a session: read from any address or refused in a sentence, and never taken back by a
page that is being drawn.
"""

import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from analysis.core.bounds import MOST_LAYERS
from pages.components.explore import result_choice
from pages.components.shared import address, state
from tests.support import made_up

MUCH = 4 << 20
NAMES = (
    "model",
    "revision",
    "dtype",
    "device",
    "quantization",
    "n",
    "block",
    "keep",
    "range",
    "strategy",
    "pin",
    "present",
)
TEXTS = (
    st.text(max_size=12)
    | st.text(alphabet="0123456789:+-", max_size=14)
    | st.sampled_from(
        [
            "0:50000000",
            "0:9+0:9",
            "3-9",
            "1-9999",
            "9" * 5000,
            "0:" + "9" * 5000,
            "٣",
            "²",
            "-5",
            "5.0",
            "starter",
            "bfloat16",
        ]
    )
)


@pytest.fixture
def session(monkeypatch):
    """Return a session without Streamlit: its memory and the query of its address."""
    found = SimpleNamespace(session_state={}, query_params={})
    monkeypatch.setattr(state, "st", found)
    return found


def choices():
    """Everything that a page reads off its address."""
    yield state.current_model().source
    yield state.chosen_n()
    yield state.own_cut()
    yield state.own_cut(30)
    yield state.protected(30)
    yield state.sizes(30)
    yield state.strategy()
    yield state.pinned()
    yield state.presenting()


@given(st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=5))
@example({"block": "0:50000000", "keep": "0:50000000", "range": "0-9999", "n": "9" * 5000})
@example({"keep": "+".join(["0:900"] * 500), "block": "1:1+" * 3000})
def test_any_address_is_a_choice_or_a_fault(query):
    found = SimpleNamespace(session_state={}, query_params=query)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "st", found)
        tracemalloc.start()
        said = [*choices(), *state.address_faults()]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert all(len(fault) < 700 for fault in state.address_faults()), said
        assert 0 <= state.chosen_n() < 10_000
        assert peak < MUCH


@pytest.mark.parametrize("field", address.FIELDS, ids=lambda field: field.name)
@given(text=TEXTS)
@example(text="14:5")
def test_written_value_of_a_field_reads_as_itself(field, text):
    try:
        value = field.opened(text)
    except address.AddressError:
        return
    assert field.opened(field.written(value)) == value


def test_an_impossible_cut_or_protection_is_reported_and_not_made(session):
    session.query_params |= {"block": "0:50000000", "keep": "5:50000000"}
    assert (state.own_cut(), state.protected()) == (None, frozenset())
    cut, kept = state.address_faults()
    assert cut.startswith(
        "The address of this page names an invalid block: A block of 50,000,000 layers"
    )
    assert f"no model has more than {MOST_LAYERS:,} layers" in kept


@given(
    st.text(max_size=40)
    | st.from_regex(r"(c4|wiki):[0-9]{1,30}x[0-9]{1,30}(:seed[0-9]{1,30})?", fullmatch=True)
)
def test_any_name_of_texts_or_questions_is_one_or_none(text):
    for read in (result_choice.read_texts, result_choice.read_questions):
        assert made_up.refusal(lambda: read(text)) == ""  # noqa: B023


# A control stands where the choice is, and a visitor's change to it while the page is drawn stays


def _page() -> None:
    import streamlit as st  # noqa: PLC0415

    from pages.components.shared import state  # noqa: PLC0415

    st.button("Elsewhere", on_click=lambda: st.session_state.update(chosen=7))
    st.checkbox("Break off", key="broken")
    with state.showing("n", st.session_state.get("chosen", 5)):
        if st.session_state.broken:
            st.stop()
        st.slider(
            "n", 0, 9, key="n", on_change=lambda: st.session_state.update(chosen=st.session_state.n)
        )


def test_a_value_is_sent_only_where_the_control_stands_elsewhere():
    page = AppTest.from_function(_page).run()
    assert (page.slider(key="n").value, page.slider(key="n").proto.set_value) == (5, True)
    page.run()
    assert (page.slider(key="n").value, page.slider(key="n").proto.set_value) == (5, False)
    page.slider(key="n").set_value(6).run()
    assert (page.slider(key="n").value, page.slider(key="n").proto.set_value) == (6, False)
    page.button[0].click().run()
    assert (page.slider(key="n").value, page.slider(key="n").proto.set_value) == (7, True)


def test_a_value_lost_in_a_broken_drawing_is_sent_again():
    page = AppTest.from_function(_page).run()
    page.session_state["chosen"] = 8
    page.checkbox[0].check().run()
    assert not page.slider
    page.checkbox[0].uncheck().run()
    assert (page.slider(key="n").value, page.slider(key="n").proto.set_value) == (8, True)


def test_late_message_of_a_removed_menu_changes_nothing():
    def script():
        from unittest import mock

        import streamlit as st

        from pages.components.shared import state

        heard = {}
        with mock.patch.object(
            st, "selectbox", lambda *_, key, on_change, **__: heard.update({key: on_change})
        ):
            state.pick_result("sweep", "Curve", {"old": "Old"}, "old")
            state.pick_result("sweep", "Curve", {"new": "New", "old": "Old"}, "new")
        state.show_result("sweep", "new")
        st.session_state["pick-sweep-old"] = "old"
        heard["pick-sweep-old"]()
        st.text(state.shown_result("sweep", ["new", "old"]))
        st.session_state["pick-sweep-new"] = "old"
        heard["pick-sweep-new"]()
        st.text(state.shown_result("sweep", ["new", "old"]))

    at = AppTest.from_function(script).run()
    assert not at.exception
    assert [item.value for item in at.text] == ["new", "old"]
