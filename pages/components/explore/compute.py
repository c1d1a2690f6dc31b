"""Forms of the Explore page that start a distance map, a sweep or a loss-increase map."""

from dataclasses import replace

import streamlit as st

from analysis import service
from analysis.core import blocks, units
from analysis.core.blocks import Removal, removal
from analysis.core.errors import BlockRangeError
from analysis.data import corpora
from analysis.data.spec import CorpusSpec, GenerationSpec, default_loss_corpus
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec, sparing
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec
from analysis.experiments.search.search_spec import checked_size, search_for, takes
from analysis.experiments.strategies import BLOCKS, DRAW, SEARCHING, STRATEGIES, needs
from analysis.jobs.queue import job as jobs
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import durations
from analysis.results.stored.result import FoundResult
from pages.components.jobs import card
from pages.components.shared import frame, inputs, selection, start, state, stored_results, words

DRAWS = 3
"""Number of sweeps of a random strategy."""
_TEXTS = ("wiki", "c4")


def forms(distances: FoundResult, sweep: FoundResult | None) -> None:
    """Draw the forms of a new map, sweep and loss-increase map in collapsed expanders."""
    model = state.current_model()
    with st.expander("New map"):
        _map_form(model, distances.result, "map")
    with st.expander("Run a sweep"):
        st.fragment(_sweep_form)(
            model, distances.result, None if sweep is None else sweep.result, "sweep"
        )
    with st.expander("Measure loss increase"):
        _damage_form(model, distances.result, "damage")


def first_map() -> None:
    """Offer the first computation of a model without a map."""
    if _jobs_of_first_map():
        st.fragment(_pending_map, run_every="1s")()
        return
    model = state.current_model()
    st.info("This model has no distance map yet. Choose texts and click **Compute map**.")
    failed = _last_failure(model)
    if failed is not None:
        st.error(words.plain(f"{failed.label} failed: {failed.error}", most=600))
    with st.container(border=True, width=560):
        _map_form(model, None, "first-map")


def _last_failure(model: ModelSpec) -> jobs.Job | None:
    """Return the last job that was to measure a map or curve of a model, if it failed."""
    asked = (
        job
        for job in service.jobs.list_jobs()
        if job.kind in ("distances", "sweep")
        and job.asks(lambda spec: spec.model.source == model.source)
    )
    last = next(asked, None)
    return last if last is not None and last.state == jobs.FAILED else None


def _jobs_of_first_map() -> list[jobs.Job]:
    return [job for job in service.jobs.active() if job.kind in ("distances", "sweep")]


def _pending_map() -> None:
    """Draw the progress of the job that computes the first map."""
    with frame.errors_shown():
        st.info("The map is being computed. It appears here when it is done.")
        for job in _jobs_of_first_map()[:1]:
            card.active(job, where="first-map")


def _map_form(model: ModelSpec, distances: DistanceResult | None, name: str) -> None:
    """Draw the form; submitting it queues a job.

    Args:
        model: the model to measure.
        distances: the map on screen, whose texts and precision are the initial values; None if
            there is none.
        name: first part of the widgets' keys.
    """
    with frame.errors_shown():
        initial = CorpusSpec() if distances is None else distances.spec.corpus.request
        requested = selection.as_shown(model, distances)
        key = state.since(name, [initial.fingerprint(), requested.dtype])
        source = inputs.texts(key, initial)
        with st.form(f"{key}-form", border=False):
            left, middle, right, last = st.columns(4)
            n_texts = left.number_input(
                "Number of texts",
                1,
                100_000,
                initial.n_texts,
                key=f"{key}-n",
                help="Number of texts in the sample.",
            )
            seq_len = middle.number_input(
                "Tokens per text",
                16,
                131_072,
                initial.seq_len,
                step=16,
                key=f"{key}-len",
                help="Longer texts are truncated to this length.",
            )
            seed = right.number_input(
                "Seed", 0, 2**31, initial.seed, key=f"{key}-seed", help="Seed of the random sample."
            )
            requested = selection.dtype_field(requested, distances, key, place=last)
            if start.button("Compute map", in_form=True, type="primary", key=f"{key}-go"):
                if not source:
                    st.error("No text file is chosen. Choose a file above.")
                    return
                same = initial if source == initial.source else CorpusSpec(source)
                corpus = replace(same, n_texts=int(n_texts), seq_len=int(seq_len), seed=int(seed))
                label = f"Distance map, {words.texts(corpus)} {n_texts} × {seq_len}"
                start.start_and_show(DistanceSpec(model=requested, corpus=corpus), label)


