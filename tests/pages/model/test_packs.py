"""Result packs on the pages: dropped on Model, badged on every page, and removed by those who
may.
"""

import pytest

from analysis.core.errors import AccessError
from analysis.results import packs
from pages.components.shared import access
from pages.web.visitors import HOST, OPERATOR, READ_ONLY, USER, VIEWER, Visitor
from tests.support import fakes, packed
from tests.support.seen import read, texts

pytestmark = pytest.mark.usefixtures("inspected")

ADA = Visitor(USER, "oidc:https://id.example#1", "Ada")
ROOT = Visitor(OPERATOR, "oidc:https://id.example#3", "Root")


@pytest.fixture
def be(ui_cache, monkeypatch):
    """A function that makes somebody the visitor."""
    return lambda there: monkeypatch.setattr(access, "visitor", lambda: there)


@pytest.fixture
def opened(ui_cache, tmp_path, monkeypatch):
    """An opened pack, whose results this cache has nowhere else."""
    return packed.open_made(tmp_path, monkeypatch)


def test_a_dropped_pack_is_opened_listed_and_removed(app, ui_cache, opened, tmp_path):
    packs.remove(opened.id)
    at = app("pages/model.py")
    at.file_uploader(key="pack-0").upload(
        "mine.zip", (tmp_path / "results.zip").read_bytes(), "application/zip"
    ).run()
    assert not at.exception
    assert [read(one.value) for one in at.success] == [
        f"Opened the pack {opened.title}. Its results are on all pages."
    ]
    said = read(texts(at))
    assert f"**{opened.title}** · 3 results :blue-badge[pack]" in said
    assert "1 map, 2 curves" in said
    assert "Models you have looked at" not in [item.value for item in at.header]
    at.button(key=f"pack-open-{opened.id}-0").click().run()
    assert at.query_params["model"] == fakes.MODEL.source
    at.switch_page("pages/model.py").run()
    at.button(key=f"pack-remove-{opened.id}").click().run()
    assert packs.opened() == []
    assert "Removed the pack" in at.success[0].value


def test_a_refused_pack_says_why_in_one_sentence(app, ui_cache, monkeypatch):
    packed.opened_here(monkeypatch)
    at = app("pages/model.py")
    at.file_uploader(key="pack-0").upload("<b>x</b>.zip", b"GIF89a", "application/zip").run()
    assert not at.exception
    assert len(at.error) == 1
    assert read(at.error[0].value).startswith(
        '"<b>x</b>.zip" is no result pack that can be opened: '
    )
    assert packs.opened() == []


@pytest.mark.parametrize("page", ["explore", "compare", "export", "learn", "heal"])
def test_every_page_stands_on_an_opened_pack(app, opened, page):
    at = app(f"pages/{page}.py", model=fakes.MODEL.source)
    assert not at.error
    if page == "explore":
        assert f":blue-badge[pack {opened.title}]" in read(texts(at))


def test_in_show_the_field_for_a_pack_is_disabled(app, be):
    be(Visitor(VIEWER))
    (field,) = app("pages/model.py").file_uploader
    assert field.disabled
    assert read(field.help) == READ_ONLY


def test_viewers_open_nothing_and_only_operators_remove(be, opened, tmp_path):
    content = (tmp_path / "results.zip").read_bytes()
    for guest in (Visitor(VIEWER), Visitor(HOST)):
        be(guest)
        with pytest.raises(AccessError, match=READ_ONLY[:20]):
            access.open_pack("results.zip", content)
        with pytest.raises(AccessError, match=READ_ONLY[:20]):
            access.remove_pack(opened.id)
    be(ADA)
    assert access.open_pack("results.zip", content) == opened
    with pytest.raises(AccessError, match="Only an operator"):
        access.remove_pack(opened.id)
    be(ROOT)
    assert access.remove_pack(opened.id) == opened


def test_a_pack_of_a_foreign_path_reloads_as_at_first(app, be, ui_cache, tmp_path, monkeypatch):
    """Its results are for everybody. The file of that name on this machine is not, and nobody looks
    at it.
    """
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"other weights")
    opened = packed.open_made(tmp_path, monkeypatch, str(folder))
    monkeypatch.setattr(
        "analysis.models.source.identity.of_local", lambda source: pytest.fail(f"read {source}")
    )
    be(ADA)
    at = app("pages/model.py")
    at.button(key=f"pack-open-{opened.id}-0").click().run()
    at.switch_page("pages/explore.py").run()
    assert f":blue-badge[pack {opened.title}]" in read(texts(at))
    query = {name: at.query_params[name] for name in at.query_params}
    assert query["model"] == str(folder)
    again = app("pages/explore.py", **query)
    assert read(texts(again)) == read(texts(at))
    packs.remove(opened.id)
    refused = app("pages/explore.py", model=str(folder))
    assert "is outside the folders that this dashboard allows" in read(texts(refused))
