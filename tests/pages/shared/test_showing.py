"""A control stands where the choice is, and a visitor's change to it while the page is drawn is not taken back."""

from streamlit.testing.v1 import AppTest


def _page() -> None:
    import streamlit as st  # noqa: PLC0415

    from pages.components.shared import state  # noqa: PLC0415

    st.button("Elsewhere", on_click=lambda: st.session_state.update(chosen=7))
    st.checkbox("Break off", key="broken")
    with state.showing("n", st.session_state.get("chosen", 5)):
        if st.session_state.broken:
            st.stop()
        st.slider("n", 0, 9, key="n", on_change=lambda: st.session_state.update(chosen=st.session_state.n))


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
