"""The settings of a healing run in four groups, as far as the recipe uses them."""

from dataclasses import replace
from typing import Any

import streamlit as st

from analysis.data import files
from analysis.data.spec import BenchmarkSpec, GenerationSpec
from analysis.data.tasks import TASKS
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_spec import LORA_ON, HealSpec
from pages.components.shared import access, inputs, words

_MODULES = {"feed_forward": "feed-forward", "attention": "attention", "both": "both"}
_TEXTS = {
    "wiki": "Wikipedia (starter pack)",
    "c4": "C4, 118 documents (starter pack)",
    "c4-train": "C4, streamed from the Hub",
    "file": "My file",
}


def show(
    preset: HealSpec, key: str, questions: BenchmarkSpec, *, trains: bool, by_steps: bool
) -> dict[str, Any]:
    """Draw the groups side by side and return the values of the drawn settings, by the names of
    `HealSpec`.

    Args:
        preset: the initial values.
        key: part of the keys of the widgets.
        questions: the selected questions.
        trains: whether the recipe trains.
        by_steps: whether its length is given in steps.

    Returns:
        The values, and `source`, `seq_len`, `quantization`; `source` is "" until a file is chosen.
    """
    left, right = st.columns(2)
    with left:
        values = _data(preset, key, trains=trains, by_steps=by_steps)
    with right:
        values |= _modules(preset, key, trains=trains)
        if trains:
            values |= _distillation(preset, key)
        values |= _evaluation(preset, questions, key, trains=trains, by_steps=by_steps)
    return values


def _numbers(preset: HealSpec, key: str, *names: str) -> dict[str, Any]:
    """Draw the number fields of these settings and return their values by name."""
    values = {}
    for name in names:
        label, low, high, options = _NUMBERS[name]
        values[name] = st.number_input(
            label, low, high, getattr(preset, name), key=f"{key}-{name}", **options
        )
    return values


_NUMBERS: dict[str, tuple[str, float, float, dict[str, Any]]] = {
    "batch_size": ("Batch size", 1, 1024, {"help": "Sequences of one forward pass."}),
    "gradient_accumulation": (
        "Gradient accumulation steps",
        1,
        1024,
        {"help": "Forward passes of one optimizer step."},
    ),
    "learning_rate": (
        "Learning rate",
        1e-7,
        1.0,
        {
            "step": 1e-5,
            "format": "%.1e",
            "help": "Peak value after the warm-up. A cosine to 0 follows.",
        },
    ),
    "warmup_steps": ("Warm-up steps", 0, 100_000, {}),
    "r": ("LoRA rank", 1, 1024, {"help": "r in PEFT. lora_alpha has the same value."}),
    "distill": (
        "Distillation weight",
        0.0,
        1.0,
        {
            "step": 0.1,
            "help": (
                "Share of the loss that compares with the unpruned model. The text provides the"
                " rest."
            ),
        },
    ),
    "top_k": (
        "Top-k tokens",
        0,
        65_536,
        {"help": "Most likely tokens of the unpruned model in the loss (0 = all)."},
    ),
    "check_questions": (
        "Questions per check",
        0,
        100_000,
        {"help": "Questions at each check during training (0 = none)."},
    ),
    "eval_every": (
        "Steps per check",
        1,
        100_000,
        {"help": "Optimizer steps between checks. Each saves a checkpoint."},
    ),
}
"""Label, lowest and highest value of each number, and options of its field."""


def _data(preset: HealSpec, key: str, *, trains: bool, by_steps: bool) -> dict[str, Any]:
    st.markdown("**Data**")
    values: dict[str, Any] = {"source": _healing_text(preset, key)}
    values["seq_len"] = st.number_input(
        "Sequence length",
        16,
        131_072,
        preset.corpus.seq_len,
        step=16,
        key=f"{key}-len",
        help="Tokens of a training sequence.",
    )
    if not trains:
        return values
    values |= _numbers(
        preset,
        key,
        "batch_size",
        "gradient_accumulation",
        "learning_rate",
        *(["warmup_steps"] * by_steps),
    )
    values["separate_documents"] = st.checkbox(
        "Separate documents",
        preset.separate_documents,
        key=f"{key}-apart",
        help="Documents of one sequence do not attend to each other. Each begins at position 0.",
    )
    return values


