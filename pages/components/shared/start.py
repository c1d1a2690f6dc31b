"""From a click to a job in the queue, and answers that take seconds: no page waits for either.

The instant heal is the job that a single click asks for. A thread finds an answer, once for all pages.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import streamlit as st

from analysis import jobs
from analysis.core.blocks import ATTENTION
from analysis.core.errors import LayerscopeError, ModelNotFoundError
from analysis.core.record import Spec
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_spec import judged_by
from analysis.jobs import preflight
from analysis.models.source import remote
from analysis.models.source.model_spec import ModelSpec
from analysis.results.stored.result import FoundResult
from pages.components.shared import access, selection, words
from pages.components.shared.cuts import Cut

SpecT = TypeVar("SpecT", bound=Spec)

FRESH_S = 120.0
"""Free memory changes from minute to minute: an older answer is shown while a new one is read."""
OLD_S = 240.0
"""An answer that is older is not shown any more."""
FAILED_S = 10.0
"""For so long the answer stands that a model cannot be used: the visitor may have fixed the reason."""
_AT_ONCE = 2
"""Each look is a process that takes a model library's memory and seconds of a processor."""
_MOST = 32


def start(spec: Spec, label: str) -> jobs.Job | None:
    """Queue a request and make sure that a worker is there; an error is shown and gives None."""
    try:
        _check_here(spec)
        job = access.submit(spec, label, _place(), _shards(spec))
        jobs.start()
    except LayerscopeError as error:
        st.error(words.plain(str(error)))
        return None
    st.session_state.setdefault("watched", {})[job.id] = job.state
    return job


def _check_here(spec: Spec) -> None:
    """Refuse a request that would end at once on this machine: results of a model may be here without its weights.

    Raises:
        ModelNotFoundError: when a request needs such a model, other than one that fetches its weights.
    """
    if _place() != jobs.LOCAL or getattr(spec, "fetch", False):
        return
    for model in preflight.models_of(spec):
        if (sentence := remote.reason_unavailable(model.source, model.revision)) is not None:
            raise ModelNotFoundError(sentence)


def button(label: str, *, place: Any = st, in_form: bool = False, **options: Any) -> bool:
    """Draw a button that starts something, disabled with the reason where nothing may be started.

    Args:
        label: its text.
        place: the container to draw it in.
        in_form: whether it submits a form.
        options: as `st.button` takes them.

    Returns:
        Whether it was clicked.
    """
    if (sentence := access.why_not_start()) is not None:
        options |= {"disabled": True, "help": sentence}
    draw = place.form_submit_button if in_form else place.button
    return draw(label, **options)


def choose_place() -> None:
    """Where the next jobs shall run: asked only where there is more than one place that can run something now."""
    places = jobs.usable_backends()
    if len(places) > 1:
        chosen = st.selectbox(
            "Run on",
            list(places),
            key="place",
            format_func=lambda name: places[name].title,
            help=words.plain(" ".join(f"{place.title}: {place.help}" for place in places.values())),
        )
        if chosen != jobs.LOCAL:
            st.number_input(
                "Processes",
                min_value=1,
                max_value=jobs.MOST_WORKERS,
                key="shards",
                help="Number of processes that share a map, a sweep, an evaluation or a grid (default: 1). Each loads the "
                "model and processes a part of the batches. The results are the same as with one process. Other jobs, healing "
                "runs included, use one process.",
            )


def _place() -> str:
    """The chosen place; this machine where there was nothing to choose, or where the choice is gone."""
    chosen: str = st.session_state.get("place", jobs.LOCAL)
    return chosen if chosen in jobs.BACKENDS else jobs.LOCAL


def _shards(spec: Spec) -> int:
    """How many processes shall share a request where it is sent; one where a single process answers its kind."""
    asked = int(st.session_state.get("shards", 1))
    return asked if _place() != jobs.LOCAL and jobs.can_share(spec) else 1


def start_and_show(spec: Spec, label: str) -> None:
    """Queue a request and redraw the page, so that the job strip shows it."""
    start_all([(spec, label)])


def start_all(requests: Sequence[tuple[Spec, str]]) -> None:
    """Queue requests, each with its label, up to the first that fails, and redraw the page."""
    if all(start(spec, label) is not None for spec, label in requests):
        st.session_state["job-started"] = True
        st.rerun()


def unresolved(spec: SpecT) -> SpecT:
    """Return the request without the entries about files of the machine that answered it, to be sent again here."""
    changes = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name == "identity":
            changes["identity"] = ""
        elif isinstance(value, Spec):
            changes[field.name] = unresolved(value)
    return replace(spec, **changes) if changes else spec


def instant_heal_button(
    sweep: FoundResult | None, cut: Cut, model: ModelSpec, *, label: words.Markdown = "Heal instantly"
) -> None:
    """Draw the button; a click queues the heal, on the questions and the text of the curve on screen.

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
        spec = recipes.heal_spec("instant", model=selection.as_shown(model, sweep and sweep.result), block=block)
        if sweep is not None:
            asked = unresolved(sweep.result.spec)
            spec = replace(spec, benchmark=asked.benchmark, validation=judged_by(spec.corpus, asked.loss_corpus))
        start_and_show(spec, f"Instant healing of {block.describe()}")


@dataclass
class _Known:
    """The stored answer to one question."""

    answer: dict[str, Any] | Exception | None = None
    told_at: float = float("-inf")
    is_coming: bool = False

    def age(self, now: float) -> float:
        """Seconds since it was told."""
        return now - self.told_at

    def is_shown(self, now: float) -> bool:
        """Return whether it may still be shown."""
        return self.age(now) < (FAILED_S if isinstance(self.answer, Exception) else OLD_S)


class Looks:
    """Answers by question; a question without one, or without a fresh one, is being answered behind the pages."""

    def __init__(self, look: Callable[..., dict[str, Any]], now: Callable[[], float] = time.monotonic) -> None:
        """Begin without any answer.

        Args:
            look: finds the answer, in seconds.
            now: seconds on a clock that only goes forward.
        """
        self._look, self._now = look, now
        self._known: OrderedDict[tuple[Any, ...], _Known] = OrderedDict()
        self._lock, self._turn = threading.Lock(), threading.Semaphore(_AT_ONCE)

    def of(self, *asked: Any) -> dict[str, Any] | None:
        """Return the answer; None while the first one, or one after a long time, is on its way.

        Raises:
            Exception: the exception of the look.
        """
        with self._lock:
            known = self._known.setdefault(asked, _Known())
            self._known.move_to_end(asked)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
            now, answer = self._now(), known.answer
            if not known.is_coming and (known.age(now) >= FRESH_S or not known.is_shown(now)):
                known.is_coming = True
                threading.Thread(target=self._ask, args=(known, asked), name="look", daemon=True).start()
            if not known.is_shown(now):
                return None
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)
        return answer

    def _ask(self, known: _Known, asked: tuple[Any, ...]) -> None:
        with self._turn:
            answer: dict[str, Any] | Exception
            try:
                answer = self._look(*asked)
            except Exception as error:  # raised again for every caller
                answer = error
        with self._lock:
            known.answer, known.told_at, known.is_coming = answer, self._now(), False


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
