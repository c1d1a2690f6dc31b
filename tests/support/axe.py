"""Findings of axe-core, which looks for parts of a page that shut people out."""

import json

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

COLORS = ["color-contrast", "link-in-text-block"]
"""The rules whose answer differs between the themes: all others ask for names, roles and order."""
_GRAVE = ("serious", "critical")
_ALSO = ("heading-order",)
"""Rules that axe holds for moderate and we do not."""


def found(page: Page, rules: list[str] | None = None, *, also_minor: bool = False) -> list[str]:
    """Return the serious findings of axe on a page by these rules, or by all, each with its
    element.

    The script comes past the policy of the page, which allows the page's own alone.
    """
    asked = {
        "resultTypes": ["violations"],
        **({"runOnly": {"type": "rule", "values": rules}} if rules else {}),
    }
    told = page.context.new_cdp_session(page).send(
        "Runtime.evaluate",
        {
            "expression": (
                f"{AXE_SCRIPT}; axe.run({json.dumps(asked)}).then(found => found.violations)"
            ),
            "awaitPromise": True,
            "returnByValue": True,
        },
    )
    return [
        f"{violation['id']}: {node['html'][:200]} {node.get('failureSummary')}"
        for violation in told["result"]["value"]
        if also_minor or violation["impact"] in _GRAVE or violation["id"] in _ALSO
        for node in violation["nodes"]
    ]
