"""From the click on "Run sweep" to the chart, a request enters few modules, each once."""

import json
import subprocess
import sys

import pytest

from tests.support import fakes
from tests.support.walk import traced

MOST = 14


@pytest.mark.long
@pytest.mark.timeout(300)
def test_request_enters_each_module_once_from_the_click_to_the_chart(app, ui_cache, tmp_path, starter_folder):
    (ui_cache / "models").mkdir(parents=True)
    (ui_cache / "models" / starter_folder.name).symlink_to(starter_folder)
    fakes.distances().save()
    page = app()
    page.number_input(key="sweep-limit").set_value(3)
    page.number_input(key="sweep-max").set_value(1)
    walk: list[str] = []
    with traced(walk):
        page.button(key="sweep-go").click().run()
    subprocess.run([sys.executable, "-m", "tests.support.walk", tmp_path / "walk.json"], check=True)
    walk += json.loads((tmp_path / "walk.json").read_text())
    with traced(walk):
        page.run()
    print("\n".join(walk))
    assert not page.exception
    assert len(walk) <= MOST
    assert len(set(walk)) == len(walk)
