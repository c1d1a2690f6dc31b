"""The blind test: one prompt through the unpruned, pruned and healed model, without names; which one is the pruned one?

Before the pick nothing on the page depends on the writer of a text: no name, shade, number, mark, key or download.
"""

import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import streamlit as st

from analysis import jobs
from analysis.charts import prompts as prompt_figures
from analysis.core.blocks import Removal, written
from analysis.experiments.prompt.comparison_spec import CompareResult, CompareSpec, Variant
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import prompt_answers
from analysis.results.words import blind
from analysis.results.words.blind import Round
from pages.components.compare import prompts, shaded_text, side_by_side
from pages.components.shared import start, stored_results, words

LETTERS = "ABC"
N_NEW = 5
"""Texts that one click asks for."""
TEMPERATURE = 0.8
"""Of new texts: greedy ones of a small model go round in circles, and two models often in the same."""
_POLL_S = 1.0
BEGINNINGS = (
    "The house at the end of the street had been empty for years, until",
    "To repair a flat bicycle tyre, first",
    "The heart pumps blood through",
    "Dear Sir or Madam, I am writing to complain about",
    "The main difference between a frog and a toad is",
    "In 1969 the first people landed on the Moon. They",
    "My grandmother's recipe for bread is simple:",
    "Plants need light because",
    "The detective looked at the broken window and said:",
    "A good teacher is someone who",
)
"""Prompts of new texts: stories, facts and instructions, each the beginning of a sentence."""


@dataclass
class _Test:
    """One visitor's picks at one cut of one model."""

    seed: str = field(default_factory=lambda: secrets.token_hex(8))
    picks: dict[str, int] = field(default_factory=dict)
    """By round, the place that was picked; it cannot be changed any more."""
    current: str = ""
    """The round on screen."""

    def pick(self, key: str, place: int) -> None:
        """Take a pick."""
        self.picks.setdefault(key, place)

    def turn_to(self, key: str) -> None:
        """Put a round on screen."""
        self.current = key


def show(model: ModelSpec) -> None:
    """Draw the cut, the round on screen and the score."""
    with st.container(border=True):
        left, right = st.columns(2, gap="medium", vertical_alignment="center")
        with left:
            cut = prompts.cut_choice(model, "blind")
        with right:
            _new_texts(model, _writers(model, cut))
    if cut is None:
        st.info("Nothing is removed, so there is no pruned model to find. Choose how many layers to remove.")
        return
    test = _test(model, cut)
    stored = {found.key: found.result for found in stored_results.find("compare", model) if _is_of(found.result, cut, model)}
    rounds = {key: made for key, result in stored.items() if (made := blind.as_round(key, result, test.seed))}
    # Rounds with a heal first: three texts are harder to tell apart than two.
    rounds = dict(sorted(rounds.items(), key=lambda entry: -len(entry[1].columns)))
    _score(model, cut, test, rounds)
    if not rounds:
        st.info(
            f"No texts for these removed layers yet. Click **Generate {N_NEW} texts**: the models continue {N_NEW} prompts, "
            "and you guess which text the pruned model generated."
        )
        return
    if test.current not in rounds:
        test.current = next((key for key in rounds if key not in test.picks), next(iter(rounds)))
    shown = rounds[test.current]
    if test.current in test.picks:
        _reveal(shown, test, list(rounds))
    else:
        _ask(shown, test)
    left_out = len(stored) - len(rounds)
    if left_out:
        st.caption(
            f"{left_out} stored {'comparison is' if left_out == 1 else 'comparisons are'} left out: unfinished, without an "
            "unpruned or a pruned text, or with two equal texts."
        )


def _is_of(result: CompareResult, cut: Removal, model: ModelSpec) -> bool:
    """Return whether all texts of a comparison belong to this block and precision."""
    if not prompt_answers.same_precision(result.spec.model, model):
        return False
    return all(variant.is_unpruned or variant.block == cut for variant in result.spec.variants)


def _test(model: ModelSpec, cut: Removal) -> _Test:
    """The test of this session at this cut: a score over several cuts would say nothing of any."""
    tests: dict[str, _Test] = st.session_state.setdefault("blind-tests", {})
    return tests.setdefault(f"{model.source} {written(cut)}", _Test())


def _score(model: ModelSpec, cut: Removal, test: _Test, rounds: dict[str, Round]) -> None:
    played = [key for key in test.picks if key in rounds]
    found = blind.score([rounds[key] for key in played], [test.picks[key] for key in played])
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        st.markdown(f"**{found.describe()}** {found.verdict()}", width="content")
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
            st.caption(f"{len(rounds) - len(played)} of {len(rounds)} still to play", width="content")
            st.button(
                "Start over",
                key="blind-over",
                type="tertiary",
                icon=":material/restart_alt:",
                disabled=not played,
                on_click=lambda: st.session_state["blind-tests"].pop(f"{model.source} {written(cut)}"),
                help="Deletes your picks for these removed layers and shuffles again.",
            )


def _columns(shown: Round) -> list:
    return st.columns(len(shown.columns), gap="small")


