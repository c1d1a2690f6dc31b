"""No way around `words.plain`: each text that reaches Markdown on a page is our own, a number, or made harmless."""

import ast
from pathlib import Path

import pytest

from tests.support.outside import SINKS, House

REPOSITORY = Path(__file__).resolve().parent.parent
PLANTED = "pages/components/explore/planted.py"
IMPORTS = """
import streamlit as st
from analysis import jobs
from pages.components.shared import frame, state, stored_results, words
"""
WAYS_AROUND = {
    "a parameter": "def show(name: str):\n    st.markdown(f'**{name}**')",
    "a field of a result": "def show(found: stored_results.FoundResult):\n    st.caption(found.result.spec.model.source)",
    "an error": "def show():\n    try:\n        pass\n    except ValueError as error:\n        st.error(str(error))",
    "the address": "def show():\n    st.toast(st.query_params['model'])",
    "the session": "def show():\n    st.info(st.session_state['said'])",
    "a job": "def show():\n    for job in jobs.active():\n        st.info(job.label)",
    "a function that passes it on": "def said(text: str):\n    return f'It is {text}'\ndef show(a: str):\n    st.info(said(a))",
    "a list": "def show():\n    said = ['a', state.name(state.current_model())]\n    st.info(', '.join(said))",
    "a help": "def show(name: str):\n    st.columns(2)[0].button('Go', help=name)",
    "an option": "def show(names: list[str]):\n    st.radio('Which', names)",
    "what an option is called": "def show(names: list[str]):\n    st.pills('Which', [1], format_func=lambda one: names[one])",
    "a cell": "def show(name: str):\n    st.table([{'model': name}])",
    "a head": "def show(name: str):\n    st.table([{name: 'a'}])",
    "a number's place": "def show(name: str):\n    st.metric('Model', name)",
    "a tab": "def show(name: str):\n    st.tabs(['a', name])",
    "an expander": "def show(name: str):\n    with st.expander(name):\n        pass",
    "the text of a bar": "def show(name: str):\n    st.progress(0.5, text=name)",
    "a parameter that promises Markdown": "def show(name: str):\n    frame.header(name, 'Why?')",
    "a return that promises Markdown": "def said(name: str) -> words.Markdown:\n    return name",
    "a second assignment": "def show(name: str):\n    said = 'a'\n    if name:\n        said = name\n    st.info(said)",
    "an addition": "def show(name: str):\n    said = 'a'\n    said += name\n    st.info(said)",
    "a default": "def show(name: str):\n    st.info(name or 'nothing')",
}


@pytest.fixture(scope="module")
def house() -> House:
    return House(REPOSITORY)


@pytest.mark.slow
def test_no_foreign_text_reaches_markdown_but_through_the_one_function(house):
    assert [str(fault) for fault in house.faults()] == []


@pytest.mark.parametrize("way", WAYS_AROUND)
def test_a_way_around_is_found(house, way):
    house.add(PLANTED, IMPORTS + WAYS_AROUND[way])
    assert [fault.path.as_posix() for fault in house.faults_in(PLANTED)] == [PLANTED]


def test_text_that_passed_the_function_is_left_alone(house):
    house.add(PLANTED, f"{IMPORTS}def show(name: str, n: int):\n    st.info(f'**{{words.plain(name)}}** has {{n}}')")
    assert house.faults_in(PLANTED) == []


def test_every_method_of_streamlit_that_renders_markdown_is_watched():
    """By their docstrings; those that pages do not use are left out, since nothing can be got wrong there."""
    import streamlit as st

    used = set()
    for path in (REPOSITORY / "pages").rglob("*.py"):
        used |= {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    rendering = {name for name in used if "GitHub-flavored Markdown" in (getattr(getattr(st, name, None), "__doc__", "") or "")}
    others = {"text", "latex", "navigation"}  # `help` is watched everywhere, and a menu has pages
    assert rendering - others <= set(SINKS)
