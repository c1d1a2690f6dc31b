"""The forms of an export, one at a time."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from analysis.cli import main
from analysis.core.blocks import PartSet
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.exports import card as model_card
from analysis.exports import folders as exports
from analysis.exports import formats, lm_eval_task, page, report, sheet, sheet_pdf
from analysis.exports.document import Document, Section
from analysis.exports.sheet import Sheet
from analysis.exports.spec import ExportSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results import verdict
from analysis.results.score.score import ACCURACY, Score
from analysis.results.verdict import DEFAULT, Tolerance
from pages.components.export import folders
from pages.components.export.pruned_model import Choice, evidence_of
from pages.components.shared import chart, selection, state, words

_LINES = 24
"""Maximum number of lines of a file that is shown without scrolling."""


def _mergekit(choice: Choice) -> None:
    """Draw the mergekit recipe of the same removal."""
    if isinstance(choice.cut, PartSet):
        st.info(
            "A mergekit recipe can remove whole layers only. Choose **Model folder**: there the"
            " removed sublayers are zeros."
        )
        return
    source, note = formats.mergekit_source(choice.model, choice.facts.part_of)
    stops = formats.mergekit_stops(choice.facts.family)
    if stops:
        st.warning(words.plain(stops))
        return
    text = formats.mergekit(source, choice.cut, choice.facts.n_layers, choice.model.dtype, note)
    st.caption(
        f"mergekit removes the same layers with this recipe.{folders.without_healing(choice)}"
    )
    _file(text, "mergekit.yaml", "application/yaml", "yaml")


def _lm_eval(choice: Choice) -> None:
    """Draw the questions of this pruned model as a task of lm-evaluation-harness, and the command
    that runs it.
    """
    measured = evidence_of(choice).quantity(ACCURACY).after
    benchmark = measured.condition.material if isinstance(measured, Score) else None
    if not isinstance(benchmark, BenchmarkSpec):
        st.info(
            "The accuracy of this pruned model has not been measured. "
            "Measure it on Explore: lm_eval can then ask the same questions."
        )
        return
    n = f"{benchmark.limit} questions, " if benchmark.limit else ""
    named = words.plain(f"{questions.title(benchmark)}, {n}seed {benchmark.seed}")
    st.caption(f"lm-evaluation-harness asks the same questions with this task: {named}.")

    chart.download(
        "Download the task as ZIP",
        lambda: folders.zipped(lm_eval_task.files(benchmark, questions.load(benchmark), Path())),
        f"{lm_eval_task.name(benchmark)}.zip",
        "application/zip",
        key="take-lm-eval",
        icon=":material/folder_zip:",
        type="primary",
    )
    st.caption("Save the model folder, unpack the task, and run this in the task's folder:")
    folder = exports.folder(folders.request(choice).name)
    line = lm_eval_task.command(benchmark, ".", str(folder), choice.model.dtype)
    st.code(line, language="bash", wrap_lines=True)


def _card(choice: Choice) -> None:
    """Draw the model card."""
    st.caption("Each model folder contains this card, with the result of its comparison added.")
    text = model_card.of(
        choice.model, evidence_of(choice), heal=choice.heal, adapter=choice.adapter
    )
    _file(text, "README.md", "text/markdown", "markdown")


def _file(text: str, name: words.Markdown, mime: str, language: str) -> None:
    chart.download(f"Download {name}", lambda: text, name, mime, key=f"take-{name}", type="primary")
    st.code(
        text,
        language=language,
        wrap_lines=True,
        height="content" if text.count("\n") < _LINES else 420,
    )


def _on_explore(model: ModelSpec) -> dict[str, str]:
    """Return the keys of the results on Explore, by kind; a report begins with them."""
    on_explore = selection.now(model)
    if on_explore is None:
        return {}
    on_screen = {
        "distances": on_explore.distances,
        "sweep": on_explore.sweep,
        "damage": on_explore.damage,
    }
    return {kind: entry.key for kind, entry in on_screen.items() if entry}


_RECOMMENDATIONS = {
    verdict.GO: (st.success, ":material/check_circle:"),
    verdict.MORE: (st.warning, ":material/help:"),
    verdict.STOP: (st.error, ":material/block:"),
}


def _decision_sheet(choice: Choice) -> None:
    """Draw the decision sheet of the chosen export."""
    made = sheet.from_evidence(evidence_of(choice), main.command_line, tolerance=_tolerance())
    box, icon = _RECOMMENDATIONS[made.decision.recommendation]
    reasons = " ".join(words.plain(reason) for reason in made.decision.reasons)
    box(f"**{words.plain(made.recommendation)}.** {reasons}", icon=icon)
    st.caption(f"{words.plain(made.decision.rule)} Judged: {words.plain(made.judged)}.")
    _sheet_downloads(made)
    answer, method = made.sections
    _content(answer)
    with st.expander(method.title, icon=":material/article:"):
        _content(method)


def _content(page: Section) -> None:
    """Draw the lists and commands of a page of the sheet."""
    for title, items in page.lists:
        st.markdown(
            "\n".join(
                [f"**{words.plain(title)}**", "", *(f"- {words.plain(item)}" for item in items)]
            )
        )
    if page.commands:
        st.code("\n".join(page.commands), language="bash", wrap_lines=True)


def _tolerance() -> Tolerance:
    with st.container(horizontal=True, gap="small"):
        points = st.number_input(
            "Accepted drop, points",
            0.0,
            100.0,
            DEFAULT.points,
            0.5,
            format="%.1f",
            key="sheet-points",
            width=190,
            persist_state="session",
            help=f"Accuracy drop that you accept, percentage points (default: {DEFAULT.points:g}).",
        )
        nats = st.number_input(
            "Accepted loss rise, nats",
            0.0,
            20.0,
            DEFAULT.nats,
            0.05,
            format="%.2f",
            key="sheet-nats",
            width=190,
            persist_state="session",
            help=f"Loss rise that you accept, nats/token (default: {DEFAULT.nats:g}).",
        )
    return Tolerance(points, nats)


def _sheet_downloads(made: Sheet) -> None:
    with st.container(horizontal=True, gap="small"):
        chart.download(
            "HTML page",
            lambda: sheet.html(made).encode(),
            "decision-sheet.html",
            "text/html",
            key="sheet-html",
            type="primary",
        )
        chart.download(
            "PDF",
            lambda: sheet_pdf.pdf(made),
            "decision-sheet.pdf",
            "application/pdf",
            key="sheet-pdf",
        )
        chart.download(
            "Markdown",
            lambda: sheet.markdown(made).encode(),
            "decision-sheet.md",
            "text/markdown",
            key="sheet-markdown",
        )


def _report_of_all(choice: Choice) -> None:
    """Draw the downloads of everything that is measured, which are written on a click."""
    st.caption(
        "All results of this model: maps, accuracy curves, healing runs, all numbers in tables, all"
        " settings and versions. The HTML page is one file with interactive charts. It needs no"
        " network."
    )
    first = _on_explore(choice.model)
    evidence = evidence_of(choice)
    st.caption(
        f"The first two pages are the decision sheet on the {evidence.name}, with this tolerance."
    )
    tolerance = _tolerance()

    def document() -> Document:
        return report.of(
            choice.model,
            choice.cut,
            main.command_line,
            first,
            evidence=evidence,
            tolerance=tolerance,
        )

    with st.container(horizontal=True, gap="small"):
        chart.download(
            "HTML page",
            lambda: page.html(document()).encode(),
            "layerscope-report.html",
            "text/html",
            key="take-html",
            type="primary",
        )
        chart.download(
            "Markdown summary",
            lambda: document().markdown().encode(),
            "layerscope-report.md",
            "text/markdown",
            key="take-markdown",
        )


SHEET = "Decision sheet"
FOLDER = "Model folder"
ADAPTER = "Adapter"
FILE = "llama.cpp"
_WAYS: dict[str, Callable[[Choice], ExportSpec | None]] = {
    SHEET: _decision_sheet,
    FOLDER: folders.model_folder,
    FILE: folders.llama_cpp,
    ADAPTER: folders.adapter,
    "mergekit": _mergekit,
    "lm_eval": _lm_eval,
    "Report": _report_of_all,
    "Model card": _card,
}


def show(choice: Choice) -> ExportSpec:
    """Draw the choice of the form and its panel; returns the request of its files, else of a model
    folder.
    """
    ways = [way for way in _WAYS if way != ADAPTER or choice.adapter]
    key = f"export-way-{choice.adapter is not None}"
    usual = FILE if choice.model.is_gguf else FOLDER
    if usual == FILE:
        ways = [FILE, *(way for way in ways if way != FILE)]
    chosen = state.option_of("way", ways, usual)
    way = st.segmented_control(
        "Export as",
        ways,
        default=chosen,
        required=True,
        key=key,
        on_change=_remember,
        args=(key, usual),
    )
    return _WAYS[way](choice) or folders.request(choice)


def _remember(key: str, usual: str) -> None:
    """Put the form into the address, so that a link shows the same."""
    way = st.session_state[key]
    state.choose_option("way", "" if way == usual else way)
