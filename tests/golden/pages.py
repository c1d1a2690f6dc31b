"""The golden files of the dashboard: how addresses open and are written, and the report on stored
results.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis import __version__
from analysis.cli import main
from analysis.core import blocks, store
from analysis.core.blocks import Block
from analysis.core.experiment import EXPERIMENTS
from analysis.exports import page, report
from pages.components.explore import linked_view, map_view
from pages.components.export import files
from pages.components.learn import lesson
from pages.components.shared import frame, state

_RESULTS = Path(__file__).resolve().parent / "results" / "2026-11-27"

EXAMPLES = {
    "model": ("", "starter", "HuggingFaceTB/SmolLM2-135M", "C:\\models\\mine", "a b/c", "../x"),
    "revision": ("main", "0123456789abcdef0123456789abcdef01234567", "a b"),
    "dtype": ("bfloat16", "float32", "auto", "int3"),
    "device": ("cpu", "cuda", "auto", "tpu:x"),
    "quantization": ("4bit", "8bit", "none", "5bit"),
    "n": ("7", "0", "9999", "99999", "-5", "5.0", "x"),
    "block": ("14:5", "3:1+7:2", "a12+m15:2", "a0:30", "0:50000000", "x"),
    "keep": ("0:1", "0:2+29:1", "5:50000000", "x"),
    "range": ("3-9", "1-9999", "9-3", "4-4", "3", "x"),
    "strategy": ("similarity", "deepest", "loss-greedy", "blocks", "random", "sideways"),
    "pin": ("sweep:0123456789abcdef0123", "heal:0123456789abcdef0123", "sweep:1", "x"),
    "present": ("1", "0", "true"),
    "metric": ("cosine", "damage", "x" * 90),
    "view": ("map", "rows", "lines", "sideways"),
    "tab": (
        "map",
        "questions",
        "cost",
        "trade-off",
        "generation",
        "writing",
        "damage",
        "data",
        "more",
        "sideways",
    ),
    "texts": ("c4:32x256", "wiki:8x64:seed3", "file"),
    "benchmark": (
        "arc_easy:100",
        "mmlu:all:5-shot:stem+virology@paper",
        "arc_easy:50:seed2",
        "file",
    ),
    "step": (*lesson.SLUGS, "sideways"),
    "way": (
        "Decision sheet",
        "Model folder",
        "llama.cpp",
        "Adapter",
        "mergekit",
        "lm_eval",
        "Report",
        "Model card",
        "Recipe",
        "x",
    ),
}
"""Values of each query field that people and former versions have in their links."""
TOGETHER = (
    {"block": "14:5", "n": "7"},
    {"block": "x", "n": "7"},
    {"n": "x", "strategy": "sideways", "tab": "writing"},
    {
        "model": "org/model",
        "revision": "main",
        "dtype": "float32",
        "quantization": "4bit",
        "n": "3",
        "keep": "0:2",
    },
    {"model": "org/model", "dtype": "int3"},
    {"unknown": "1", "n": "4"},
)
"""Addresses whose fields meet."""


class _Query(dict[str, str]):
    """A query as Streamlit keeps it."""

    def to_dict(self) -> dict[str, str]:
        return dict(self)

    def from_dict(self, query: Mapping[str, str]) -> None:
        self.clear()
        self.update(query)


def addresses() -> dict[str, Any]:
    """Return the pages by address, and by query field its examples, each with the address that is
    then written.
    """
    return {
        "pages": _pages(),
        "usual": {name: str(value) for name, value in _opened({})["values"].items()},
        "fields": {
            name: {value: _told({name: value}) for value in values}
            for name, values in EXAMPLES.items()
        },
        "together": {
            " ".join(f"{name}={value}" for name, value in query.items()): _told(query)
            for query in TOGETHER
        },
    }


def _told(query: dict[str, str]) -> dict[str, Any]:
    """Return the address that is written where a query opens, and of each fault the sentence that
    names it.
    """
    opened = _opened(query)
    faults = [fault.partition(". ")[0] for fault in opened["faults"]]
    return {"written": opened["written"]} | ({"faults": faults} if faults else {})


def _opened(query: dict[str, str]) -> dict[str, Any]:
    """Open a page under a query as every page does: read all fields, then write them."""
    session = SimpleNamespace(session_state={}, query_params=_Query(query))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "st", session)
        patch.setattr(store, "precomputed_dir", lambda: _RESULTS)
        values = {name: read() for name, read in _READ.items()}
        state.sync_url()
        return {
            "values": values,
            "written": session.query_params.to_dict(),
            "faults": list(state.address_faults()),
        }


_READ: dict[str, Callable[[], Any]] = {
    "model": lambda: state.current_model().source,
    "n": lambda: state.chosen_n(),
    "block": lambda: blocks.written(removed) if (removed := state.own_cut()) else "",
    "keep": lambda: sorted(state.protected()),
    "range": lambda: state.sizes(),
    "strategy": lambda: state.strategy(),
    "pin": lambda: state.pinned(),
    "present": lambda: state.presenting(),
    "metric": lambda: state.option("metric"),
    "view": map_view.view,
    "tab": linked_view.tab,
    "texts": lambda: state.option("texts"),
    "benchmark": lambda: state.option("benchmark"),
    "step": lambda: lesson.SLUGS[lesson._step_in_address()],
    "way": lambda: state.option_of("way", [files.SHEET, files.FOLDER, *files._WAYS], files.FOLDER),
}


def _pages() -> dict[str, str]:
    """Return the titles of the pages by their path in the address."""

    def of_page(path: Any, *, title: str, default: bool = False, **_: Any) -> tuple[str, str]:
        return "" if default else Path(path).stem, title

    stub = SimpleNamespace(Page=of_page, navigation=lambda pages, position: pages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "st", stub)
        patch.setattr(state, "presenting", lambda: False)
        return dict(frame.navigation())


def documents() -> dict[str, Any]:
    """Return the report on golden results: Markdown and pictures by section, hashes of the requests
    and the HTML page.
    """
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSCOPE_CACHE", folder)
        patch.setattr(store, "precomputed_dir", lambda: _RESULTS)
        stored = next(_RESULTS.glob("distances/*"))
        model = (
            EXPERIMENTS["distances"].result.read(store.read(stored, precomputed=True)).spec.model
        )
        document = report.of(model, Block(14, 5), main.command_line)
    written = document.markdown().replace(__version__, "VERSION")
    parts = re.split(r"^(?=##? )", written, flags=re.MULTILINE)
    text = {part.partition("\n")[0]: part.splitlines()[1:] for part in parts if part}
    requests = text.pop("## Requests and versions", [])
    html = re.sub(
        r"<(script|style).*?</\1>",
        "",
        page.html(document).replace(__version__, "VERSION"),
        flags=re.DOTALL,
    )
    html = re.sub(
        r"\d+\.\d{4,}", lambda number: f"{float(number[0]):.3f}", html
    )  # versions of numpy differ in the last digit
    return {
        "markdown": {title: [line for line in lines if line] for title, lines in text.items()},
        "requests": hashlib.sha256("\n".join(requests).encode()).hexdigest(),
        "pictures": {
            section.title: [one.alt for one in section.pictures]
            for section in document.sections
            if section.pictures
        },
        "HTML": hashlib.sha256(html.encode()).hexdigest(),
    }