def _sweep_form(
    model: ModelSpec, distances: DistanceResult, curve: SweepResult | None, name: str
) -> None:
    """Draw the form; submitting it queues a job for each strategy, all on the same questions.

    Args:
        model: the model to measure.
        distances: the map on screen, which strategies choose blocks from.
        curve: the curve on screen, whose questions, texts and precision are the initial values;
            None if there is none.
        name: first part of the widgets' keys.
    """
    with frame.errors_shown():
        initial = (
            SweepSpec(model, max_n=distances.n_layers // 2) if curve is None else curve.spec.request
        )
        requested = selection.as_shown(model, curve, distances)
        key = state.since(
            name, [initial.benchmark.fingerprint(), str(initial.max_n), requested.dtype]
        )
        benchmark, size = inputs.questions(key, initial.benchmark)
        left, right = st.columns([3, 1])
        chosen = left.multiselect(
            "Blocks chosen by",
            list(STRATEGIES),
            default=[state.strategy()],
            key=f"{key}-how",
            help=words.strategies_help(),
            placeholder="Choose at least one",
        )
        model = selection.dtype_field(requested, curve or distances, key, place=right)
        st.caption(_condition(model, distances, curve))
        _say_search(model, distances, [name for name in chosen if name in SEARCHING])
        needs_blocks = any(needs(name, BLOCKS) for name in chosen)
        cuts = _cuts(distances.n_layers, key) if needs_blocks else ()
        submitted = _numbers(initial, distances.n_layers, size, key)
        if submitted is None:
            return
        if benchmark is None:
            st.error("No file with usable questions is chosen. Choose a file above.")
        elif not chosen:
            st.error("No strategy is chosen. Choose at least one under **Blocks chosen by**.")
        elif needs_blocks and not cuts:
            st.error("No block is entered. Enter at least one, for example 11:5.")
        else:
            benchmark = replace(
                benchmark, limit=submitted.benchmark.limit, seed=submitted.benchmark.seed
            )
            template = replace(submitted, model=model, benchmark=benchmark)
            specs = [
                spec for strategy in chosen for spec in _specs(template, distances, strategy, cuts)
            ]
            for spec in specs:
                if spec.search is not None:  # checked before the first job is queued
                    checked_size(spec.search, distances.n_layers)
            state.choose_strategy(chosen[0])
            start.start_all([(spec, words.curve(spec)) for spec in specs])


def _condition(
    model: ModelSpec, distances: DistanceResult, curve: SweepResult | None
) -> words.Markdown:
    """Return the condition of the requested curves, with the texts of their loss and their map."""
    loss = default_loss_corpus() if curve is None else curve.spec.loss_corpus
    texts = (
        "" if loss is None else f" Loss: {loss.n_texts} texts of {words.plain(words.texts(loss))}."
    )
    corpus = distances.spec.corpus
    chosen_on = f" Distance map: {corpus.n_texts} texts of {words.plain(words.texts(corpus))}."
    return selection.precision_of_request(model, curve or distances) + texts + chosen_on


def _say_search(model: ModelSpec, distances: DistanceResult, searching: list[str]) -> None:
    """Draw the expected cost of the search of each strategy."""
    searches = [entry.result for entry in stored_results.find("search", model)] if searching else []
    protected = state.protected(distances.n_layers)
    max_n = min(distances.n_layers // 2, distances.n_layers - len(protected))
    for name in searching:
        spec = search_for(name, model, None, default_loss_corpus(), protected)
        duration = durations.expected(spec, {model.source: distances.model}, searches)
        estimate = (
            ""
            if duration is None
            else f" It takes about {units.span(duration.low_s, duration.high_s)} here."
        )
        st.caption(
            f"{words.plain(name)}, up to n = {max_n}:"
            f" {words.plain(takes(spec, distances.model).sentence)}{estimate}"
        )
    if searching and protected:
        st.caption(
            f"Searches never remove {removal(protected).brief()}: protected on the layer strip."
        )


def _cuts(n_layers: int, key: str) -> tuple[Removal, ...]:
    """Draw the text field for blocks and return them; on invalid input, draw an error and return
    none.
    """
    text = st.text_input(
        "Blocks",
        key=f"{key}-cuts",
        placeholder="11:5, 3:1+7:2, a12+m15",
        help=(
            "Blocks as START:SIZE, separated by commas. Join several parts with +. 11:5 removes"
            " layers 11-15."
        ),
    )
    try:
        cuts = tuple(blocks.parse_removal(part.strip()) for part in text.split(",") if part.strip())
        for cut in cuts:
            cut.check_depth(n_layers)
    except BlockRangeError as error:
        st.error(words.message(str(error)))
        return ()
    if len(set(cuts)) < len(cuts):
        st.error("One block is entered twice. Enter each block once.")
        return ()
    if cuts:
        st.caption("Removes " + " and ".join(cut.brief() for cut in cuts) + ".")
    return cuts


def _numbers(initial: SweepSpec, n_layers: int, size: int | None, key: str) -> SweepSpec | None:
    """Draw the numbers of the form. Return the request with them once it is submitted, else
    None.
    """
    benchmark = initial.benchmark
    reach = n_layers // 2 if initial.max_n is None else min(initial.max_n, n_layers - 1)
    with st.form(f"{key}-form", border=False):
        left, middle, right = st.columns(3, vertical_alignment="bottom")
        limit = left.number_input(
            "Number of questions",
            1,
            100_000,
            benchmark.limit or size or 100,
            key=f"{key}-limit",
            help="With 100 questions, differences above about 10 points are significant.",
        )
        max_n = middle.number_input(
            "Up to n removed layers",
            0,
            n_layers - 1,
            reach,
            key=f"{key}-max",
            help="Largest number of removed layers. Blocks that you enter are all measured.",
        )
        seed = right.number_input(
            "Seed",
            0,
            2**31,
            benchmark.seed,
            key=f"{key}-seed",
            help="The same seed selects the same questions.",
        )
        everything = st.checkbox(
            "Use all questions" if size is None else f"Use all {size:,}",
            benchmark.limit is None,
            key=f"{key}-all",
        )
        writes = st.checkbox(
            "Also generate text",
            key=f"{key}-writes",
            help=(
                "Continuations and arithmetic problems. Likelihood scores overstate a pruned"
                " model's quality. Takes longer."
            ),
        )
        if not start.button("Run sweep", in_form=True, type="primary", key=f"{key}-go"):
            return None
    wanted = None if everything or (size is not None and int(limit) >= size) else int(limit)
    return replace(
        initial,
        benchmark=replace(benchmark, limit=wanted, seed=int(seed)),
        max_n=int(max_n),
        generation=GenerationSpec() if writes else None,
    )


def _specs(
    template: SweepSpec, distances: DistanceResult, strategy: str, cuts: tuple[Removal, ...]
) -> list[SweepSpec]:
    """Return the requests that measure a strategy: one, or one for each draw of a random strategy.

    A search never removes protected layers.

    Args:
        template: the model, the questions, the texts and the largest n.
        distances: the map on screen.
        strategy: name of the strategy.
        cuts: blocks that the user entered.
    """
    spec = SweepSpec(
        model=template.model,
        benchmark=template.benchmark,
        loss_corpus=template.loss_corpus,
        distances=DistanceSpec(
            template.model, distances.spec.corpus.request, distances.spec.metric
        ),
        strategy=strategy,
        max_n=None if needs(strategy, BLOCKS) else template.max_n,
        blocks=cuts if needs(strategy, BLOCKS) else (),
        generation=template.generation,
    )
    spec = sparing(spec, state.protected(distances.n_layers))
    return [replace(spec, draw=draw) for draw in range(DRAWS)] if needs(strategy, DRAW) else [spec]


def _damage_form(model: ModelSpec, distances: DistanceResult, key: str) -> None:
    """Draw the form; submitting it queues a job.

    Args:
        model: the model to prune.
        distances: the map on screen, which is compared with the loss increase.
        key: first part of the widgets' keys.
    """
    default = DamageSpec().corpus
    max_size = distances.n_layers - 1
    with frame.errors_shown(), st.form(f"{key}-form", border=False):
        columns = st.columns(5, vertical_alignment="bottom")
        source = columns[0].selectbox(
            "Texts", _TEXTS, format_func=corpora.TITLES.__getitem__, key=f"{key}-texts"
        )
        n_texts = columns[1].number_input(
            "Number of texts", 1, 10_000, default.n_texts, key=f"{key}-n"
        )
        seq_len = columns[2].number_input(
            "Tokens per text", 16, 131_072, default.seq_len, step=16, key=f"{key}-len"
        )
        size = columns[3].number_input(
            "Largest block",
            1,
            max_size,
            max(1, distances.n_layers // 2),
            key=f"{key}-size",
            help="Largest number of layers in a block. Each block up to this size is removed once.",
        )
        model = selection.dtype_field(
            selection.as_shown(model, distances), distances, key, place=columns[4]
        )
        if start.button("Measure loss increase", in_form=True, type="primary", key=f"{key}-go"):
            corpus = replace(default, source=source, n_texts=int(n_texts), seq_len=int(seq_len))
            map_spec = DistanceSpec(model=model, corpus=distances.spec.corpus.request)
            spec = DamageSpec(model=model, corpus=corpus, distances=map_spec, max_size=int(size))
            label = (
                f"Loss-increase map, {words.texts(corpus)} {n_texts} × {seq_len}, blocks up to"
                f" {size}"
            )
            start.start_and_show(spec, label)
