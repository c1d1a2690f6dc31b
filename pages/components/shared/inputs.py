"""Fields of forms for texts and questions: known ones, a file of the visitor's own with its usable
questions, or a dataset.

Rows of a dataset from the Hub become a file of the visitor too, after the choice of a file and its
columns.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st
from huggingface_hub import constants

from analysis.core import units
from analysis.core.errors import CorpusError, LayerscopeError
from analysis.data import hub_rows
from analysis.data import questions as benchmarks
from analysis.data.files import QuestionFile
from analysis.data.spec import PROTOCOLS, QUESTION_FILES, BenchmarkSpec, CorpusSpec
from analysis.data.tasks import TASKS, Task
from pages.components.shared import access, chart, words
from pages.components.shared.start import Looks, await_answer

_ROWS_SHOWN = 4
_LONGEST = 300
_SEVERAL = hub_rows.CHOICES
_TITLES = {"text": "Text", "question": "Question", "choices": "Choices", "answer": "Answer"}


def _listed(id: str, revision: str, endpoint: str) -> dict[str, Any]:
    return {"set": hub_rows.look(id, revision or None)}


def _read(id: str, commit: str, path: str, most: int, endpoint: str) -> dict[str, Any]:
    return {"rows": hub_rows.first_rows(hub_rows.look(id, commit), path, most)}


_sets = Looks(_listed)
_rows = Looks(_read)


def rows_from_hub(kind: str, key: str) -> tuple[str, bytes] | None:
    """Draw the choice.

    Args:
        kind: "texts" or "questions".
        key: part of the widgets' keys.

    Returns:
        A name for people and the rows as JSONL; None while something has yet to be chosen, or to
        come.
    """
    try:
        return _chosen(kind, key)
    except LayerscopeError as error:
        st.error(words.message(str(error)))
        return None


def _chosen(kind: str, key: str) -> tuple[str, bytes] | None:
    closed = access.why_not_start()
    left, right = st.columns([2, 1])
    id = left.text_input(
        "Dataset",
        placeholder="for example allenai/ai2_arc",
        key=f"{key}-hub-set",
        disabled=closed is not None,
        help=(
            words.plain(closed)
            if closed
            else "Dataset id on the Hub. Formats: Parquet, JSON, CSV and text."
        ),
    ).strip()
    revision = right.text_input(
        "Revision", placeholder="default branch", key=f"{key}-hub-revision"
    ).strip()
    if not id or closed:
        return None
    listed = _answer(_sets, "Searching the Hub…", id, revision, constants.ENDPOINT)
    if listed is None:
        return None
    dataset: hub_rows.HubDataset = listed["set"]
    sizes = {file.path: units.size(file.size) for file in dataset.files}
    path = st.selectbox(
        "File",
        list(sizes),
        None,
        format_func=lambda name: f"{words.seen(name)} · {sizes[name]}",
        key=f"{key}-hub-file",
        placeholder="Choose a file to download its first rows",
    )
    n_rows = int(
        st.number_input(
            "Rows to read", 1, hub_rows.MOST_ROWS, hub_rows.USUAL_ROWS, key=f"{key}-hub-rows"
        )
    )
    if path is None:
        st.caption(
            f"Commit {words.plain(dataset.repository.commit[:12])}. The download starts when you"
            " choose a file."
        )
        return None
    commit = dataset.repository.commit
    read = _answer(
        _rows,
        words.plain(f"Downloading the first rows of {path}, {sizes[path]}…"),
        id,
        commit,
        path,
        n_rows,
        constants.ENDPOINT,
    )
    return (
        None
        if read is None
        else _mapped(kind, key, f"{id.rsplit('/')[-1]} {path.rsplit('/')[-1]}", read["rows"])
    )


def _answer(looks: Looks, coming: words.Markdown, *question: Any) -> dict[str, Any] | None:
    """Return the answer; None while it is on its way, with a note on the page, which runs again
    when it arrives.
    """
    answer = looks.of(*question)
    if answer is None:
        await_answer(lambda: looks.of(*question), lambda: st.caption(coming))
    return answer


def _mapped(kind: str, key: str, name: str, read: list[dict[str, Any]]) -> tuple[str, bytes] | None:
    """Draw the choice of a column for each role, and the first rows as they are."""
    columns = hub_rows.names(read)
    chosen: dict[str, list[str]] = {}
    for slot, role in zip(st.columns(len(hub_rows.ROLES[kind])), hub_rows.ROLES[kind], strict=True):
        guess = hub_rows.guess(columns, role)
        field = f"{key}-hub-{role}"
        if role == _SEVERAL:
            chosen[role] = slot.multiselect(
                _TITLES[role],
                columns,
                [guess] if guess else [],
                key=field,
                format_func=words.seen,
                help="One column with a list, or one column per choice.",
            )
        else:
            column = slot.selectbox(
                _TITLES[role],
                columns,
                columns.index(guess) if guess else None,
                key=field,
                format_func=words.seen,
            )
            chosen[role] = [] if column is None else [column]
    preview = [
        {words.seen(str(name), 60): words.seen(str(row.get(name)), _LONGEST) for name in columns}
        for row in read
    ]
    st.caption(f"{len(read):,} rows. The first {min(_ROWS_SHOWN, len(read))}:")
    st.dataframe(
        preview[:_ROWS_SHOWN],
        key=f"{key}-hub-preview",
        hide_index=True,
        alt="First rows of the dataset",
    )
    if missing := [_TITLES[role].lower() for role in hub_rows.ROLES[kind] if not chosen[role]]:
        st.caption(f"Choose the column of the {' and of the '.join(missing)}.")
        return None
    return f"{name}.jsonl", hub_rows.as_jsonl(read, kind, chosen)


TEXTS = {
    "c4": "C4 (web text)",
    "wiki": "Wikipedia",
    "file": "My own file",
    "hub": "Dataset from the Hub",
}
OWN = "file"
HUB = "hub"
_ENDINGS = ("jsonl", "csv", "parquet", "tsv", "json", "ndjson")
_QUESTIONS_SHOWN = 4
_PROTOCOL_NAMES = {"harness": "lm-evaluation-harness", "paper": "the paper"}


def texts(key: str, start: CorpusSpec | None = None) -> str:
    """Draw the choice and return a corpus source: a name, or the path of a stored upload ("" while
    there is none).

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
        format_func=names.__getitem__,
        key=f"{key}-texts",
        help=(
            "Texts to measure on. An own file is UTF-8: TXT with blank lines between documents, or"
            " JSONL with a field `text`."
        ),
    )
    if choice == HUB:
        found = rows_from_hub("texts", key)
        return "" if found is None else keep_texts(*found)
    if choice != OWN:
        return choice
    upload = access.upload_field("TXT or JSONL", ("txt", "jsonl"), key=f"{key}-file")
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
        raise CorpusError(
            "The uploaded file is not UTF-8 text. Save it as UTF-8 and upload it again."
        ) from error
    return access.keep_upload(
        name, content, ".jsonl" if name.lower().endswith(".jsonl") else ".txt"
    )


