"""Rights of a visitor: every start, stop, removal and upload of a page passes here, with any
request of a browser.

Buttons of refused actions are disabled with the same sentence. That is a courtesy, the refusal is
here. Uploaded files are stored by content, under names of our own. The visitor's name of a file is
only shown.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit import config

from analysis import service
from analysis.core import host, serving
from analysis.core.errors import AccessError, BenchmarkError
from analysis.core.serving import Serving
from analysis.data import files, gallery
from analysis.data.files import QuestionFile
from analysis.jobs.queue.job import Job
from analysis.models.source.model_spec import ModelSpec
from analysis.results import packs
from analysis.results.packs import OpenedPack
from pages.components.shared import words
from pages.web import visitors
from pages.web.visitors import HOST, OPERATOR, Visitor

CHANGES = ("pause", "cancel", "resume", "move", "delete")
"""Actions on a job."""

_RESULTS = ("results", "packs", "adapters", "checkpoints", "exports")
_GIGABYTE = 1e9


def visitor() -> Visitor | None:
    """Return the visitor from the network; None for somebody at the machine itself if no mode is
    set.
    """
    return visitors.read(st.context.headers)


def owner() -> str | None:
    """Return the identity that jobs of this visitor belong to; None for somebody at the machine
    itself.
    """
    current = visitor()
    return None if current is None else current.subject


def rules() -> Serving:
    """Return the settings that apply to this visitor."""
    return serving.read(shared=visitor() is not None)


def is_operator() -> bool:
    """Return whether this visitor acts for everybody: an operator, the host of Show, or somebody at
    the machine itself.
    """
    current = visitor()
    return current is None or current.role in (OPERATOR, HOST)


def why_not_start() -> str | None:
    """Return the reason why nothing can be started, in one sentence; None if it can."""
    return visitors.why_not_start(visitor()) or (host.VIEWER if host.is_viewer() else None)


def check_start() -> None:
    """Refuse to compute or store anything if the dashboard is read-only.

    Raises:
        AccessError: when it is.
    """
    if (sentence := why_not_start()) is not None:
        raise AccessError(sentence)


def check_operator(action: str) -> None:
    """Refuse an action that concerns everybody.

    Args:
        action: with a verb, for example "delete exports".

    Raises:
        AccessError: when somebody else asks, or the dashboard is read-only.
    """
    check_start()
    check_host(action)


def check_host(action: str) -> None:
    """Refuse an action that only operators and the host of Show may take, and that stores nothing.

    Raises:
        AccessError: when somebody else asks.
    """
    if not is_operator():
        raise AccessError(f"Only an operator or the host of this dashboard may {action}.")


def check_file(value: str) -> None:
    """Refuse the name of a file that this visitor may not name.

    Raises:
        AccessError: when it is outside of the folders and files of the operator's list.
    """
    if gallery.exhibit(value) is None:  # whose name is one of our own
        rules().check_file(value)


def check_shown(model: ModelSpec) -> None:
    """Refuse the name of a model whose results this visitor may not see.

    A file that they may not name passes if results of it are stored or in an opened pack: everybody
    sees these.

    Raises:
        AccessError: as `check_file`.
    """
    try:
        check_file(model.source)
    except AccessError:
        if not any(model.source in stored.sources for stored in service.models()):
            raise


def terms() -> dict[str, Any]:
    """Return owner, limits and settings of this visitor's jobs, as `service.submit` takes them.

    Raises:
        AccessError: when nothing may be started; the sentence says why.
    """
    check_start()
    settings = rules()
    current = visitor()
    _check_room(settings)
    limit_s = None
    if settings.job_hours is not None and (current is None or current.role != OPERATOR):
        limit_s = settings.job_hours * 3600
    return {
        "owner": current and current.subject,
        "owner_label": current and current.label,
        "is_operator": is_operator(),
        "limit_s": limit_s,
        "settings": settings,
    }


def _check_room(settings: Serving) -> None:
    """Refuse one more job if results take too much of the disk."""
    if settings.results_gb is not None:
        taken = service.disk_use(*_RESULTS) / _GIGABYTE
        if taken >= settings.results_gb:
            raise AccessError(
                f"Results, adapters and exports take {taken:.1f} GB of at most"
                f" {settings.results_gb:g} GB. Remove jobs with their results, or ask the operator"
                " of this dashboard."
            )


def check_upload(n_bytes: int) -> None:
    """Refuse an upload that would be one too many.

    Raises:
        AccessError: when it would be, or nothing can be done with it because the dashboard is
            read-only.
    """
    check_start()
    most = rules().uploads_gb
    taken = (service.disk_use(files.UPLOADS) + n_bytes) / _GIGABYTE
    if most is not None and taken > most:
        raise AccessError(
            f"With this file all uploads would take {taken:.2f} GB, and at most {most:g} GB are"
            " allowed. Ask the operator of this dashboard to remove old ones."
        )


def why_not_bring() -> str | None:
    """Return the reason why this visitor may open no result pack, in one sentence; None if they
    may.
    """
    return visitors.why_not_start(visitor())


def open_pack(name: str, content: bytes) -> OpenedPack:
    """Open a result pack that this visitor brought, beside the results of everybody.

    Args:
        name: the visitor's name of the file.
        content: its bytes.

    Raises:
        AccessError: when they may not, or results take too much of the disk.
        PackError, StorageError: as `packs.open_file`.
    """
    if (sentence := why_not_bring()) is not None:
        raise AccessError(sentence)
    _check_room(rules())
    with tempfile.NamedTemporaryFile(prefix="layerscope-pack-", suffix=".zip") as file:
        file.write(content)
        file.flush()
        return packs.open_file(Path(file.name), name)


def why_not_remove_pack() -> str | None:
    """Return the reason why this visitor may remove no result pack, in one sentence; None if they
    may.
    """
    return why_not_bring() or (
        None if is_operator() else "Only an operator may remove result packs."
    )


def remove_pack(id: str) -> OpenedPack:
    """Remove an opened result pack, for visitors with the right to do so.

    Raises:
        AccessError: when they may not.
        PackError, StorageError: as `packs.remove`.
    """
    if (sentence := why_not_remove_pack()) is not None:
        raise AccessError(sentence)
    return packs.remove(id)


def why_not_change(job: Job) -> str | None:
    """Return the reason why this visitor may not stop, move, resume or remove a job; None for its
    owner and an operator.
    """
    if (sentence := why_not_start()) is not None:
        return sentence
    if is_operator() or (job.owner is not None and job.owner == owner()):
        return None
    return f"Only {'' if job.owner is None else f'{owner_of(job)} or '}an operator may do that."


def owner_of(job: Job) -> str:
    """Return the name of the owner of a job, to show; jobs of versions before Team belong to nobody
    who can log in.
    """
    return job.owner_label or "an unknown owner"


def is_of_somebody_else(job: Job) -> bool:
    """Return whether a job belongs to another visitor, so that the page says so. Show tells no
    names.
    """
    return job.owner not in (None, owner()) and why_not_start() is None


def change(action: str, job_id: str, *arguments: Any, **options: Any) -> Any:
    """Stop, move, resume or remove a job, for visitors with the right to do so.

    Args:
        action: one of `CHANGES`, a function of `jobs`.
        job_id: the job.
        arguments, options: further arguments of the function.

    Raises:
        AccessError: when the job is somebody else's, the dashboard is read-only, or results take
            too much of the disk.
        JobError: as the function.
    """
    if action not in CHANGES:
        raise AccessError(
            f"{action[:40]!r} is not an action on a job. Use one of {', '.join(CHANGES)}."
        )
    if (sentence := why_not_change(service.jobs.get(job_id))) is not None:
        raise AccessError(sentence)
    if action == "resume":
        _check_room(rules())
    return getattr(service.jobs, action)(job_id, *arguments, **options)


def clear(*, saved: bool) -> int:
    """Forget the jobs that have ended: an operator all of them, anybody else their own; returns how
    many there were.

    Raises:
        AccessError: when the dashboard is read-only.
    """
    check_start()
    return service.jobs.clear(saved=saved, owner=None if is_operator() else owner())


def upload_field(
    kinds: words.Markdown,
    endings: Sequence[str],
    *,
    key: str,
    help: words.Markdown | None = None,
    why_closed: Callable[[], str | None] | None = None,
) -> Any:
    """Draw a field for a file, disabled with the reason if uploads are refused; returns the upload,
    if there is one.

    Args:
        kinds: the kinds of files, for people.
        endings: of their names, without dots.
        key: of the field.
        help: requirements on the file's content.
        why_closed: the reason why this visitor may not bring it (default: why nothing can be
            started).
    """
    closed = (why_closed or why_not_start)()
    upload = st.file_uploader(
        f"{kinds}, up to {config.get_option('server.maxUploadSize')} MB",
        type=list(endings),
        key=key,
        disabled=closed is not None,
        help=words.plain(closed) if closed else help,
    )
    return None if closed else upload


def keep_upload(name: str, content: bytes, suffix: str) -> str:
    """Store an upload under a name made from its content, never the client's; returns the path.

    Args:
        name: the visitor's name of the file.
        content: its bytes.
        suffix: one of our own choice, with its dot.

    Raises:
        AccessError: when this visitor may not bring it.
        StorageError: when it cannot be stored.
    """
    path = files.upload_path(content, suffix)
    if not path.exists():
        check_upload(len(content))
        files.keep_upload(path, content, name)
    return str(path)


def question_file(path: Path) -> QuestionFile:
    """Return the content of a question file, read by a process with bounds, once for all visitors
    and pages.

    Raises:
        BenchmarkError: when it cannot be read, or takes more than its bounds.
    """
    try:
        status = path.stat()
        written = (status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):  # a NUL in it
        written = (0, 0)
    content = _read_questions(str(path), written)
    if isinstance(content, BenchmarkError):
        raise content
    return content


@st.cache_resource(max_entries=4, show_spinner="Reading the questions")
def _read_questions(path: str, written: tuple[int, int]) -> QuestionFile | BenchmarkError:
    """Return the content or the error, until somebody writes the file anew: an unreadable one is
    not tried again and again.
    """
    try:
        return files.read_sandboxed(Path(path))
    except BenchmarkError as error:
        return error
