"""Accounts of a real provider: log in, start a job, log out; another person may not come in."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from analysis import jobs
from tests.support import browser, provider

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
SECRETS = """
[auth]
redirect_uri = "{here}/oauth2callback"
cookie_secret = "32 random characters or more, here"
client_id = "{client}"
client_secret = "{secret}"
server_metadata_url = "{there}/.well-known/openid-configuration"
"""


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A dashboard that leaves logging in to a provider, and that provider."""
    cache, port = tmp_path / "cache", browser.free_port()
    cache.mkdir()
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(cache))
    monkeypatch.setenv("LAYERSCOPE_MODE", "team")
    monkeypatch.setenv("LAYERSCOPE_USERS", "@example.org")
    monkeypatch.setenv("LAYERSCOPE_OPERATORS", "root@example.org")
    with provider.running() as known:
        here = f"http://127.0.0.1:{port}"
        secrets = tmp_path / "secrets.toml"
        secrets.write_text(
            SECRETS.format(
                here=here, there=known.address, client=provider.CLIENT, secret=provider.SECRET
            )
        )
        entry = (*browser.ENTRY, "--secrets.files", str(secrets))
        with browser.dashboard(cache, entry=entry, port=port) as address:
            yield address, known
            log = (cache / "server.log").read_text()
            assert "Traceback" not in log
            assert provider.SECRET not in log


def you_are(name: str, also: str = "") -> re.Pattern:
    """Behind the @ stands a mark that nobody sees, so that an address of others never becomes a
    link.
    """
    return re.compile(rf"You are {name}@\W?example\.org{also}\.")


def logged_in(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}/learn")
    page.get_by_role("link", name="Log in").click()
    page.get_by_role("link", name=f"I am {name}").click()


def test_users_log_in_have_their_own_jobs_and_log_out(served):
    address, known = served
    with browser.chromium() as chromium:
        page = chromium.new_context(
            viewport={"width": 1280, "height": 800}, reduced_motion="reduce"
        ).new_page()
        logged_in(page, address, "Ada")
        browser.settled(page)
        expect(page.get_by_text(you_are("ada"))).to_be_visible()
        page.get_by_role("button", name="Details").click()
        browser.drawn(page)  # a click on what a busy browser still draws is lost
        page.get_by_text("New map").click()
        page.get_by_role("button", name="Compute map").click()
        cancel = page.get_by_role("button", name="Cancel")
        expect(cancel).to_be_enabled()
        assert [(job.owner, job.owner_label) for job in jobs.list_jobs()] == [
            (f"oidc:{known.address}#Ada", "ada@example.org")
        ]

        cancel.click()
        expect(page.get_by_text("cancelled Distance map")).to_be_visible()
        browser.settled(page)  # the end of a job draws the page anew
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("link", name="Log in")).to_be_visible()
        assert known.ended[0]["client_id"] == provider.CLIENT
        assert page.goto(f"{address}/heal").status == 401
        logged_in(page, address, "Eve")
        expect(page.get_by_role("alert")).to_contain_text(
            "eve@elsewhere.org may not visit this dashboard"
        )
        assert not json.dumps(page.context.cookies()).count(provider.SECRET)