def questions(
    key: str, start: BenchmarkSpec | None = None
) -> tuple[BenchmarkSpec | None, int | None]:
    """Draw the choice; returns it with no limit yet (None while a file is missing), and how many
    questions there are.

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
    chosen = st.selectbox(
        "Questions from", options, first, format_func=names.__getitem__, key=f"{key}-task"
    )
    if chosen == OWN:
        return _own(key)
    if chosen == HUB:
        found = rows_from_hub("questions", key)
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
    return benchmarks.size(spec, access.question_file)


def _subset(task: Task, key: str, begun: BenchmarkSpec) -> tuple[str, ...]:
    if not task.groups:
        return ()
    subjects = task.chosen_groups()
    chosen = st.multiselect(
        "Subjects",
        [*task.groups, *subjects],
        [name for name in begun.subset if name in {*task.groups, *subjects}],
        format_func=lambda name: name.replace("_", " ") + (" (all)" if name in task.groups else ""),
        placeholder=f"All {len(subjects)} subjects",
        key=f"{key}-subset",
        help="Subjects or whole categories (default: all).",
    )
    return tuple(sorted(chosen))


def _shots(task: Task, key: str, begun: BenchmarkSpec) -> int | None:
    if not task.max_shots:
        return None
    help_ = (
        "Solved questions of the same subject before each question (default:"
        f" {task.default_shots})."
    )
    usual = task.default_shots if begun.shots is None else begun.shots
    return int(
        st.number_input(
            "Worked examples (shots)", 0, task.max_shots, usual, key=f"{key}-shots", help=help_
        )
    )


def _protocol(task: Task, key: str, begun: BenchmarkSpec) -> str:
    if len(task.protocols) < 2:
        return PROTOCOLS[0]
    return st.segmented_control(
        "Prompt format",
        task.protocols,
        format_func=_PROTOCOL_NAMES.__getitem__,
        default=begun.protocol,
        required=True,
        key=f"{key}-protocol",
        help="Prompts of lm-evaluation-harness, or of the paper's own evaluation.",
    )


def _own(key: str) -> tuple[BenchmarkSpec | None, int | None]:
    upload = access.upload_field(
        "JSONL, CSV or Parquet",
        _ENDINGS,
        key=f"{key}-questions",
        help=(
            "Each row has a question, two or more choices (a list, or columns A, B, C …) and an"
            " answer. The answer is a letter, a number or the text of the choice. MMLU's CSV format"
            " works with or without a header."
        ),
    )
    if upload is None:
        return None, None
    return _kept(upload.name, upload.getvalue(), key)


def _kept(name: str, content: bytes, key: str) -> tuple[BenchmarkSpec | None, int | None]:
    """Store a question file and show the questions of it that can be used."""
    ending = Path(name).suffix.lower()
    path = access.keep_upload(name, content, ending if ending in QUESTION_FILES else ".jsonl")
    file = access.question_file(Path(path))
    _preview(file, key)
    return (
        (BenchmarkSpec(task=path, limit=None), len(file.questions))
        if file.questions
        else (None, None)
    )


def _preview(file: QuestionFile, key: str) -> None:
    """Draw the first questions of a file and its invalid rows."""
    st.caption(
        f"{len(file.questions):,} of {file.n_rows:,} rows are valid questions. Answers are read as"
        f" {words.plain(file.answers_as)}. The first {min(_QUESTIONS_SHOWN, len(file.questions))}"
        " prompts:"
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
            for question in file.questions[:_QUESTIONS_SHOWN]
        ]
        widths = {"prompt": 250, "options": 120, "right": 70}
        columns = {name: st.column_config.TextColumn(width=width) for name, width in widths.items()}
        st.dataframe(
            rows,
            key=f"{key}-preview",
            hide_index=True,
            alt="First questions of the file",
            row_height=52,
            column_config=columns,
        )
    if file.errors:
        st.warning(
            f"{len(file.errors):,} of {file.n_rows:,} rows are invalid and will be left out:"
        )
        errors = [{"row": error.row, "reason": error.reason} for error in file.errors]
        chart.table(errors, key=f"{key}-errors", alt="Invalid rows", file_name="rows-left-out")