_BASE_WEIGHTS = {"4bit": "NF4 (QLoRA)", "none": "not quantized"}
"""Names of the quantizations of the model that is healed."""


def _modules(preset: HealSpec, key: str, *, trains: bool) -> dict[str, Any]:
    st.markdown("**Trained modules**" if trains else "**Fitted modules**")
    values: dict[str, Any] = {}
    values["quantization"] = st.selectbox(
        "Base weights",
        list(_BASE_WEIGHTS),
        int(preset.model.quantization != "4bit"),
        key=f"{key}-quantization",
        format_func=_BASE_WEIGHTS.__getitem__,
    )
    if trains:
        values["lora_on"] = st.selectbox(
            "Target modules",
            LORA_ON,
            LORA_ON.index(preset.lora_on),
            format_func=_MODULES.__getitem__,
            key=f"{key}-lora-on",
            help="The paper adapts the feed-forward modules.",
        )
        values |= _numbers(preset, key, "r")
    values["instant"] = st.checkbox(
        "Instant heal first",
        preset.instant,
        key=f"{key}-instant",
        help=words.plain(recipes.get("instant").why),
    )
    return values


def _distillation(preset: HealSpec, key: str) -> dict[str, Any]:
    st.markdown("**Distillation**")
    values = _numbers(preset, key, "distill")
    return values | (_numbers(preset, key, "top_k") if values["distill"] > 0 else {"top_k": 0})


def limit_of(questions: BenchmarkSpec) -> int:
    """Return the requested number of questions, or the default one if all of a dataset are
    requested.
    """
    default = BenchmarkSpec.limit
    assert default is not None
    return questions.limit or default


def _evaluation(
    preset: HealSpec, questions: BenchmarkSpec, key: str, *, trains: bool, by_steps: bool
) -> dict[str, Any]:
    """Draw the settings of questions, checks and generation."""
    st.markdown("**Evaluation**")
    which = f"{key}-{questions.task}-{questions.limit}"
    extra_task = (
        questions.task
        if questions.is_file or questions.subset or questions.protocol != "harness"
        else ""
    )
    options = (
        [questions.task, *(task for task in TASKS if task != questions.task)]
        if extra_task
        else list(TASKS)
    )
    names = (
        {**words.task_names(), extra_task: words.questions(questions)}
        if extra_task
        else words.task_names()
    )
    task = st.selectbox(
        "Dataset",
        options,
        options.index(questions.task),
        format_func=names.__getitem__,
        key=f"heal-task-{which}",
    )
    limit = st.number_input("Questions", 1, 100_000, limit_of(questions), key=f"heal-limit-{which}")
    values: dict[str, Any] = {"check_questions": 0}
    if trains:
        values |= _numbers(preset, key, "check_questions", *(["eval_every"] * by_steps))
    writes = st.checkbox(
        "Generate text",
        preset.generation is not None,
        key=f"{key}-writes",
        help=(
            "The unpruned, the pruned and the healed model continue eight texts and solve 24"
            " arithmetic problems."
        ),
    )
    same = task == questions.task
    values["benchmark"] = (
        replace(questions, identity="", limit=int(limit))
        if same
        else BenchmarkSpec(task, int(limit), seed=questions.seed)
    )
    values["generation"] = (preset.generation or GenerationSpec()) if writes else None
    return values


def _healing_text(preset: HealSpec, key: str) -> str:
    """Draw the choice of the text and return a corpus source, "" until a file is chosen."""
    source = preset.corpus.source
    names = _TEXTS if source in _TEXTS else {source: files.title(source), **_TEXTS}
    choice = st.selectbox(
        "Healing text",
        list(names),
        list(names).index(source),
        format_func=names.__getitem__,
        key=f"{key}-text",
        help=(
            "One document in ten is held out from training. A file is UTF-8: TXT with documents"
            " separated by blank lines, or JSONL with a field `text`."
        ),
    )
    if choice != "file":
        return choice
    upload = access.upload_field("TXT or JSONL", ("txt", "jsonl"), key=f"{key}-text-file")
    return "" if upload is None else inputs.keep_texts(upload.name, upload.getvalue())
