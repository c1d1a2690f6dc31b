"""Choice of texts or questions: built in, a part of a set, or a file of the visitor's own with its usable questions."""

from dataclasses import replace
from pathlib import Path

import streamlit as st

from analysis.core.errors import CorpusError
from analysis.data import questions as benchmarks
from analysis.data.files import QuestionFile
from analysis.data.spec import PROTOCOLS, QUESTION_FILES, BenchmarkSpec, CorpusSpec
from analysis.data.tasks import TASKS, Task
from pages.components.shared import chart, hub_rows, uploads, words

TEXTS = {"c4": "C4 (web text)", "wiki": "Wikipedia", "file": "My own file", "hub": "Dataset from the Hub"}
OWN, HUB = "file", "hub"
_ENDINGS = ("jsonl", "csv", "parquet", "tsv", "json", "ndjson")
_PREVIEWED = 4
_PROTOCOL_NAMES = {"harness": "lm-evaluation-harness", "paper": "the paper"}


def texts(key: str, start: CorpusSpec | None = None) -> str:
    """Draw the choice and return a corpus source: a name, or the path of a stored upload ("" while there is none).

    Args:
        key: first part of the widgets' keys.
        start: the texts that the choice starts from, a file of the visitor's own included.
    """
    names = dict(TEXTS)
    if start is not None and start.source not in names and Path(start.source).is_file():
        names[start.source] = f"{words.seen(words.texts(start))}, as on screen"
    choice = st.selectbox(
        "Texts",
        list(names),
        list(names).index(start.source) if start is not None and start.source in names else 0,
        format_func=names.get,
        key=f"{key}-texts",
        help="Texts to measure on. An own file is UTF-8: TXT with blank lines between documents, or JSONL with a field `text`.",
    )
    if choice == HUB:
        found = hub_rows.show("texts", key)
        return "" if found is None else keep_texts(*found)
    if choice != OWN:
        return choice
    upload = uploads.field("TXT or JSONL", ("txt", "jsonl"), key=f"{key}-file")
    return "" if upload is None else keep_texts(upload.name, upload.getvalue())


def keep_texts(name: str, content: bytes) -> str:
    """Store an upload under a name made from its content, never the client's; returns the path.

    Raises:
        CorpusError: when it is not UTF-8 text.
        StorageError: when it cannot be stored.
    """
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError("The uploaded file is not UTF-8 text. Save it as UTF-8 and upload it again.") from error
    return uploads.keep(name, content, ".jsonl" if name.lower().endswith(".jsonl") else ".txt")


def questions(key: str, start: BenchmarkSpec | None = None) -> tuple[BenchmarkSpec | None, int | None]:
    """Draw the choice; returns it with no limit yet (None while a file is missing), and how many questions there are.

    Args:
        key: first part of the widgets' keys.
        start: the questions that the choice starts from, a file of the visitor's own included.
    """
    names = {**words.task_names(), OWN: TEXTS[OWN], HUB: TEXTS[HUB]}
    options = [*TASKS, OWN, HUB]
    if start is not None and start.task not in options and Path(start.task).is_file():
        options.append(start.task)
        names[start.task] = f"{words.seen(words.questions(start))}, as on screen"
    first = options.index(start.task) if start is not None and start.task in options else 0
    chosen = st.selectbox("Questions from", options, first, format_func=names.get, key=f"{key}-task")
    if chosen == OWN:
        return _own(key)
    if chosen == HUB:
        found = hub_rows.show("questions", key)
        return (None, None) if found is None else _kept(*found, key)
    begun = start if start is not None and start.task == chosen else BenchmarkSpec(chosen)
    if chosen not in TASKS:
        spec = replace(begun, limit=None, identity="")
        return spec, _size(spec)
    task = TASKS[chosen]
    spec = BenchmarkSpec(
        task=chosen,
        limit=None,
        subset=_subset(task, key, begun),
        shots=_shots(task, key, begun),
        protocol=_protocol(task, key, begun),
    )
    return spec, _size(spec)


