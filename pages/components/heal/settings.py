"""The settings of a healing run in four groups; only those that the recipe uses are drawn."""

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


def show(preset: HealSpec, key: str, asked: BenchmarkSpec, *, trains: bool, by_steps: bool) -> dict[str, Any]:
    """Draw the groups side by side; returns the values of the drawn settings, by the names of `HealSpec`.

    Args:
        preset: the numbers to begin with.
        key: part of the keys of the widgets.
        asked: the questions that are selected.
        trains: whether a training step is taken.
        by_steps: whether the length is given in steps.

    Returns:
        The values, and `source`, `seq_len`, `quantization`; `source` is "" while a file is still to be chosen.
    """
    data, modules, distillation, judged = st.columns(4, gap="medium")
    with data:
        values = _data(preset, key, trains=trains, by_steps=by_steps)
    with modules:
        values |= _modules(preset, key, trains=trains)
    with distillation:
        if trains:
            values |= _distillation(preset, key)
        else:
            st.markdown("**Distillation**")
            st.caption("Not used: this recipe trains nothing.")
    with judged:
        values |= _evaluation(preset, asked, key, trains=trains, by_steps=by_steps)
    return values


def _data(preset: HealSpec, key: str, *, trains: bool, by_steps: bool) -> dict[str, Any]:
    st.markdown("**Data**")
    values: dict[str, Any] = {"source": _healing_text(preset, key)}
    values["seq_len"] = st.number_input(
        "Sequence length", 16, 131_072, preset.corpus.seq_len, step=16, key=f"{key}-len", help="Tokens of a training sequence."
    )
    if not trains:
        return values
    values["batch_size"] = st.number_input(
        "Batch size", 1, 1024, preset.batch_size, key=f"{key}-batch", help="Sequences of one forward pass."
    )
    values["gradient_accumulation"] = st.number_input(
        "Gradient accumulation steps",
        1,
        1024,
        preset.gradient_accumulation,
        key=f"{key}-accumulate",
        help="Forward passes of one optimizer step.",
    )
    values["learning_rate"] = st.number_input(
        "Learning rate",
        1e-7,
        1.0,
        preset.learning_rate,
        step=1e-5,
        format="%.1e",
        key=f"{key}-lr",
        help="Peak value after the warm-up. A cosine to 0 follows.",
    )
    if by_steps:
        values["warmup_steps"] = st.number_input("Warm-up steps", 0, 100_000, preset.warmup_steps, key=f"{key}-warmup")
    values["separate_documents"] = st.checkbox(
        "Separate documents",
        preset.separate_documents,
        key=f"{key}-apart",
        help="Documents of one sequence do not attend to each other. Each begins at position 0.",
    )
    return values


def _modules(preset: HealSpec, key: str, *, trains: bool) -> dict[str, Any]:
    st.markdown("**Trained modules**" if trains else "**Fitted modules**")
    values: dict[str, Any] = {}
    values["quantization"] = st.selectbox(
        "Base weights",
        ("4bit", "none"),
        int(preset.model.quantization != "4bit"),
        key=f"{key}-quantization",
        format_func={"4bit": "NF4 (QLoRA)", "none": "not quantized"}.get,
    )
    if trains:
        values["lora_on"] = st.selectbox(
            "Target modules",
            LORA_ON,
            LORA_ON.index(preset.lora_on),
            format_func=_MODULES.get,
            key=f"{key}-lora-on",
            help="The paper adapts the feed-forward modules.",
        )
        values["r"] = st.number_input(
            "LoRA rank", 1, 1024, preset.r, key=f"{key}-r", help="r in PEFT. lora_alpha has the same value."
        )
    values["instant"] = st.checkbox(
        "Instant heal first", preset.instant, key=f"{key}-instant", help=words.plain(recipes.get("instant").why)
    )
    return values


def _distillation(preset: HealSpec, key: str) -> dict[str, Any]:
    st.markdown("**Distillation**")
    values: dict[str, Any] = {"top_k": 0}
    values["distill"] = st.number_input(
        "Distillation weight",
        0.0,
        1.0,
        preset.distill,
        step=0.1,
        key=f"{key}-distill",
        help="Share of the loss that compares with the unpruned model. The text provides the rest.",
    )
    if values["distill"] > 0:
        values["top_k"] = st.number_input(
            "Top-k tokens",
            0,
            65_536,
            preset.top_k,
            key=f"{key}-top",
            help="Number of most likely tokens of the unpruned model in the loss (0 = all).",
        )
    return values


def _evaluation(preset: HealSpec, asked: BenchmarkSpec, key: str, *, trains: bool, by_steps: bool) -> dict[str, Any]:
    """Questions, checks and generation."""
    st.markdown("**Evaluation**")
    which = f"{key}-{asked.task}-{asked.limit}"
    own = asked.task if asked.is_file or asked.subset or asked.protocol != "harness" else ""
    options = [asked.task, *(task for task in TASKS if task != asked.task)] if own else list(TASKS)
    names = {**words.task_names(), own: words.questions(asked)} if own else words.task_names()
    task = st.selectbox("Dataset", options, options.index(asked.task), format_func=names.get, key=f"heal-task-{which}")
    limit = st.number_input("Questions", 1, 100_000, asked.limit or BenchmarkSpec.limit, key=f"heal-limit-{which}")
    values: dict[str, Any] = {"check_questions": 0}
    if trains:
        values["check_questions"] = st.number_input(
            "Questions per check",
            0,
            100_000,
            preset.check_questions,
            key=f"{key}-check",
            help="Number of questions at each check during training (0 = none).",
        )
        if by_steps:
            values["eval_every"] = st.number_input(
                "Steps per check",
                1,
                100_000,
                preset.eval_every,
                key=f"{key}-every",
                help="Optimizer steps between two losses on held-out text. Each check saves a checkpoint.",
            )
    writes = st.checkbox(
        "Generate text",
        preset.generation is not None,
        key=f"{key}-writes",
        help="The unpruned, the pruned and the healed model continue eight texts and solve 24 arithmetic problems.",
    )
    same = task == asked.task
    values["benchmark"] = (
        replace(asked, identity="", limit=int(limit)) if same else BenchmarkSpec(task, int(limit), seed=asked.seed)
    )
    values["generation"] = (preset.generation or GenerationSpec()) if writes else None
    return values


def _healing_text(preset: HealSpec, key: str) -> str:
    """Draw the choice and return a corpus source ("" while a file is still to be chosen)."""
    own = preset.corpus.source
    names = _TEXTS if own in _TEXTS else {own: files.title(own), **_TEXTS}
    choice = st.selectbox(
        "Healing text",
        list(names),
        list(names).index(own),
        format_func=names.get,
        key=f"{key}-text",
        help="One document in ten is held out from training. A file is UTF-8: TXT with documents separated by blank "
        "lines, or JSONL with a field `text`.",
    )
    if choice != "file":
        return choice
    upload = access.upload_field("TXT or JSONL", ("txt", "jsonl"), key=f"{key}-text-file")
    return "" if upload is None else inputs.keep_texts(upload.name, upload.getvalue())
