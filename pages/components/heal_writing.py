"""What the unpruned, the pruned and the healed model write, side by side."""

import streamlit as st

from analysis.experiments.heal.spec import HealResult
from pages.components.shared import words

_READ = 3
_MODELS = ("unpruned", "pruned", "healed")


def show(result: HealResult) -> None:
    """Draw rates and the first continuations, where the models were let to write."""
    written = {name: result.writings[name] for name in _MODELS if name in result.writings}
    if len(written) < 2:
        return
    st.markdown("**What they write**")
    rates = [
        {
            "model": name,
            "repeated": words.percent(check.repetition_rate),
            "distinct tokens": words.percent(check.distinct_rate),
            "sums right": words.percent(check.acc, check.acc_stderr),
        }
        for name, check in written.items()
    ]
    st.table(rates, border="horizontal", hide_index=True, alt="Repetition, distinct tokens and sums by model")
    with st.expander("Read the continuations", icon=":material/article:"):
        texts = zip(*(check.continuations for check in written.values()), strict=False)
        rows = [
            {"beginning": words.plain(same[0].prompt)}
            | {name: words.plain(one.text) for name, one in zip(written, same, strict=True)}
            for same in list(texts)[:_READ]
        ]
        st.table(rows, border="horizontal", hide_index=True, alt="Continuations of the same beginnings")
