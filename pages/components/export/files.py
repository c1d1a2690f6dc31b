"""The forms in which a cut is exported, one on screen at a time, each with its one main button."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import streamlit as st

from analysis.cli import main
from analysis.core import store
from analysis.core.blocks import PartSet
from analysis.data import questions
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.exports import card as model_card
from analysis.exports import folders as exports
from analysis.exports import formats, gguf_families, lm_eval_task, page, report
from analysis.results import library as results
from pages.components.export import folders
from pages.components.export.sheet_view import decision_sheet, on_explore
from pages.components.export.takeaway import Choice
from pages.components.shared import frame, selection, state, words

_ZIP_BYTES = 200_000_000
"""Adapters up to this size are offered as a download; larger ones are only on the disk."""
_LINES = 24
"""Files of fewer lines are shown in full; not every keyboard reaches text that scrolls."""


def mergekit(choice: Choice) -> None:
    """Draw the same cut as mergekit makes it."""
    if isinstance(choice.cut, PartSet):
        st.info(
            "A mergekit recipe can remove whole layers only. Choose **Model folder**: there the removed sublayers are zeros."
        )
        return
    source, note = formats.mergekit_source(choice.model, choice.facts.part_of)
    stops = formats.mergekit_stops(choice.facts.family)
    text = formats.mergekit(source, choice.cut, choice.facts.n_layers, choice.model.dtype, note, stops)
    st.caption(f"mergekit removes the same layers with this recipe.{_bare(choice)}")
    if stops:
        st.warning(words.plain(stops))
    _file(text, "mergekit.yaml", "application/yaml", "yaml")


def llama_cpp(choice: Choice) -> None:
    """Draw a GGUF file for llama.cpp or, of a family without one, a folder that it converts, and the commands that follow."""
    why_not = gguf_families.why_not(choice.facts.family, choice.cut)
    if why_not is None:
        st.caption(
            "One GGUF file with its tokenizer. Any healing is merged in. "
            "Layerscope loads the file and compares it with the pruned model."
        )
        spec = folders.show(choice, format="gguf")
        if spec is not None:
            st.caption("Then quantize it with llama.cpp:")
            name = exports.suggested_name(choice.facts.name, choice.cut, healed=choice.adapter is not None)
            path = exports.folder(spec.name) / gguf_families.file_name(name, spec.model.dtype)
            st.code(formats.quantized(str(path)), language="bash", wrap_lines=True)
    else:
        st.caption(f"{words.plain(why_not.partition('. ')[0].rstrip('.'))}. Save a folder, and llama.cpp converts it.")
        spec = folders.show(choice)
        if spec is not None:
            st.caption("Then run in the folder of llama.cpp:")
            st.code(formats.to_gguf(str(exports.folder(spec.name))), language="bash", wrap_lines=True)
    if isinstance(choice.cut, PartSet) or not gguf_families.can_be_pruned(
        choice.facts.family, choice.cut, choice.facts.n_layers
    ):
        return
    base = choice.facts.name if choice.model.source == "starter" else choice.model.source
    with st.expander("Prune your own GGUF file instead", icon=":material/terminal:"):
        st.caption(f"llama.cpp removes the same layers while it quantizes.{_bare(choice)}")
        st.code(formats.llama_cpp(base, choice.cut), language="bash", wrap_lines=True)


def lm_eval(choice: Choice) -> None:
    """Draw the questions that this cut was asked as a task of lm-evaluation-harness, and the command line that asks them."""
    scored = results.scored(choice.model, choice.cut, choice.heal, shown=_curve_on_screen())
    if scored is None or scored.benchmark is None:
        st.info(
            "The accuracy of this pruned model has not been measured. "
            "Measure it on Explore: lm_eval can then ask the same questions."
        )
        return
    asked = scored.benchmark
    named = words.plain(f"{questions.title(asked)}, seed {asked.seed}")
    st.caption(f"lm-evaluation-harness asks the same questions with this task: {named}.")

    st.download_button(
        "Download the task as ZIP",
        lambda: zipped_texts(lm_eval_task.files(asked, questions.load(asked), Path())),
        f"{lm_eval_task.name(asked)}.zip",
        "application/zip",
        key="take-lm-eval",
        on_click="ignore",
        icon=":material/folder_zip:",
        type="primary",
    )
    st.caption("Unpack the task and run this in its folder. It evaluates the saved model folder:")
    folder = exports.folder(folders.request(choice).name)
    line = lm_eval_task.command(asked, ".", str(folder), choice.model.dtype)
    st.code(line, language="bash", wrap_lines=True)


def zipped_texts(files: Mapping[str, str]) -> bytes:
    """Texts as files of a ZIP, by name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def recipe(choice: Choice) -> None:
    """Draw all that is needed to make it again."""
    st.caption("The removed layers, the healing settings and the commands, as JSON.")
    text = formats.recipe(choice.model, choice.cut, choice.facts.n_layers, choice.heal, commands(choice))
    _file(text, "recipe.json", "application/json", "json")


