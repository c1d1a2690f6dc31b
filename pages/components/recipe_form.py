"""How a heal trains, and the button that starts it."""

from dataclasses import replace

import streamlit as st

from analysis import recipes
from analysis.blocks import Block
from analysis.specs import TASKS, BenchmarkSpec, HealSpec, ModelSpec
from pages.components import guard, start, state, theme, words


def show(model: ModelSpec, n_parameters: int, block: Block, asked: BenchmarkSpec) -> None:
    """Draw the recipe; submitting it queues the heal.

    Args:
        model: the model to cut and heal.
        n_parameters: its size.
        block: the layers to remove.
        asked: the questions of the curve on screen: asking the same ones puts the healed model on that curve.
    """
    with guard.errors_shown():
        name = st.selectbox(
            "Recipe", recipes.NAMES, key="recipe", persist_state="session", help="A preset; every number can be changed."
        )
        wanted = {"model": model, "block": block, "n_parameters": n_parameters}
        preset = recipes.heal_spec(name, **wanted)
        st.caption(_why(preset, name))
        with st.form(f"heal-form-{name}", border=False):
            values = _numbers(preset, name)
            benchmark = _questions(asked, name)
            if not st.form_submit_button(
                "Start healing", type=theme.main_button(), key="start-heal", icon=":material/healing:"
            ):
                return
        spec = recipes.heal_spec(name, **wanted, benchmark=benchmark, **_changed(preset, values))
        job = start.start(spec, f"Heal [{block.start}, {block.stop}), {words.heal_length(spec)}")
        if job is not None:
            state.show_result("heal", job.id)
            st.rerun()


def _why(preset: HealSpec, name: str) -> str:
    """Where the preset's numbers come from; some presets are larger with an accelerator."""
    variants = [recipes.get(name, model=preset.model.source, on_gpu=on_gpu) for on_gpu in (False, True)]
    return next((recipe.why for recipe in variants if recipe.steps == preset.steps), variants[0].why)


def _numbers(preset: HealSpec, name: str) -> dict:
    """The form's fields, each keyed by the preset so that another preset brings its own numbers."""
    left, right = st.columns(2)
    precisions = ("4bit", "none")
    values = {
        "steps": left.number_input("Optimizer steps", int(not preset.instant), 1_000_000, preset.steps, key=f"{name}-steps"),
        "quantization": right.selectbox(
            "Base weights", precisions, int(preset.model.quantization != "4bit"), key=f"{name}-quantization",
            format_func={"4bit": "NF4 (QLoRA)", "none": "as they are"}.get,
        ),
    }  # fmt: skip
    with st.expander("More numbers"):
        left, right = st.columns(2)
        values |= {
            "r": left.number_input("LoRA rank r", 1, 1024, preset.r, key=f"{name}-r", help="lora_alpha = r."),
            "learning_rate": right.number_input(
                "Learning rate", 1e-7, 1.0, preset.learning_rate, step=1e-5, format="%.1e", key=f"{name}-lr",
                help="The peak, after warm-up; then a cosine to 0.",
            ),
            "batch_size": left.number_input("Rows per batch", 1, 1024, preset.batch_size, key=f"{name}-batch"),
            "seq_len": right.number_input("Tokens per row", 16, 131_072, preset.corpus.seq_len, step=16, key=f"{name}-len"),
            "instant": left.checkbox(
                "Begin with the instant heal", preset.instant, key=f"{name}-instant", help=recipes.get("instant").why
            ),
            "distill": right.number_input(
                "Weight of the unpruned model", 0.0, 1.0, preset.distill, step=0.1, key=f"{name}-distill",
                help="Share of the loss that asks for its distribution over the next token; the text has the rest.",
            ),
            "warmup_steps": left.number_input("Warm-up steps", 0, 100_000, preset.warmup_steps, key=f"{name}-warmup"),
            "eval_every": right.number_input(
                "Check every", 1, 100_000, preset.eval_every, key=f"{name}-every",
                help="Steps between losses on held-out text; each also saves a checkpoint to resume from.",
            ),
        }  # fmt: skip
    return values


def _questions(asked: BenchmarkSpec, name: str) -> BenchmarkSpec:
    """Which questions the three models are asked in the end."""
    left, right = st.columns(2)
    key = f"{name}-{asked.task}-{asked.limit}"
    own = asked.task if asked.is_file or asked.subset or asked.protocol != "harness" else ""
    options = [asked.task, *(task for task in TASKS if task != asked.task)] if own else list(TASKS)
    names = {**words.TASK_NAMES, own: words.questions(asked)} if own else words.TASK_NAMES
    task = left.selectbox("Questions from", options, options.index(asked.task), format_func=names.get, key=f"heal-task-{key}")
    limit = right.number_input("How many", 1, 100_000, asked.limit or 100, key=f"heal-limit-{key}")
    if task == asked.task:
        return replace(asked, identity="", limit=int(limit))
    return BenchmarkSpec(task=task, limit=int(limit), seed=asked.seed)


def _changed(preset: HealSpec, values: dict) -> dict:
    """Only what differs from the preset, so that an untouched form keeps the preset's name."""
    own = {name: getattr(preset, name) for name in values if name not in ("seq_len", "quantization")}
    own |= {"seq_len": preset.corpus.seq_len, "quantization": preset.model.quantization}
    return {name: value for name, value in values.items() if value != own[name]}
