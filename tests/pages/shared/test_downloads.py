"""Beside every chart its data and an image; on every page of results one panel with the command
lines.
"""

import json
import shlex

import pytest

from analysis.cli import main, requests
from analysis.core.blocks import Block
from tests.support import fakes
from tests.support.seen import figures as figures_of


@pytest.fixture
def results(ui_cache):
    made = [
        fakes.distances(),
        fakes.sweep(),
        fakes.sweep(strategy="deepest"),
        fakes.damage(),
        fakes.heal(),
    ]
    for result in made:
        result.save()
    return made


def formats(at) -> set[str]:
    """The image formats that the charts' cameras save."""
    configs = [json.loads(item.proto.config) for item in at.get("plotly_chart")]
    return {
        config["toImageButtonOptions"]["format"] for config in configs if config["displayModeBar"]
    }


def opened(at, *charts: str):
    """The page with the downloads of some charts unfolded."""
    for name in charts:
        at.session_state[f"{name}-download"] = True
    return at.run()


def test_every_chart_with_a_toolbar_offers_its_data(app, results):
    at = app()
    assert not [item for item in at.get("download_button") if item.proto.label == "Data as CSV"], (
        "nobody looks into them"
    )
    at = opened(at, *figures_of(at))
    charts = [json.loads(item.proto.config) for item in at.get("plotly_chart")]
    with_toolbar = [config for config in charts if config["displayModeBar"]]
    offered = [item for item in at.get("download_button") if item.proto.label == "Data as CSV"]
    assert len(offered) == len(with_toolbar) == 3


def test_all_charts_and_pages_share_one_image_format(app, results):
    at = opened(app(), "map", "accuracy")
    assert formats(at) == {"png"}
    at.button_group(key="accuracy-image").set_value("svg").run()
    assert formats(at) == {"svg"}
    assert at.button_group(key="map-image").value == "svg"
    at.session_state["address"]["block"] = Block(11, 5)
    at.switch_page("pages/heal.py").run()
    assert formats(at) == {"svg"}


def commands(at) -> list[str]:
    panels = [item for item in at.expander if item.label == "Command"]
    assert len(panels) == 1, "one place per page"
    return panels[0].code[0].value.splitlines()


def test_explore_gives_the_commands_of_its_four_results(app, results):
    lines = commands(app(tab="data"))
    wanted = [requests.as_requested(result.spec) for result in results]
    assert [main.request(shlex.split(line)[3:]) for line in lines] == wanted
