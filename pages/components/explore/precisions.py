"""Prune, quantize, or both: all measured forms of the model on the same data, the answer in words, and missing measurements."""

from collections.abc import Sequence

import streamlit as st

from analysis import jobs
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from analysis.results.compared import candidates, unmeasured
from analysis.results.compared.candidates import Comparison
from analysis.results.compared.material_filter import SameMaterial
from analysis.results.stored.reading import ACCURACY, Condition
from analysis.results.stored.result import FoundResult
from analysis.results.words import choice
from analysis.results.words.front_table import TITLE, measured_on
from analysis.results.words.goals import Goal
from pages.components.shared import selection, start, state, stored_results, words


def compare(
    model: ModelSpec, own_results: Sequence[FoundResult], on: Sequence[Condition], named: Sequence[str] = ()
) -> Comparison:
    """Return the comparison of all forms of a model and of other models on the same questions and texts.

    Args:
        model: the model of the page.
        own_results: its results that score removals, in any precision.
        on: the questions and texts to compare on; of a kind that is not among them, those with the most forms.
        named: sources of other models, besides those of the gallery.
    """
    material_filter = SameMaterial.of(on)
    other_results = _others(own_results, material_filter)
    models = dict.fromkeys([model, *(entry.summary.model for entry in other_results if entry.summary.model is not None)])
    speeds = [entry for each in models for entry in stored_results.find("speed", each, any_precision=True)]
    versions = [selection.versions(each) for each in (own_results, other_results, speeds)]
    return _compared(
        versions[0], versions[1], versions[2], material_filter, list(own_results), other_results, speeds, tuple(named)
    )


def others(model: ModelSpec, own_results: Sequence[FoundResult], on: Sequence[Condition]) -> list[str]:
    """Return the sources of models outside of the gallery that are measured on the same questions or texts.

    Args:
        model, own_results, on: as in `compare`.
    """
    models = [entry.summary.model for entry in _others(own_results, SameMaterial.of(on))]
    return sorted(
        {each.source for each in models if each and each.source != model.source and not candidates.is_rival(each, ())}
    )


def _others(own_results: Sequence[FoundResult], material_filter: SameMaterial) -> list[FoundResult]:
    alone = _compared(selection.versions(own_results), "", "", material_filter, list(own_results), [], [], ())
    conditions = [condition for condition in (alone.questions, alone.texts) if condition is not None]
    keys = {entry.id for entry in own_results}
    return [entry for entry in library.measured_on(candidates.SCORED, conditions) if entry.id not in keys]


@st.cache_resource(max_entries=16, show_spinner=False)
def _compared(
    own_versions: str,
    other_versions: str,
    speed_versions: str,
    material_filter: SameMaterial,
    _own_results: list[FoundResult],
    _other_results: list[FoundResult],
    _speeds: list[FoundResult],
    named: tuple[str, ...],
) -> Comparison:
    results = [library.read_all(entries) for entries in (_own_results, _other_results, _speeds)]
    return candidates.compare(*results, material_filter, named=named)


def materials(comparison: Comparison, quantity: str) -> list[Condition]:
    """Return the questions or texts that a quantity is measured on, those of the comparison first."""
    first = comparison.questions if quantity == ACCURACY else comparison.texts
    others = [
        condition for condition in comparison.elsewhere if first is None or type(condition.material) is type(first.material)
    ]
    return others if first is None else [first, *others]


def answer(comparison: Comparison, goal: Goal) -> None:
    """Draw the answer to a goal among all precisions, prunings and models, with its data, and its rule on hover.

    Args:
        comparison: all candidates.
        goal: the goal of the form above it.
    """
    if comparison.candidates:
        st.markdown(f"**{TITLE}** {words.plain(choice.answer(comparison, goal).said)}", help=words.plain(choice.RULE))
        st.caption(words.plain(measured_on(comparison)))


def measure(comparison: Comparison, model: ModelSpec) -> None:
    """Draw the missing measurements, each kind with its button: scores as one grid with its duration, then speeds.

    Args:
        comparison: all candidates.
        model: the model of the page.
    """
    missing = unmeasured.missing(comparison, model)
    if not missing:
        return
    st.caption(f"Not measured: {words.plain(', '.join(measurement.what for measurement in missing))}.")
    grid, speeds = unmeasured.grid(comparison, missing), unmeasured.speeds(missing)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if grid is not None and start.button(
            f"Measure missing points ({_duration(grid, comparison)})",
            key="front-missing",
            icon=":material/play_arrow:",
            help="Runs one grid: the same questions, texts and removals in each missing precision. Stored parts take no time.",
        ):
            start.start_and_show(grid, f"Missing precisions of {state.name(model)}")
        if speeds and start.button(
            "Measure missing speeds",
            key="front-speeds",
            icon=":material/speed:",
            help="Times each precision in turn. Needs an idle machine.",
        ):
            start.start_all([(spec, f"Speed of {state.name(model)} in {spec.model.precision}") for spec in speeds])


def _duration(grid: GridSpec, comparison: Comparison) -> words.Markdown:
    curves = library.read_all(library.of_here("sweep"))
    lasts = unmeasured.duration(grid, comparison, curves, jobs.load_of_others())
    if lasts is None:
        return "duration unknown"
    return f"{'about' if lasts.n else 'roughly'} {words.span(lasts.low_s, lasts.high_s)}"
