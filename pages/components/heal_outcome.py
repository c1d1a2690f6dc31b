"""What a heal brought: unpruned, pruned and healed side by side."""

import streamlit as st

from analysis.charts import heals
from analysis.core import store
from analysis.experiments.accuracy.points import Point
from analysis.experiments.heal.spec import HealResult
from pages.components import heal_live, heal_said, heal_writing
from pages.components.shared import chart, command, theme, words


def show(result: HealResult, control: HealResult | None = None) -> None:
    """Draw the comparison, the curve, what was written, where the adapter lies, and the numbers to download.

    Args:
        result: the heal, finished or stopped.
        control: the unpruned model trained in the same way, if that was done.
    """
    _table(result, control)
    for said in [*heal_said.paired(result), *heal_said.warnings(result)]:
        st.caption(said)
    left, right = st.columns(2, gap="medium")
    for column, field, name in ((left, "acc", "accuracy"), (right, "loss", "loss")):
        with column:
            figure = heals.heal_comparison(result, field, control=control, dark=theme.is_dark())
            alt = f"Unpruned, pruned and healed {name}, with standard errors."
            chart.show(figure, key=f"compare-{field}", alt=alt, file_name=f"healed-{name}")
    if result.spec.trains:
        heal_live.curve(result)
    heal_writing.show(result)
    _adapter(result)
    st.caption(heal_said.provenance(result))
    command.show([result.spec])
    with st.expander("Data behind the charts", icon=":material/table:"):
        rows = [{"step": s.step, "loss": s.loss, "learning_rate": s.learning_rate, "tokens_per_s": s.tokens_per_s,
                 "memory_bytes": s.memory_bytes} for s in result.steps]  # fmt: skip
        chart.table(rows, key="t-steps", alt="Training by step", file_name="healing-steps", formats={"learning_rate": "%.2e"})
        checks = [{"step": v.step, "loss": v.loss, "loss_stderr": v.loss_stderr, "acc": v.acc, "acc_stderr": v.acc_stderr,
                   "questions": v.n_questions} for v in result.validations]  # fmt: skip
        chart.table(checks, key="t-checks", alt="Held-out loss and accuracy by step", file_name="healing-held-out")


_CONTROL = "Control: the unpruned model trained in the same way; what the healing text does by itself."


def _lengths(result: HealResult, control: HealResult) -> str:
    """How much the control was trained, where a time was named and the deeper model took fewer steps in it."""
    if control.total_steps == result.total_steps:
        return ""
    return (
        f" In the same {result.spec.minutes:g} minutes it took {control.total_steps} steps, and the cut model "
        f"{result.total_steps}."
    )


def _adapter(result: HealResult) -> None:
    """Where the adapter lies; that of a precomputed heal stayed where it was made."""
    if not result.adapter:
        return
    folder = store.cache_dir() / result.adapter
    if folder.is_dir():
        kept = "" if result.kept_step is None or not result.spec.trains else f", after step {result.kept_step}"
        st.caption(f"Adapter{kept}, a standard PEFT folder:")
        st.code(str(folder), language=None)
    else:
        st.caption("The adapter of this heal is not on this machine; start the same heal to make it.")


def _table(result: HealResult, control: HealResult | None) -> None:
    named: list[tuple[str, Point | None]] = [
        ("unpruned", result.unpruned),
        ("pruned", result.pruned),
        ("healed", result.healed),
    ]
    if result.spec.control:
        named = [("unpruned", result.unpruned), ("control", result.healed)]
    if control is not None:
        named.append(("control", control.healed))
    rows = []
    for name, point in named:
        accuracy, loss = words.scores(point)
        healed = name == "healed" and point is not None
        rows.append(
            {
                "model": name,
                "layers": result.model.n_layers - (point.n if point else result.spec.block.size),
                "accuracy ± se": accuracy,
                "loss ± se, nats per token": loss,
                "loss repaired": words.repaired(result, point.loss) if healed and point else "",
                "questions": point.n_samples if point else 0,
            }
        )
    st.table(rows, border="horizontal", hide_index=True, alt="Unpruned, pruned and healed model")
    if control is not None or result.spec.control:
        st.caption(_CONTROL + (_lengths(result, control) if control is not None else ""))
