"""Choice of the results on screen: those in the address, those selected in a menu, else the
strongest.

Texts and questions have names in the address, so that the same link means the same elsewhere.
"""

import re
from dataclasses import replace

import streamlit as st

from analysis.core.errors import SpecError
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import SweepSpec, sparing
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.strategies import BLOCKS, DRAW, needs
from analysis.models.source.model_spec import ModelSpec
from analysis.results.stored.result import FoundResult
from pages.components.shared import cuts, start, state, stored_results, words

_MAX_SEARCHED = 300
"""Maximum number of results that are searched for the one that an address names."""
_OPTION = {"distances": "texts", "sweep": "benchmark"}
"""Field of the address for each kind of result."""
_TEXTS = re.compile(r"(c4|wiki):(\d{1,6})x(\d{1,6})(?::seed(\d{1,9}))?")
_QUESTIONS = re.compile(
    r"(\w+):(all|\d{1,6})(?::(\d)-shot)?(?::seed(\d{1,9}))?(?::(\w+(?:\+\w+)*))?(?:@(\w+))?"
)


def prefer(kind: str, entries: list[FoundResult], model: ModelSpec) -> None:
    """Show the result that the address requests, once, if it is stored; a later choice of the user
    is left alone.

    Args:
        kind: of the results.
        entries: the strongest results, of the strategy on screen for curves.
        model: the model of the page, whose further results are searched.
    """
    wanted = _wanted(kind)
    if not wanted:
        return
    match = next((entry for entry in entries if _name(kind, entry) == wanted), None)
    if match is None and len(entries) >= stored_results.MOST:
        strategy = (("strategy", state.strategy()),) if kind == "sweep" else ()
        numbers = " ".join(re.findall(r"\d+", wanted)[:1])
        further = stored_results.find(
            kind, model, having=strategy, text=numbers, most=_MAX_SEARCHED
        )
        match = next((entry for entry in further if _name(kind, entry) == wanted), None)
    if match is not None:
        state.show_result(kind, match.key)
        _settle(kind)


def write_request(kind: str, entry: FoundResult | None) -> None:
    """Keep the address true to the screen; while it requests a missing result, it keeps the
    request.
    """
    if not _wanted(kind):
        state.choose_option(_OPTION[kind], _name(kind, entry) if entry else "")


def offer(model: ModelSpec, distances: CorpusSpec | None) -> None:
    """Name the missing result, with a button that measures it and one that drops the request;
    starts nothing itself.

    Args:
        model: the model of the page.
        distances: texts of the map on screen, for a curve on it.
    """
    texts, benchmark = (_wanted(kind) for kind in _OPTION)
    if texts:
        corpus = read_texts(texts)
        what = (
            f"a map of {words.texts(corpus)} {corpus.n_texts} × {corpus.seq_len}"
            if corpus
            else "a map of other texts"
        )
        spec = DistanceSpec(model=model, corpus=corpus) if corpus else None
        _sentence("distances", what, spec, f"Distance map, {texts}", "Compute")
    if benchmark:
        questions = read_questions(benchmark)
        what = (
            f"a {state.strategy()} curve on {_questions(questions)}"
            if questions
            else "a curve on other questions"
        )
        _sentence(
            "sweep",
            what,
            _sweep(model, questions, distances),
            f"Curve, {benchmark}, {state.strategy()}",
            "Measure",
        )


def _sweep(
    model: ModelSpec, questions: BenchmarkSpec | None, distances: CorpusSpec | None
) -> SweepSpec | None:
    if questions is None or distances is None or needs(state.strategy(), BLOCKS):
        return None
    distance_spec = DistanceSpec(model=model, corpus=distances.request)
    spec = SweepSpec(
        model=model, benchmark=questions, distances=distance_spec, strategy=state.strategy()
    )
    return sparing(spec, state.protected())


def _sentence(
    kind: str, what: str, spec: DistanceSpec | SweepSpec | None, label: str, verb: words.Markdown
) -> None:
    how = "" if spec else " and cannot be measured from this page"
    sentence, do, drop = st.columns([9, 2, 1.4], vertical_alignment="center", gap="small")
    sentence.info(f"This link asks for {words.plain(what)}, which is not measured here{how}.")
    if spec is not None and start.button(verb, place=do, key=f"asked-{kind}-go", width="stretch"):
        start.start_and_show(spec, label)
    if drop.button("Dismiss", key=f"asked-{kind}-drop", type="tertiary"):
        _settle(kind)
        st.rerun()


def _questions(spec: BenchmarkSpec) -> str:
    return f"{spec.limit or 'all'} questions of {words.questions(spec)}"


