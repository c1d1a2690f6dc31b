"""Start of jobs from a click, and slow answers computed in the background.

The instant heal is the job that a single click asks for. A thread finds an answer, once for all
pages.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import streamlit as st

from analysis import service
from analysis.core.blocks import ATTENTION
from analysis.core.errors import LayerscopeError
from analysis.core.record import Spec
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_spec import judged_by
from analysis.jobs.queue.job import LOCAL, Job
from analysis.models.source import remote
from analysis.models.source.model_spec import ModelSpec
from analysis.results.stored.result import FoundResult
from pages.components.shared import access, selection, state, words
from pages.components.shared.cuts import Cut

MAX_AGE_S = 240.0
"""Age in seconds at which an answer is refreshed: free memory changes from minute to minute."""
RETRY_AFTER_S = 30.0
"""Seconds until a failed question is retried: the visitor may have fixed the reason."""
_MAX_THREADS = 2
"""Each thread may run a process that takes a model library's memory and seconds of CPU time."""
_MAX_ANSWERS = 32


def start(spec: Spec, label: str) -> Job | None:
    """Queue a request; an error is shown and gives None."""
    try:
        place = st.session_state.get("place", LOCAL)
        workers = (
            int(st.session_state.get("shards", 1))
            if place != LOCAL and service.can_share(spec)
            else 1
        )
        job = service.submit(spec, label, place, workers=workers, **access.terms())
    except LayerscopeError as error:
        st.error(words.message(str(error)))
        return None
    st.session_state.setdefault("watched", {})[job.id] = job.state
    return job


def button(
    label: str,
    *,
    place: Any = st,
    in_form: bool = False,
    needs_weights: bool = True,
    **options: Any,
) -> bool:
    """Draw a button that starts something, disabled with the reason if nothing may be started or
    the weights are not here.

    Args:
        label: its text.
        place: the container to draw it in.
        in_form: whether it submits a form.
        needs_weights: whether it runs the model of the page.
        options: as `st.button` takes them.

    Returns:
        Whether it was clicked.
    """
    if (reason := why_not_start() if needs_weights else access.why_not_start()) is not None:
        options |= {"disabled": True, "help": reason}
    draw = place.form_submit_button if in_form else place.button
    return draw(label, **options)


def why_not_start() -> words.Markdown | None:
    """Return the reason why a run of the page's model cannot be started: a viewer, or missing
    weights; None if it can.
    """
    if (reason := access.why_not_start()) is not None:
        return reason
    model = state.current_model()
    is_local = st.session_state.get("place", LOCAL) == LOCAL
    reason = remote.reason_unavailable(model.source, model.revision) if is_local else None
    return None if reason is None else words.message(reason)


def choose_place() -> None:
    """Draw the choice of the place for the next jobs, if there is more than one."""
    places = service.jobs.usable_backends()
    if len(places) > 1:
        chosen = st.selectbox(
            "Run on",
            list(places),
            key="place",
            format_func=lambda name: places[name].title,
            help=words.plain(" ".join(f"{place.title}: {place.help}" for place in places.values())),
        )
        if chosen != LOCAL:
            st.number_input(
                "Processes",
                min_value=1,
                key="shards",
                help=(
                    "Number of processes that share a map, a sweep, an evaluation or a grid"
                    " (default: 1). Each loads the model and processes a part of the batches. The"
                    " results are the same as with one process. Other jobs, healing runs included,"
                    " use one process."
                ),
            )


def start_and_show(spec: Spec, label: str) -> None:
    """Queue a request and redraw the page, so that the job strip shows it."""
    start_all([(spec, label)])


def start_all(requests: Sequence[tuple[Spec, str]]) -> None:
    """Queue requests, each with its label, up to the first that fails, and redraw the page."""
    if all(start(spec, label) is not None for spec, label in requests):
        st.session_state["job-started"] = True
        st.rerun()


def instant_heal_button(
    sweep: FoundResult | None,
    cut: Cut,
    model: ModelSpec,
    *,
    label: words.Markdown = "Heal instantly",
) -> None:
    """Draw the button; a click queues the heal, on the questions and the text of the curve on
    screen.

    Args:
        sweep: the curve, if there is one.
        cut: the current cut.
        model: the model of the page.
        label: its text.
    """
    block = cut.removed
    if block is None:
        return
    is_first = (0, ATTENTION) in block.parts
    why = (
        "Instant healing changes the layer before the block, and layer 0 has none."
        if is_first
        else words.plain(recipes.get("instant").why)
    )
    if button(label, key="instant", icon=":material/bolt:", disabled=is_first, help=why):
        spec = recipes.heal_spec(
            "instant", model=selection.as_shown(model, sweep and sweep.result), block=block
        )
        if sweep is not None:
            request = sweep.result.spec.request
            spec = replace(
                spec,
                benchmark=request.benchmark,
                validation=judged_by(spec.corpus, request.loss_corpus),
            )
        start_and_show(spec, f"Instant healing of {block.brief()}")


class Looks:
    """Answers by question, found by threads and shared by all pages, so that no page waits for
    one.
    """

    def __init__(self, look: Callable[..., Any], now: Callable[[], float] = time.monotonic) -> None:
        """Begin without any answer.

        Args:
            look: finds the answer, in seconds.
            now: a monotonic clock.
        """
        self._look = look
        self._now = now
        self._answers: dict[tuple[Any, ...], tuple[Future[Any], float]] = {}
        self._threads = ThreadPoolExecutor(_MAX_THREADS, "look")

    def of(self, *question: Any) -> Any:
        """Return the answer; None while it is on its way.

        Raises:
            Exception: the exception of the look.
        """
        future, asked_at = self._answers.get(question, (None, 0.0))
        if future is not None and future.done():
            age = self._now() - asked_at
            if age < (RETRY_AFTER_S if future.exception() else MAX_AGE_S):
                return future.result()
            future = None
        if future is None:
            while len(self._answers) >= _MAX_ANSWERS:
                self._answers.pop(next(iter(self._answers)))
            self._answers[question] = self._threads.submit(self._look, *question), self._now()
        return None


def await_answer(ask: Callable[[], Any], draw: Callable[[], Any]) -> None:
    """Draw a note until a look has an answer or an error, then run the page again to show it.

    Args:
        ask: `Looks.of` with its question.
        draw: draws the note.
    """
    st.fragment(_awaited, run_every="1s")(ask, draw)


def _awaited(ask: Callable[[], Any], draw: Callable[[], Any]) -> None:
    try:
        is_there = ask() is not None
    except Exception:  # the page shows the error
        is_there = True
    if is_there:
        st.rerun()
    draw()
