"""A range of n that the curves keep to: from the address and by handles."""

import pytest

from tests.support import fakes
from tests.support.seen import figures, texts, trace

NO_RANGE = "which is not a range such as 3-9. All numbers of removed layers are shown"


@pytest.fixture
def filled(precomputed):
    for result in (fakes.rich_distances(), fakes.sweep(), fakes.damage()):
        precomputed(result)


def axis(at, chart: str, side: str = "xaxis") -> list[float]:
    return figures(at)[chart]["layout"][side]["range"]


def test_curves_keep_to_the_range_of_the_address(app, filled):
    at = app(n="5", range="3-9")
    assert axis(at, "accuracy") == axis(at, "loss") == [2.5, 9.5]
    low, high = axis(at, "accuracy", "yaxis")
    shown = [
        (x, y)
        for x, y in zip(
            *(trace(figures(at)["accuracy"], "pruned")[side] for side in "xy"), strict=True
        )
    ]
    assert all(low < y < high for x, y in shown if 3 <= x <= 9)
    assert len(shown) == len(fakes.sweep().points), "points out of sight are kept"
    assert at.query_params["range"] in ("3-9", ["3-9"])


def test_the_handles_set_the_range(app, filled):
    at = app()
    whole = axis(at, "accuracy")
    assert at.slider(key="sizes-handles").value == (0, 29)
    at.slider(key="sizes-handles").set_value((4, 8)).run()
    assert axis(at, "accuracy") == [3.5, 8.5]
    assert at.query_params["range"] in ("4-8", ["4-8"])
    at.slider(key="sizes-handles").set_value((0, 29)).run()
    assert axis(at, "accuracy") == whole
    assert not at.exception


@pytest.mark.parametrize("text", ["evil", "9-3"])
def test_invalid_range_is_named_and_all_is_shown(app, filled, text):
    at = app(range=text)
    assert NO_RANGE in texts(at)
    assert axis(at, "accuracy")[0] == -0.5
    assert "range" not in at.query_params