def _name(kind: str, entry: FoundResult) -> str:
    spec = entry.result.spec
    return name_texts(spec.corpus) if kind == "distances" else name_questions(spec.benchmark)


def _wanted(kind: str) -> str:
    """Return the request of the address when the page was opened; "" once it has been shown or
    dismissed.
    """
    return _wishes().get(kind, "")


def _wishes() -> dict[str, str]:
    if "wishes" not in st.session_state:
        st.session_state["wishes"] = {kind: state.option(name) for kind, name in _OPTION.items()}
    return st.session_state["wishes"]


def _settle(kind: str) -> None:
    _wishes()[kind] = ""


def name_texts(spec: CorpusSpec) -> str:
    """ "c4:32x256": 32 texts of up to 256 tokens; a file of the visitor's own is "file" and means
    nothing elsewhere.
    """
    if spec.source not in ("c4", "wiki") or spec.split != "all":
        return "file"
    return f"{spec.source}:{spec.n_texts}x{spec.seq_len}" + (
        f":seed{spec.seed}" if spec.seed else ""
    )


def read_texts(text: str) -> CorpusSpec | None:
    """Return the texts that `name_texts` wrote; None if they cannot be read or are a file."""
    match = _TEXTS.fullmatch(text)
    if not match:
        return None
    source, n_texts, seq_len, seed = match.groups()
    try:
        return CorpusSpec(source, int(n_texts), int(seq_len), seed=int(seed or 0))
    except SpecError:
        return None


def name_questions(spec: BenchmarkSpec) -> str:
    """ "arc_easy:100", "mmlu:all:5-shot:stem+virology@paper"; a file of the visitor's own is
    "file".
    """
    if spec.is_file:
        return "file"
    name = f"{spec.task}:{spec.limit or 'all'}" + (
        f":{spec.shots}-shot" if spec.shots is not None else ""
    )
    name += (f":seed{spec.seed}" if spec.seed else "") + (
        f":{'+'.join(spec.subset)}" if spec.subset else ""
    )
    return name if spec.protocol == "harness" else f"{name}@{spec.protocol}"


def read_questions(text: str) -> BenchmarkSpec | None:
    """Return the questions that `name_questions` wrote; None if they cannot be read or are a
    file.
    """
    match = _QUESTIONS.fullmatch(text)
    if not match:
        return None
    task, limit, shots, seed, subset, protocol = match.groups()
    try:
        spec = BenchmarkSpec(
            task,
            None if limit == "all" else int(limit),
            int(shots) if shots else None,
            int(seed or 0),
        )
        return replace(
            spec, subset=tuple(subset.split("+")) if subset else (), protocol=protocol or "harness"
        )
    except SpecError:
        return None


def menu(
    maps: list[FoundResult],
    distances: FoundResult,
    sweeps: list[FoundResult],
    sweep: FoundResult | None,
) -> None:
    """Draw the menus that select the shown results and the strategy.

    Args:
        maps: at least one.
        distances: the one on screen.
        sweeps: curves of the current strategy.
        sweep: the one on screen, which names the dataset of all panels.
    """
    _menu_of("distances", "Distance map", maps, distances)
    _menu_of("sweep", "Dataset and curve", sweeps, sweep)
    cuts.strategy_menu("Blocks chosen by", "strategy")


def _menu_of(
    kind: str, label: words.Markdown, entries: list[FoundResult], current: FoundResult | None
) -> None:
    """Draw a menu of the strongest results of one kind."""
    if current is None:
        st.selectbox(label, [], placeholder="not measured yet", disabled=True, key=f"no_{kind}")
        return
    if current.key not in {entry.key for entry in entries}:
        entries = [current, *entries]
    state.pick_result(kind, label, {entry.key: describe(entry) for entry in entries}, current.key)


def describe(entry: FoundResult) -> str:
    """Return a result in one line: texts or questions, precision and date."""
    result = entry.result
    when = words.saved(entry)
    unfinished = "" if result.complete else " · unfinished"
    if result.kind == "distances":
        corpus = result.spec.corpus
        what = f"{words.texts(corpus)} {result.n_texts} × {corpus.seq_len}"
    else:
        what = f"{words.questions(result.spec.benchmark)} × {result.n_questions}"
        if result.spec.benchmark.shots:
            what += f", {result.spec.benchmark.shots}-shot"
        if needs(result.spec.strategy, DRAW):
            what += f", draw {result.spec.draw}"
        if needs(result.spec.strategy, BLOCKS):
            what += f", {len(result.spec.blocks)} blocks"
    return f"{what} · {result.precision_in_words} · {when}{unfinished}"
