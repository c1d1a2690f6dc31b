"""All that a heal can be told beside its cut and its time: the recipe it begins from, its numbers, its text, its questions."""

from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from analysis.core.blocks import Removal
from analysis.data import files
from analysis.data.spec import BenchmarkSpec, GenerationSpec
from analysis.data.tasks import TASKS
from analysis.experiments.heal import recipes
from analysis.experiments.heal.recipes import saved
from analysis.experiments.heal.spec import COMPENSATIONS, DISTILL_FROM, HEAL_METHODS, LORA_ON, HealSpec, judged_by
from analysis.models.spec import ModelFacts, ModelSpec
from pages.components.heal import length as length_menu
from pages.components.heal.runs import Run, runs_of
from pages.components.shared import access, frame, inputs, uploads, words

_PLACES = {"feed_forward": "feed-forward", "attention": "attention", "both": "both"}
_TEACHES = {"logits": "predictions", "states": "last states"}
_FITS = {
    "projection": "Projection",
    "magnitude": "Prune&Comp",
    "patch": "LinearPatch",
    "ghost": "Ghosted Layers",
}
_METHODS = {
    "lora": "LoRA",
    "partial": "last layers",
    "beside": "beside the gap",
}
_CHOICES = {
    "wiki": "Wikipedia (starter pack)",
    "c4": "C4, 118 documents (starter pack)",
    "c4-train": "C4, streamed from the hub",
    "file": "A file of mine",
}


@dataclass(frozen=True)
class Begin:
    """Where the form begins."""

    key: str
    """Part of its widgets' keys, so that another start brings its own numbers."""
    preset: HealSpec
    """The numbers, for this model and block."""
    why: str
    """A sentence on where they come from."""


@dataclass(frozen=True)
class Asked:
    """What the form says."""

    spec: HealSpec | None
    """The heal; None while its healing text is still to be chosen."""
    control: bool
    """Whether the unpruned model shall be trained in the same way too."""


def begin(model: ModelSpec, known: ModelFacts, block: Removal) -> Begin:
    """The recipe that is picked in the menu, at first what suits this model and machine, without drawing the menu.

    Args:
        model: the model to cut and heal.
        known: its size.
        block: the layers, or parts of layers, to remove.
    """
    runs, options = _runs(model), _options(model)
    asked = st.session_state.pop("next-recipe", None) or st.session_state.get("recipe")
    if asked not in options:  # it may have been deleted since
        asked = recipes.for_model(model.source, known.n_layers, on_gpu=recipes.sees_gpu(model.device)).name
    st.session_state["recipe"] = asked
    if asked in runs:
        run = runs[asked]
        return Begin(run.id, recipes.like(run.spec, model=model, block=block), "The numbers of an older run.")
    if asked.startswith(_SAVED):
        mine = saved.get(asked.removeprefix(_SAVED))
        return Begin(f"saved-{mine.name}", recipes.like(mine, model=model, block=block), mine.why)
    preset = recipes.heal_spec(asked, model=model, block=block, n_parameters=known.n_parameters)
    return Begin(asked, preset, recipes.get(asked, model=model.source).why)


