"""Ask for the measured damage of every block."""

from dataclasses import replace

import streamlit as st

from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.spec import DamageSpec, DistanceResult, DistanceSpec
from analysis.models.spec import ModelSpec
from pages.components.shared import frame, start, theme, words

_TEXTS = ("wiki", "c4")


def show(model: ModelSpec, shown: DistanceResult, key: str) -> None:
    """Draw the form; submitting it queues a job.

    Args:
        model: the model to cut.
        shown: the map on screen, which the damage is compared with.
        key: first part of the widgets' keys.
    """
    usual, most = DamageSpec().corpus, shown.n_layers - 1
    with frame.errors_shown(), st.form(f"{key}-form", border=False):
        columns = st.columns(4, vertical_alignment="bottom")
        source = columns[0].selectbox("Texts", _TEXTS, format_func=words.TEXT_NAMES.get, key=f"{key}-texts")
        n_texts = columns[1].number_input("Number of texts", 1, 10_000, usual.n_texts, key=f"{key}-n")
        seq_len = columns[2].number_input("Tokens of each", 16, 131_072, usual.seq_len, step=16, key=f"{key}-len")
        size = columns[3].number_input(
            "Largest block",
            1,
            most,
            max(1, shown.n_layers // 2),
            key=f"{key}-size",
            help="Layers; every block up to it is cut.",
        )
        if st.form_submit_button("Measure the damage", type=theme.main_button(), key=f"{key}-go"):
            corpus = replace(usual, source=source, n_texts=int(n_texts), seq_len=int(seq_len))
            distances = DistanceSpec(model=model, corpus=_again(shown.spec.corpus))
            spec = DamageSpec(model=model, corpus=corpus, distances=distances, max_size=int(size))
            label = f"Damage map, {words.texts(corpus)} {n_texts} × {seq_len}, blocks up to {size}"
            start.start_and_show(spec, label)


def _again(corpus: CorpusSpec) -> CorpusSpec:
    return replace(corpus, identity="")