def _ask(shown: Round, test: _Test) -> None:
    """The texts without names, each with a button to pick it."""
    st.markdown("**Which text did the pruned model generate?**")
    for place, column in enumerate(_columns(shown)):
        with column, st.container(border=True, gap="small", height="stretch"):
            st.badge(LETTERS[place], color="gray")
            # One piece: where its tokens end would be seen in the page.
            st.html(shaded_text.markup(shown.result.spec.prompt, [shown.texts[place]]))
            st.button(
                f"{LETTERS[place]} is the pruned one",
                key=f"blind-{LETTERS[place]}",
                width="stretch",
                on_click=test.pick,
                args=(shown.key, place),
            )
    st.caption(words.plain(f"{_how(shown)}. The order is random for each visitor."))


def _reveal(shown: Round, test: _Test, keys: Sequence[str]) -> None:
    """Draw the name of each text's writer, with the marks of the open comparison, and the button for the next round."""
    pick = test.picks[shown.key]
    right = pick == shown.pruned
    left = [key for key in keys if key not in test.picks]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{'Right' if right else 'Wrong'}: {LETTERS[shown.pruned]} is the pruned one.**", width="content")
        if left:
            st.button(
                "Next",
                key="blind-next",
                type="primary",
                icon=":material/chevron_right:",
                icon_position="right",
                on_click=test.turn_to,
                args=(left[0],),
            )
        else:
            st.caption("No more texts. Generate new ones above.", width="content")
    names = prompt_figures.names(shown.result.spec.variants)
    for place, (index, column) in enumerate(zip(shown.columns, _columns(shown), strict=True)):
        with column:
            letter = f"{LETTERS[place]}, your pick" if place == pick else LETTERS[place]
            shaded_text.card(shown.result, index, f"{letter}: {names[index]}", "off", live=False)
    st.caption(words.plain(f"{_how(shown)}. {shaded_text.DIFFERING}"))


def _how(shown: Round) -> str:
    """Return the condition of a round; nothing in it depends on the order of its texts."""
    spec = shown.result.spec
    drawn = f"temperature {spec.temperature:g}, seed {spec.seed:d}" if spec.temperature else "greedy"
    block = next(variant.block for variant in spec.variants if variant.block)
    length = f"Up to {spec.max_new_tokens} tokens, {drawn}, {shown.result.ran_in}"
    return f"This round: {len(shown.columns)} texts. Removed: {block.describe()}. {length}"


def _writers(model: ModelSpec, cut: Removal | None) -> tuple[Variant, ...]:
    """The unpruned model, the pruned one, and a trained heal of it, or else the instant one, or else none."""
    if cut is None:
        return ()
    writers = side_by_side.who_can_write(model, cut)
    found = {writers[key].variant.label: writers[key].variant for key in side_by_side.first_of_each(writers)}
    healed = found.get("healed") or found.get("instant")
    return found["unpruned"], found["pruned"], *([healed] if healed else [])


def _new_texts(model: ModelSpec, variants: tuple[Variant, ...]) -> None:
    """The button that queues new texts, and how many are on their way."""
    asked = start.button(
        f"Generate {N_NEW} texts",
        key="blind-new",
        icon=":material/edit_note:",
        disabled=len(variants) < 2,
        help=f"The unpruned, the pruned and a healed model continue {N_NEW} prompts at temperature {TEMPERATURE:g}.",
    )
    if asked:
        start.start_all([(spec, "Texts for the blind test") for spec in _unwritten(model, variants)])
    waiting = _on_their_way(model)
    if waiting:
        st.fragment(_wait, run_every=_POLL_S)(model, waiting)
    elif len(variants) == 2:
        st.caption("No healed model of these layers is on this machine, so new texts come from two models.")


def _unwritten(model: ModelSpec, variants: tuple[Variant, ...]) -> list[CompareSpec]:
    """The next requests that these models have not answered yet and nobody has queued."""
    known = [found.result.spec for found in stored_results.find("compare", model)]
    known += [job.spec for job in jobs.active() if job.kind == "compare"]
    there = {
        (spec.prompt, spec.seed) for spec in known if spec.temperature == TEMPERATURE and _who(spec.variants) == _who(variants)
    }
    wanted = ((prompt, seed) for seed in itertools.count() for prompt in BEGINNINGS if (prompt, seed) not in there)
    return [
        CompareSpec(model, prompt, variants, temperature=TEMPERATURE, seed=seed)
        for prompt, seed in itertools.islice(wanted, N_NEW)
    ]


def _who(variants: Sequence[Variant]) -> list[tuple[str, Removal | None, str | None]]:
    return [(variant.label, variant.block, variant.adapter) for variant in variants]


def _on_their_way(model: ModelSpec) -> int:
    return sum(job.kind == "compare" and job.spec.model.source == model.source for job in jobs.active())


def _wait(model: ModelSpec, waiting: int) -> None:
    if _on_their_way(model) != waiting:
        st.rerun()
    st.caption(f":material/hourglass_top: {'One text is' if waiting == 1 else f'{waiting} texts are'} queued or running.")
