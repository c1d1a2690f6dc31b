"""Step 6 of the lesson: what healing does, and what it does not do."""

import streamlit as st

from analysis.charts import lesson as learn_figures
from analysis.charts.lesson import Rung
from analysis.experiments.accuracy import points
from pages.components.learn import stored
from pages.components.learn.lesson import Lesson
from pages.components.learn.stored import Shown
from pages.components.shared import chart, theme, words

TITLE = "Can the damage be repaired?"


def show(lesson: Lesson, shown: Shown) -> None:
    """Unpruned, pruned, instantly healed and trained, from the stored heals."""
    ladder, heal = stored.ladder(shown.heals)
    left, right = st.columns([4, 7], gap="large")
    with left:
        st.markdown(
            "After a cut, one layer hands its stream to a layer that never saw it. **Instant** healing corrects one matrix "
            "before the gap, by regression. **Trained** healing (LoRA) adds a few weights and practises on other text.\n\n"
            "Both mend the joint. Neither puts back what the missing layers knew."
        )
        if heal is not None:
            st.markdown(_told(ladder))
    with right:
        if heal is None:
            stored.missing("No cut of your model has been healed yet.", "pages/heal.py", "Start a heal")
            return
        block = heal.spec.block
        st.markdown(f"**Your model without {block.describe()}**")
        for field, name in (("loss", "loss"), ("acc", "accuracy")):
            said = ", ".join(f"{rung.name} {words.scores(rung.point)[field == 'loss']}" for rung in ladder)
            chart.show(
                learn_figures.rungs(ladder, field, heal.lines, dark=theme.is_dark()), key=f"learn-heal-{field}",
                alt=f"{name.capitalize()}: {said}.", file_name=f"healed-{name}",
            )  # fmt: skip
        table = points.table([rung.point for rung in ladder], model=[rung.name for rung in ladder])
        table = table.only("model", "acc", "n_samples", "loss")
        chart.folded_table(table, key="learn-t-heal", alt="Unpruned, pruned and healed models", file_name="healed")


def _told(ladder: list[Rung]) -> str:
    """What this heal did to the loss."""
    unpruned, pruned, healed = ladder[0].point.loss, ladder[1].point.loss, ladder[-1].point.loss
    if unpruned is None or pruned is None or healed is None:
        return ""
    said = f"Here loss went up from {unpruned:.2f} to {pruned:.2f}, and healing brought it to {healed:.2f}."
    if healed < unpruned:
        said += " Below the start? Training also taught the style of its text: that is not knowledge."
    return said