@st.cache_data(max_entries=64, show_spinner=False)
def _size(spec: BenchmarkSpec) -> int | None:
    return benchmarks.size(spec, uploads.questions)


def _subset(task: Task, key: str, begun: BenchmarkSpec) -> tuple[str, ...]:
    if not task.groups:
        return ()
    subjects = task.chosen_groups()
    chosen = st.multiselect(
        "Subjects", [*task.groups, *subjects], [name for name in begun.subset if name in {*task.groups, *subjects}],
        format_func=lambda name: name.replace("_", " ") + (" (all)" if name in task.groups else ""),
        placeholder=f"All {len(subjects)} subjects", key=f"{key}-subset",
        help="Subjects or whole categories (default: all).",
    )  # fmt: skip
    return tuple(sorted(chosen))


def _shots(task: Task, key: str, begun: BenchmarkSpec) -> int | None:
    if not task.max_shots:
        return None
    help_ = f"Solved questions of the same subject before each question (default: {task.default_shots})."
    usual = task.default_shots if begun.shots is None else begun.shots
    return int(st.number_input("Worked examples (shots)", 0, task.max_shots, usual, key=f"{key}-shots", help=help_))


def _protocol(task: Task, key: str, begun: BenchmarkSpec) -> str:
    if len(task.protocols) < 2:
        return PROTOCOLS[0]
    return st.segmented_control(
        "Prompt format", task.protocols, format_func=_PROTOCOL_NAMES.get, default=begun.protocol, required=True,
        key=f"{key}-protocol", help="Prompts of lm-evaluation-harness, or of the paper's own evaluation.",
    )  # fmt: skip


def _own(key: str) -> tuple[BenchmarkSpec | None, int | None]:
    upload = uploads.field(
        "JSONL, CSV or Parquet", _ENDINGS, key=f"{key}-questions",
        help="Each row has a question, two or more choices (a list, or columns A, B, C …) and an answer. "
        "The answer is a letter, a number or the text of the choice. MMLU's CSV format works with or without a header.",
    )  # fmt: skip
    if upload is None:
        return None, None
    return _kept(upload.name, upload.getvalue(), key)


def _kept(name: str, content: bytes, key: str) -> tuple[BenchmarkSpec | None, int | None]:
    """Store a question file and show the questions of it that can be used."""
    ending = Path(name).suffix.lower()
    path = uploads.keep(name, content, ending if ending in QUESTION_FILES else ".jsonl")
    file = uploads.questions(Path(path))
    _preview(file, key)
    return (BenchmarkSpec(task=path, limit=None), len(file.questions)) if file.questions else (None, None)


def _preview(file: QuestionFile, key: str) -> None:
    """The first questions as they will be asked, and every row that cannot be."""
    st.caption(
        f"{len(file.questions):,} of {file.n_rows:,} rows are valid questions. Answers are read as "
        f"{words.plain(file.answers_as)}. The first {min(_PREVIEWED, len(file.questions))} prompts:"
        if file.questions
        else f"None of {file.n_rows:,} rows is a valid question."
    )
    if file.questions:
        rows = [
            {
                "prompt": question.context,
                "options": " |".join(question.options).strip(),
                "right": question.options[question.gold].strip(),
            }
            for question in file.questions[:_PREVIEWED]
        ]
        widths = {"prompt": 250, "options": 120, "right": 70}
        columns = {name: st.column_config.TextColumn(width=width) for name, width in widths.items()}
        st.dataframe(
            rows, key=f"{key}-preview", hide_index=True, alt="First questions of the file", row_height=52,
            column_config=columns,
        )  # fmt: skip
    if file.errors:
        st.warning(f"{len(file.errors):,} of {file.n_rows:,} rows are invalid and will be left out:")
        errors = [{"row": error.row, "reason": error.reason} for error in file.errors]
        chart.table(errors, key=f"{key}-errors", alt="Invalid rows", file_name="rows-left-out")
