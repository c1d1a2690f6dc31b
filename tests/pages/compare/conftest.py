"""Compare opened at one of its views, as after a click on its name."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest


@pytest.fixture
def compare(app: Callable[..., AppTest]) -> Callable[..., AppTest]:
    """A function that opens a view of Compare by its name, with the fields of an address."""

    def open_view(view: str, **query: str) -> AppTest:
        at = app("pages/compare.py", **query)
        at.button_group(key="compare-view").set_value(view).run()
        assert not at.exception
        return at

    return open_view
