"""Rows of a dataset from the Hub as a file of the visitor's own: choice of file and columns, and the first rows to see."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from analysis import hub
from analysis.core import units
from analysis.core.errors import LayerscopeError
from analysis.data import hub_rows
from pages.components.shared import access, words
from pages.components.shared.looks import Looks

_PREVIEWED = 4
_LONGEST = 300
_SEVERAL = hub_rows.CHOICES
_TITLES = {"text": "Text", "question": "Question", "choices": "Choices", "answer": "Answer"}


def _listed(id: str, revision: str, endpoint: str) -> dict[str, Any]:
    return {"set": hub_rows.look(id, revision or None)}


def _read(id: str, commit: str, path: str, most: int, endpoint: str) -> dict[str, Any]:
    return {"rows": hub_rows.first_rows(hub_rows.look(id, commit), path, most)}


_sets, _rows = Looks(_listed), Looks(_read)


def show(kind: str, key: str) -> tuple[str, bytes] | None:
    """Draw the choice.

    Args:
        kind: "texts" or "questions".
        key: part of the widgets' keys.

    Returns:
        A name for people and the rows as JSONL; None while something has yet to be chosen, or to come.
    """
    try:
        return _chosen(kind, key)
    except LayerscopeError as error:
        st.error(words.plain(str(error)))
        return None


def _chosen(kind: str, key: str) -> tuple[str, bytes] | None:
    closed = access.why_not_start()
    left, right = st.columns([2, 1])
    id = left.text_input(
        "Dataset", placeholder="for example allenai/ai2_arc", key=f"{key}-hub-set", disabled=closed is not None,
        help=words.plain(closed) if closed else "Dataset id on the Hub. Formats: Parquet, JSON, CSV and text.",
    ).strip()  # fmt: skip
    revision = right.text_input("Revision", placeholder="default branch", key=f"{key}-hub-revision").strip()
    if not id or closed:
        return None
    listed = _answer(_sets, "Searching the Hub…", id, revision, hub.endpoint())
    if listed is None:
        return None
    found: hub_rows.DataSet = listed["set"]
    sizes = {file.path: units.size(file.size) for file in found.files}
    path = st.selectbox(
        "File", list(sizes), None, format_func=lambda name: f"{words.seen(name)} · {sizes[name]}", key=f"{key}-hub-file",
        placeholder="Choose a file to download its first rows",
    )  # fmt: skip
    n_rows = int(st.number_input("Rows to read", 1, hub_rows.MOST_ROWS, hub_rows.USUAL_ROWS, key=f"{key}-hub-rows"))
    if path is None:
        st.caption(f"Commit {words.plain(found.repository.commit[:12])}. The download starts when you choose a file.")
        return None
    commit = found.repository.commit
    read = _answer(
        _rows, words.plain(f"Downloading the first rows of {path}, {sizes[path]}…"), id, commit, path, n_rows, hub.endpoint()
    )
    return None if read is None else _mapped(kind, key, f"{id.rsplit('/')[-1]} {path.rsplit('/')[-1]}", read["rows"])


def _answer(looks: Looks, coming: words.Markdown, *asked: Any) -> dict[str, Any] | None:
    """Return the answer; None while it is on its way, with a note on the page, which runs again when it arrives."""
    answer = looks.of(*asked)
    if answer is None:
        st.fragment(_coming, run_every="1s")(looks.of, coming, asked)
    return answer


def _coming(of: Callable[..., Any], coming: words.Markdown, asked: tuple[Any, ...]) -> None:
    try:
        is_there = of(*asked) is not None
    except Exception:  # the page shows the error
        is_there = True
    if is_there:
        st.rerun()
    st.caption(coming)


def _mapped(kind: str, key: str, name: str, read: list[dict[str, Any]]) -> tuple[str, bytes] | None:
    """Draw the choice of a column for each role, and the first rows as they are."""
    columns = hub_rows.names(read)
    chosen: dict[str, list[str]] = {}
    for place, role in zip(st.columns(len(hub_rows.ROLES[kind])), hub_rows.ROLES[kind], strict=True):
        guess = hub_rows.guess(columns, role)
        field = f"{key}-hub-{role}"
        if role == _SEVERAL:
            chosen[role] = place.multiselect(
                _TITLES[role], columns, [guess] if guess else [], key=field, format_func=words.seen,
                help="One column with a list, or one column per choice.",
            )  # fmt: skip
        else:
            one = place.selectbox(
                _TITLES[role], columns, columns.index(guess) if guess else None, key=field, format_func=words.seen
            )  # fmt: skip
            chosen[role] = [] if one is None else [one]
    shown = [{words.seen(str(name), 60): words.seen(str(row.get(name)), _LONGEST) for name in columns} for row in read]
    st.caption(f"{len(read):,} rows. The first {min(_PREVIEWED, len(read))}:")
    st.dataframe(shown[:_PREVIEWED], key=f"{key}-hub-preview", hide_index=True, alt="First rows of the dataset")
    if missing := [_TITLES[role].lower() for role in hub_rows.ROLES[kind] if not chosen[role]]:
        st.caption(f"Choose the column of the {' and of the '.join(missing)}.")
        return None
    return f"{name}.jsonl", hub_rows.kept(read, kind, chosen)