def advanced(begun: Begin, asked: BenchmarkSpec, length: dict[str, Any]) -> Asked:
    """Draw all that a heal can be told beside its cut and its time; returns the heal.

    Args:
        begun: the recipe and its numbers.
        asked: the questions of the curve on screen: asking the same ones puts the healed model on that curve.
        length: the `minutes` or `steps` that were chosen; empty for a heal that takes no step.
    """
    _menu(begun.preset.model)
    st.caption(words.plain(begun.why))
    source = _healing_text(begun.preset, begun.key)
    values = _numbers(begun.preset, begun.key, by_steps="steps" in length) | length
    values |= _questions(begun.preset, asked, begun.key)
    control = st.checkbox(
        "A control as well", key=f"{begun.key}-control", disabled=not begun.preset.trains,
        help="A second job trains the unpruned model in the same way: what the healing text does by itself.",
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        name = st.text_input(
            "Save as", key=f"{begun.key}-save-as", placeholder="Name of your recipe", label_visibility="collapsed"
        )
        kept = st.button("Save recipe", key="save-recipe", help="Keeps these numbers under that name.")
    if not source:
        return Asked(None, control)
    spec = _changed(begun.preset, {**values, "source": source})
    if kept:
        with frame.errors_shown():
            access.check_start()
            _save(name.strip(), spec)
    return Asked(spec, control)


_SAVED, _RUN = "saved:", "run:"


def _runs(model: ModelSpec) -> dict[str, Run]:
    return {f"{_RUN}{run.id}": run for run in runs_of(model)}


def _options(model: ModelSpec) -> list[str]:
    return [*recipes.NAMES, *(f"{_SAVED}{name}" for name in saved.names()), *_runs(model)]


def _menu(model: ModelSpec) -> None:
    """Draw the menu of recipes; another recipe brings its own length."""
    runs = _runs(model)

    def title(option: str) -> str:
        if option in runs:
            return f"as in {runs[option].in_a_line()}"
        return option.removeprefix(_SAVED) if option.startswith(_SAVED) else recipes.get(option).label

    st.selectbox(
        "Recipe", _options(model), format_func=title, key="recipe", persist_state="session", on_change=length_menu.forget,
        help="A preset, a recipe that you saved, or the numbers of an older run; every number can be changed.",
    )  # fmt: skip


def _numbers(preset: HealSpec, key: str, *, by_steps: bool) -> dict[str, Any]:
    """Draw the numbers; returns their values by the names of `HealSpec`, and `seq_len`, `quantization`."""
    left, right = st.columns(2)
    values: dict[str, Any] = {}
    precisions = ("4bit", "none")
    values["quantization"] = left.selectbox(
        "Base weights", precisions, int(preset.model.quantization != "4bit"), key=f"{key}-quantization",
        format_func={"4bit": "NF4 (QLoRA)", "none": "as they are"}.get,
    )  # fmt: skip
    values["method"] = right.selectbox(
        "What is trained", HEAL_METHODS, HEAL_METHODS.index(preset.method), format_func=_METHODS.get, key=f"{key}-method",
        help="LoRA on all layers; or every weight matrix of the last layers and the head, or of the layers beside each gap.",
    )  # fmt: skip
    has_lora = values["method"] == "lora"
    place = left.selectbox(
        "LoRA goes on", LORA_ON, LORA_ON.index(preset.lora_on), format_func=_PLACES.get, key=f"{key}-lora-on",
        disabled=not has_lora, help="Feed-forward parts are what the paper adapts.",
    )  # fmt: skip
    values |= {
        "lora_on": place if has_lora else LORA_ON[0],
        "learning_rate": right.number_input(
            "Learning rate", 1e-7, 1.0, preset.learning_rate, step=1e-5, format="%.1e", key=f"{key}-lr",
            help="The peak, after warm-up; then a cosine to 0.",
        ),
        "r": left.number_input("LoRA rank r", 1, 1024, preset.r, key=f"{key}-r", help="lora_alpha = r."),
        "last_layers": right.number_input(
            "Last layers", 1, 1000, preset.last_layers, key=f"{key}-last", help="How many `partial` trains, with the head."
        ),
        "batch_size": left.number_input("Rows per batch", 1, 1024, preset.batch_size, key=f"{key}-batch"),
        "seq_len": right.number_input("Tokens per row", 16, 131_072, preset.corpus.seq_len, step=16, key=f"{key}-len"),
        "gradient_accumulation": left.number_input(
            "Batches per step", 1, 1024, preset.gradient_accumulation, key=f"{key}-accumulate",
            help="Forward passes per optimizer step (gradient accumulation).",
        ),
        "distill": right.number_input(
            "Weight of the unpruned model", 0.0, 1.0, preset.distill, step=0.1, key=f"{key}-distill",
            help="Its share of the loss; the text has the rest.",
        ),
        "distill_from": left.selectbox(
            "What of it is learnt", DISTILL_FROM, DISTILL_FROM.index(preset.distill_from), format_func=_TEACHES.get,
            key=f"{key}-from",
            help="Its next-token distribution, or its last states, which need no vocabulary head: half the time a step.",
        ),
        "top_k": right.number_input(
            "Likeliest tokens", 0, 65_536, preset.top_k, key=f"{key}-top",
            help="Of the unpruned model's distribution; the others count as one. 0 for all.",
        ),
        "written": left.number_input(
            "Tokens that it writes itself", 0, 131_071, preset.written, key=f"{key}-written",
            help="At the end of each row, instead of reading them; the unpruned model grades them, so its weight has to be 1.",
        ),
        "stages": left.number_input(
            "Stages of the cut", 1, 1000, preset.stages, key=f"{key}-stages",
            help="The layers go in so many stages, those that change the stream least first; more than 1 is without the "
            "instant heal.",
        ),
        "junction": right.number_input(
            "Weight at the junction", 0.0, 1000.0, preset.junction, step=0.1, key=f"{key}-junction",
            help="Draws the stream behind the cut to the unpruned model's behind the block.",
        ),
    }  # fmt: skip
    if by_steps:
        values |= {
            "warmup_steps": right.number_input("Warm-up steps", 0, 100_000, preset.warmup_steps, key=f"{key}-warmup"),
            "eval_every": left.number_input(
                "Check every", 1, 100_000, preset.eval_every, key=f"{key}-every",
                help="Steps between losses on held-out text; each also saves a checkpoint to resume from.",
            ),
        }  # fmt: skip
    values |= {
        "instant": left.checkbox(
            "Instant first", preset.instant, key=f"{key}-instant", help=words.plain(recipes.get("instant").why)
        ),
        "compensation": right.selectbox(
            "What it fits", COMPENSATIONS, COMPENSATIONS.index(preset.compensation), format_func=_FITS.get,
            key=f"{key}-compensation",
            help="The projection before each gap; one factor for the stream (Prune&Comp); a factor for each rotated channel "
            "(LinearPatch); or a linear map (Ghosted Layers). An export folds the first two into the weights.",
        ),
        "separate_documents": right.checkbox(
            "Documents apart", preset.separate_documents, key=f"{key}-apart",
            help="Documents that share a training row do not see each other, and each begins at position 0.",
        ),
        "keep_best": left.checkbox(
            "Keep the best", preset.keep_best, key=f"{key}-best",
            help="End with the step of the lowest held-out loss instead of the last one.",
        ),
    }  # fmt: skip
    if not values["instant"]:
        values["compensation"] = COMPENSATIONS[0]
    return values


def _changed(preset: HealSpec, values: dict[str, Any]) -> HealSpec:
    """The preset with the form's values; an untouched one keeps its name."""
    wanted = dict(values)
    source, seq_len, quantization = (wanted.pop(name) for name in ("source", "seq_len", "quantization"))
    if "minutes" in wanted:
        wanted["steps"] = 0
    elif "steps" in wanted:
        wanted["minutes"] = None
    asked = {"benchmark", "generation", "check_questions"}
    if preset.minutes is not None and "minutes" in wanted:
        asked.add("minutes")  # a recipe that takes the time one names is none other for another time
    same = source == preset.corpus.source and seq_len == preset.corpus.seq_len and quantization == preset.model.quantization
    same = same and all(getattr(preset, name) == value for name, value in wanted.items() if name not in asked)
    name = preset.recipe if same or preset.recipe.endswith(", changed") else f"{preset.recipe}, changed"
    corpus = replace(preset.corpus, source=source, seq_len=seq_len, identity="")
    return replace(
        preset,
        corpus=corpus,
        validation=judged_by(corpus, preset.validation),
        model=replace(preset.model, quantization=quantization),
        recipe=name,
        **wanted,
    )


def _save(name: str, spec: HealSpec) -> None:
    """Keep a recipe and say so."""
    saved.save(name, spec)
    st.session_state.setdefault("announcements", []).append((f"Saved the recipe {name}.", ":material/bookmark:"))
    st.session_state["next-recipe"] = f"saved:{name}"
    st.rerun()


def _healing_text(preset: HealSpec, key: str) -> str:
    """Draw the choice and return a corpus source ("" while a file is still to be chosen)."""
    own = preset.corpus.source
    names = _CHOICES if own in _CHOICES else {own: files.title(own), **_CHOICES}
    choice = st.selectbox(
        "Healing text", list(names), list(names).index(own), format_func=names.get, key=f"{key}-text",
        help="One document in ten is held out and never trained on. A file is UTF-8: TXT with documents separated by blank "
        "lines, or JSONL with a field `text`.",
    )  # fmt: skip
    if choice != "file":
        return choice
    upload = uploads.field("TXT or JSONL", ("txt", "jsonl"), key=f"{key}-text-file")
    return "" if upload is None else inputs.keep_texts(upload.name, upload.getvalue())


def _questions(preset: HealSpec, asked: BenchmarkSpec, key: str) -> dict:
    """Draw the fields; returns `benchmark`, `check_questions` and `generation`."""
    left, right = st.columns(2)
    which = f"{key}-{asked.task}-{asked.limit}"
    own = asked.task if asked.is_file or asked.subset or asked.protocol != "harness" else ""
    options = [asked.task, *(task for task in TASKS if task != asked.task)] if own else list(TASKS)
    names = {**words.task_names(), own: words.questions(asked)} if own else words.task_names()
    task = left.selectbox("Questions from", options, options.index(asked.task), format_func=names.get, key=f"heal-task-{which}")
    limit = right.number_input("How many", 1, 100_000, asked.limit or BenchmarkSpec.limit, key=f"heal-limit-{which}")
    checked = left.number_input(
        "At each check", 0, 100_000, preset.check_questions, key=f"{key}-check", disabled=not preset.trains,
        help="How many of the questions are asked again at each check, to see accuracy grow; 0 for none.",
    )  # fmt: skip
    writes = right.checkbox(
        "Let it write", preset.generation is not None, key=f"{key}-writes",
        help="The unpruned, the pruned and the healed model continue eight texts and do 24 small sums.",
    )  # fmt: skip
    same = task == asked.task
    benchmark = replace(asked, identity="", limit=int(limit)) if same else BenchmarkSpec(task, int(limit), seed=asked.seed)
    generation = (preset.generation or GenerationSpec()) if writes else None
    return {"benchmark": benchmark, "check_questions": int(checked), "generation": generation}
