"""The numbers of a recipe: how long, how fast, what is trained, and what becomes of changes."""

from dataclasses import replace
from typing import Any

import streamlit as st

from analysis.experiments.heal import recipes, saved_recipes
from analysis.experiments.heal.spec import DISTILL_FROM, HEAL_METHODS, HealSpec

_TEACHES = {"logits": "next-token distribution", "states": "last states"}
_METHODS = {"lora": "LoRA on all layers", "partial": "all of the last layers and the head"}


def sized_by(preset: HealSpec, key: str) -> str:
    """Whether a time or a number of steps is named; "" for a heal that takes no step."""
    if not preset.trains:
        return ""
    return st.segmented_control(
        "Length", ("minutes", "steps"), default="steps" if preset.minutes is None else "minutes", required=True,
        key=f"{key}-sized",
        help="By minutes, the speed is measured first and as many steps taken as fit, measurements included.",
    )  # fmt: skip


def show(preset: HealSpec, key: str, sized: str) -> dict[str, Any]:
    """Draw the fields inside a form; returns their values by the names of `HealSpec`, and `seq_len`, `quantization`."""
    left, right = st.columns(2)
    values: dict[str, Any] = {}
    if sized == "minutes":
        values["minutes"] = left.number_input(
            "Minutes", 1.0, 100_000.0, preset.minutes or 10.0, step=1.0, format="%g", key=f"{key}-minutes"
        )
    elif sized == "steps":
        values["steps"] = left.number_input("Optimizer steps", 1, 1_000_000, preset.steps or 50, key=f"{key}-steps")
    precisions = ("4bit", "none")
    values["quantization"] = right.selectbox(
        "Base weights", precisions, int(preset.model.quantization != "4bit"), key=f"{key}-quantization",
        format_func={"4bit": "NF4 (QLoRA)", "none": "as they are"}.get,
    )  # fmt: skip
    with st.expander("More numbers"):
        left, right = st.columns(2)
        values |= {
            "method": left.selectbox(
                "What is trained", HEAL_METHODS, HEAL_METHODS.index(preset.method), format_func=_METHODS.get,
                key=f"{key}-method",
            ),
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
                key=f"{key}-from", help="Last states need no vocabulary head: steps take about half the time.",
            ),
            "junction": right.number_input(
                "Weight at the junction", 0.0, 1000.0, preset.junction, step=0.1, key=f"{key}-junction",
                help="Draws the stream behind the cut to the unpruned model's behind the block.",
            ),
        }  # fmt: skip
        if sized == "steps":
            values |= {
                "warmup_steps": right.number_input("Warm-up steps", 0, 100_000, preset.warmup_steps, key=f"{key}-warmup"),
                "eval_every": left.number_input(
                    "Check every", 1, 100_000, preset.eval_every, key=f"{key}-every",
                    help="Steps between losses on held-out text; each also saves a checkpoint to resume from.",
                ),
            }  # fmt: skip
        values |= {
            "instant": left.checkbox(
                "Begin with the instant heal", preset.instant, key=f"{key}-instant", help=recipes.get("instant").why
            ),
            "separate_documents": right.checkbox(
                "Read documents apart", preset.separate_documents, key=f"{key}-apart",
                help="Documents that share a training row do not see each other, and each begins at position 0.",
            ),
            "keep_best": left.checkbox(
                "Keep the best checkpoint", preset.keep_best, key=f"{key}-best",
                help="End with the step of the lowest held-out loss instead of the last one.",
            ),
        }  # fmt: skip
    return values


def changed(preset: HealSpec, values: dict[str, Any]) -> HealSpec:
    """The preset with the form's values; an untouched one keeps its name."""
    wanted = dict(values)
    source, seq_len, quantization = (wanted.pop(name) for name in ("source", "seq_len", "quantization"))
    if "minutes" in wanted:
        wanted["steps"] = 0
    elif "steps" in wanted:
        wanted["minutes"] = None
    asked = {"benchmark", "generation", "check_questions"}
    same = source == preset.corpus.source and seq_len == preset.corpus.seq_len and quantization == preset.model.quantization
    same = same and all(getattr(preset, name) == value for name, value in wanted.items() if name not in asked)
    name = preset.recipe if same or preset.recipe.endswith(", changed") else f"{preset.recipe}, changed"
    validation = preset.validation
    if source != preset.corpus.source:
        validation = replace(validation, source=recipes.held_out(source), identity="")
    return replace(
        preset,
        corpus=replace(preset.corpus, source=source, seq_len=seq_len, identity=""),
        validation=validation,
        model=replace(preset.model, quantization=quantization),
        recipe=name,
        **wanted,
    )


def save(name: str, spec: HealSpec) -> None:
    """Keep a recipe and say so."""
    saved_recipes.save(name.strip(), spec)
    st.session_state.setdefault("announcements", []).append((f"Saved the recipe {name.strip()}.", ":material/bookmark:"))
    st.session_state["next-recipe"] = f"saved:{name.strip()}"
    st.rerun()
