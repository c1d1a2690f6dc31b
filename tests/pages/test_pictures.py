"""The pictures of the README show the pages as they are."""

import pytest
import streamlit as st
from PIL import Image

from tests.support import pictured


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch, running_server):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", pictured.PAGES)
def test_picture_is_newer_than_the_controls_of_its_page(name):
    assert pictured.digest(name) == pictured.stored()[name], "the page has changed: run `make screenshots`"
    assert Image.open(pictured.FOLDER / f"{name}.png").width == 1280


def test_another_label_is_another_digest(monkeypatch):
    before = pictured.digest("heal")
    monkeypatch.setattr("pages.components.shared.frame.header", lambda *args, **options: st.button("New"))
    assert pictured.digest("heal") != before
