"""Where a prompt is typed, with a few to begin with; it stays in the session and never becomes part of an address."""

import streamlit as st

from analysis.experiments.prompt.spec import LONGEST_PROMPT

EXAMPLES = {
    "A fact": "The capital of France is",
    "A story": "Once upon a time there was a little girl who lived in a house at the edge of the forest. One morning",
    "A sum": "Question: What is 3 + 4?\nAnswer: 7\n\nQuestion: What is 6 + 5?\nAnswer:",
    "A list": "Here is what you need to bake a cake:\n1. flour\n2. sugar\n3.",
}
"""Prompts that different parts of a model answer."""
_KEY = "prompt-text"


def show() -> str:
    """Draw the box and return what is in it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Prompt**", width="content")
        for name, prompt in EXAMPLES.items():
            st.button(name, key=f"example-{name}", type="tertiary", on_click=_put, args=(prompt,), help=f"Fills in: {prompt!r}")
    # The key alone would be forgotten while another page is on screen.
    st.session_state.setdefault(_KEY, EXAMPLES["A fact"])
    return st.text_area(
        "Prompt", key=_KEY, max_chars=LONGEST_PROMPT, height=118, label_visibility="collapsed", persist_state="session",
        placeholder="The beginning of a text. The model goes on with it as it stands.",
    ) or ""  # fmt: skip


def _put(prompt: str) -> None:
    st.session_state[_KEY] = prompt


def opening(prompt: str, longest: int = 44) -> str:
    """The beginning of a prompt on one line."""
    line = " ".join(prompt.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
