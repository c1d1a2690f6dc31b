"""What depends on whether the visitor's page is light or dark."""

from typing import Literal

import streamlit as st


def main_button() -> Literal["primary", "secondary"]:
    """The kind of a page's main button: Streamlit writes white on the accent, which is unreadable on the dark one."""
    return "secondary" if is_dark() else "primary"


def is_dark() -> bool:
    """Whether the visitor's page is dark."""
    return st.context.theme.type == "dark"