def card(choice: Choice) -> None:
    """Draw the model card."""
    st.caption("Each model folder contains this card, with the result of its comparison added.")
    shown = _curve_on_screen()
    text = model_card.of(choice.model, choice.facts, choice.cut, heal=choice.heal, adapter=choice.adapter, shown=shown)
    _file(text, "README.md", "text/markdown", "markdown")


def _curve_on_screen() -> SweepResult | None:
    """The curve that Explore shows, whose dataset is selected on all pages."""
    found = selection.curve(state.current_model())
    return found.result if found else None


def _bare(choice: Choice) -> str:
    return " It does not include the healing." if choice.heal else ""


def commands(choice: Choice) -> list[str]:
    """The command lines that make the choice: its heal, then its folder."""
    heal = [frame.command_line(choice.heal.spec)] if choice.heal else []
    return [*heal, frame.command_line(folders.request(choice))]


def _file(text: str, name: words.Markdown, mime: str, language: str) -> None:
    st.download_button(
        f"Download {name}",
        lambda: text,
        name,
        mime,
        key=f"take-{name}",
        on_click="ignore",
        icon=":material/download:",
        type="primary",
    )
    st.code(text, language=language, wrap_lines=True, height="content" if text.count("\n") < _LINES else 420)


def adapter(choice: Choice) -> None:
    """Draw the adapter of the heal, which is there."""
    folder = store.cache_dir() / str(choice.adapter)
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    st.caption("A standard PEFT folder. Remove the layers above from the base model before you load the adapter.")
    if size <= _ZIP_BYTES:
        st.download_button(
            f"Download as ZIP ({words.size(size)})",
            lambda: zipped(folder),
            f"{folder.name}.zip",
            "application/zip",
            key="take-adapter",
            on_click="ignore",
            icon=":material/folder_zip:",
            type="primary",
        )
    st.code(str(folder), language=None)


def zipped(folder: Path) -> bytes:
    """The files of a folder as a ZIP; weights hardly get smaller, so nothing is compressed."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            if file.is_file():
                archive.write(file, f"{folder.name}/{file.name}")
    return content.getvalue()


def report_of_all(choice: Choice) -> None:
    """Draw the downloads of everything that was measured; both are written when they are asked for."""
    st.caption(
        "All results of this model: maps, accuracy curves, healing runs, all numbers in tables, all settings and versions. "
        "The HTML page is one file with interactive charts. It needs no network."
    )
    first = on_explore(choice.model)

    def document():
        return report.of(choice.model, choice.cut, main.command_line, first)

    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "HTML page",
            lambda: page.html(document()).encode(),
            "layerscope-report.html",
            "text/html",
            key="take-html",
            on_click="ignore",
            icon=":material/download:",
            type="primary",
        )
        st.download_button(
            "Markdown summary",
            lambda: document().markdown().encode(),
            "layerscope-report.md",
            "text/markdown",
            key="take-markdown",
            on_click="ignore",
            icon=":material/download:",
        )


SHEET, FOLDER, ADAPTER = "Decision sheet", "Model folder", "Adapter"
_WAYS: dict[str, Callable[[Choice], None]] = {
    SHEET: decision_sheet,
    "llama.cpp": llama_cpp,
    ADAPTER: adapter,
    "mergekit": mergekit,
    "lm_eval": lm_eval,
    "Report": report_of_all,
    "Model card": card,
    "Recipe": recipe,
}


def show(choice: Choice) -> None:
    """Draw the choice of a format and the panel of the chosen one."""
    ways = [SHEET, FOLDER, *(way for way in _WAYS if way != SHEET and (way != ADAPTER or choice.adapter))]
    key = f"export-way-{choice.adapter is not None}"
    chosen = state.option_of("way", ways, FOLDER)
    way = st.segmented_control("Export as", ways, default=chosen, required=True, key=key, on_change=_remember, args=(key,))
    if way == FOLDER:
        _folder(choice)
    else:
        _WAYS[way](choice)


def _remember(key: str) -> None:
    """Keep the way in the address, so that a link shows the same."""
    way = st.session_state[key]
    state.choose_option("way", "" if way == FOLDER else way)


def _folder(choice: Choice) -> None:
    st.caption(
        "A standard Hugging Face folder. transformers loads it without custom code. Any adapter is merged in. "
        "Layerscope loads the folder and compares it with the pruned model."
    )
    folders.show(choice)
