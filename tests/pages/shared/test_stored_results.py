"""Every page shows the strongest evidence for the last request, and opens few of many stored
results.
"""

from dataclasses import replace

import pytest

from analysis import jobs
from analysis.jobs.queue import table as job_table
from analysis.results.stored import result as stored_result
from pages.components.shared import stored_results
from tests.support import fakes
from tests.support.levels import few
from tests.support.seen import charts, read, trace


def held(result, **changes):
    return replace(result, spec=replace(result.spec, model=replace(result.spec.model, **changes)))


def another(result, task="arc_challenge"):
    """Return the result with another question set."""
    return replace(
        result, spec=replace(result.spec, benchmark=replace(result.spec.benchmark, task=task))
    )


STRONG, TRY = fakes.sweep(limit=200, answers=True), fakes.sweep(limit=5, answers=True)


@pytest.fixture(params=few(["own", "precomputed"], "precomputed"))
def cache(request, ui_cache, precomputed):
    """A result on 200 questions, and a newer one on five."""
    keep = precomputed if request.param == "precomputed" else lambda result: result.save()
    fakes.distances().save()
    keep(STRONG)
    TRY.save()
    return ui_cache


def questions_of(at) -> str:
    """Return the questions behind the band of the curve: its width is that of the interval of so
    many questions.
    """
    widths = {n: fakes.sweep(limit=n).points[0].interval for n in (5, 200)}
    band = trace(charts(at)["accuracy"], "interval")["y"]
    return next(
        n for n, (low, high) in widths.items() if band[0] - band[-1] == pytest.approx(high - low)
    )


def test_explore_shows_the_200_questions(app, cache):
    at = app()
    assert questions_of(at) == 200
    assert (
        at.selectbox(key=f"pick-sweep-{STRONG.spec.fingerprint()}")
        .options[0]
        .startswith("ARC-Easy × 200")
    )


def test_more_questions_beat_fewer_and_float32_beats_them_all(app, ui_cache):
    fakes.distances().save()
    held(fakes.sweep(limit=5), dtype="float32").save()
    fakes.sweep(limit=200).save()
    assert questions_of(app()) == 5
    assert questions_of(app(dtype="bfloat16")) == 200, "who asks for a precision sees it"


# A job that ends


def ended(app, job, result, *, page="pages/explore.py"):
    """Return a page on which a job ends whose result was stored before, and the page's message."""
    made = job(result.spec, jobs.RUNNING, "The try", result_key=result.spec.fingerprint())
    at = app(page)
    result.save()
    job_table.finish(made, jobs.DONE)
    said = [read(toast.value) for _ in range(3) for toast in at.run().toast]
    assert not at.exception
    return at, said


def test_a_weaker_result_that_comes_in_stands_in_the_list(app, job):
    fakes.distances().save()
    STRONG.save()
    at, said = ended(app, job, TRY)
    assert said == ["The try: done."]
    assert questions_of(at) == 200
    menu = at.selectbox(key=f"pick-sweep-{STRONG.spec.fingerprint()}")
    assert [name.partition(" · ")[0] for name in menu.options] == ["ARC-Easy × 200", "ARC-Easy × 5"]


def test_another_question_set_is_another_question(app, job):
    fakes.distances().save()
    STRONG.save()
    other = another(TRY)
    at, said = ended(app, job, other)
    assert said == ["The try: done."]
    assert at.selectbox(key=f"pick-sweep-{other.spec.fingerprint()}")
    another(STRONG).save()
    assert at.run().selectbox(key=f"pick-sweep-{another(STRONG).spec.fingerprint()}"), (
        "the best of that set, once there is one"
    )


# More results than a page lists


@pytest.fixture
def few(monkeypatch):
    """Let pages list two results of a kind, and return the results that are opened."""
    opened = []
    monkeypatch.setattr(stored_results, "MOST", 2)
    monkeypatch.setattr(
        stored_result,
        "_read",
        lambda *args, own=stored_result._read: opened.append(args[:2]) or own(*args),
    )
    return opened


def test_lists_are_bounded(app, few):
    for number in range(4):
        fakes.distances().save()
        fakes.sweep(limit=100 + number).save()
    at = app()
    (menu,) = [one for one in at.selectbox if one.key and one.key.startswith("pick-sweep")]
    assert len(menu.options) == 2
    assert not at.exception
