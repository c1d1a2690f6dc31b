"""Export in a real browser: a file in three clicks."""

import pytest
from playwright.sync_api import expect

from analysis import jobs
from analysis.exports import folders
from analysis.models.source import gguf
from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(400)]


@pytest.mark.long
def test_a_file_for_llama_cpp_takes_three_clicks(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore", "?n=5")
    clicks = 0

    def click(target) -> None:
        nonlocal clicks
        target.click()
        clicks += 1

    click(page.get_by_test_id("stSidebar").get_by_role("link", name="Export"))
    click(page.get_by_role("radio", name="llama.cpp"))
    expect(page.get_by_text("Then quantize it with llama.cpp")).to_be_visible()
    click(page.get_by_role("button", name="Save the GGUF file"))
    expect(page.get_by_role("heading", name="On this machine")).to_be_visible(timeout=300_000)
    assert clicks == 3
    (made,) = [job.spec for job in jobs.list_jobs() if job.kind == "export"]
    (file,) = folders.folder(made.name).glob("*.gguf")
    told = gguf.header(file)
    assert told["llama.block_count"] == 25
    assert told["tokenizer.ggml.pre"] == "smollm", "the tokenizer is that of the starter's own file"
    page.context.close()
