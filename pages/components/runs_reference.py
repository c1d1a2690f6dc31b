"""The pinned run: chosen here, kept in the address, and subtracted from all others."""

from typing import Any

import streamlit as st

from analysis.core import store
from analysis.core.errors import CorruptResultError
from analysis.core.registry import RESULTS
from analysis.reading import differences as run_compare
from analysis.reading import runs as run_table
from analysis.reading.runs import Run
from pages.components.shared import chart, state, words

_KEPT = ("text_distances", "text_losses")


def choose(picked: list[Run], reference: Run | None) -> Run | None:
    """Draw the choice of the reference among the ticked runs; returns it."""
    runs = [*([reference] if reference and reference not in picked else []), *picked]
    names = dict(zip([run.id for run in runs], run_table.labels(runs), strict=True))
    options = ["", *names]
    key = state.generation("runs-pin", [*options, state.pinned()])
    st.selectbox(
        "Reference", options, options.index(reference.id) if reference else 0, key=key, width=480,
        format_func=lambda run: f"{run_table.KINDS[run.partition(':')[0]]} · {names[run]}" if run else "none pinned",
        on_change=lambda: state.pin(st.session_state[key]), disabled=not runs,
        help="A pinned run stays drawn, dashed, on every visit and in the link to this page; the others are compared with it.",
    )  # fmt: skip
    return next((run for run in runs if run.id == state.pinned()), None)


def columns(run: Run, reference: Run, fraction: float) -> dict[str, Any]:
    """How a run's key figure differs from the reference's, as columns of the table."""
    empty = {"difference": None, "low": None, "high": None}
    if run.id == reference.id:
        return {**empty, "basis": "is the reference"}
    found, why = _differences(run, reference, fraction)
    wanted = run_table.key_figure(run.result, fraction).name
    key = next((one for one in found if one.quantity.split(",")[0] in wanted), found[0] if found else None)
    if key is None:
        return {**empty, "basis": why}
    return {"difference": key.difference, "low": key.low, "high": key.high, "basis": f"{key.quantity}: {key.basis}"}


def differences(picked: list[Run], reference: Run, fraction: float) -> None:
    """Draw every number of the ticked runs as a difference from the reference, and say what has none."""
    others = [run for run in picked if run.id != reference.id]
    st.header("Against the reference", anchor=False)
    if not others:
        st.info("Tick another run in the table to see how far it is from the reference.")
        return
    rows, reasons = [], {}
    answers = [_differences(run, reference, fraction) for run in others]
    # Names are as short as they can be among what is listed together.
    listed = [run for run, (found, _) in zip(others, answers, strict=True) if found]
    name, *labels = run_table.labels([reference, *listed])
    names = dict(zip([run.id for run in others], run_table.labels([reference, *others])[1:], strict=True))
    names |= dict(zip([run.id for run in listed], labels, strict=True))
    for run, (found, why) in zip(others, answers, strict=True):
        label = names[run.id]
        for one in found:
            rows.append(
                {
                    "run": label,
                    "quantity": one.quantity,
                    "reference": one.reference,
                    "run's": one.value,
                    "difference": one.difference,
                    "95 % from": one.low,
                    "to": one.high,
                    "settled": "yes" if one.is_settled else "no",
                    "interval": one.basis,
                    "removed: reference; run": one.removed,
                }
            )
        if why:
            reasons.setdefault(why, []).append(label)
    if rows:
        formats = {"difference": "%+.4f", "95 % from": "%+.4f", "to": "%+.4f", "reference": "%.4f", "run's": "%.4f"}
        chart.table(rows, key="t-against", alt="Differences from the reference", file_name="against-reference", formats=formats)
    for why, labels in reasons.items():
        st.caption(f"{words.plain(', '.join(labels))}: {why}")
    st.caption(
        words.plain(f"Run minus reference ({name}).")
        + " Settled: the 95 % interval leaves out zero. Paired intervals resample "
        "the questions or texts that both were measured on."
    )


def _differences(run: Run, reference: Run, fraction: float) -> tuple[list[run_compare.Difference], str]:
    return run_compare.differences(
        reference.result, run.result, fraction, reference_arrays=_arrays(reference), run_arrays=_arrays(run)
    )


def _arrays(run: Run) -> dict[str, Any]:
    """What was kept of each text; nothing of precomputed runs."""
    wanted = run.result.kind in ("distances", "damage") and not run.precomputed
    return _read(run.result.kind, run.key, str(store.cache_dir()), run.saved_at) if wanted else {}


@st.cache_data(max_entries=16, show_spinner=False)
def _read(kind: str, key: str, cache: str, saved_at: float) -> dict[str, Any]:
    """Every argument is part of the cache key."""
    try:
        stored = store.load_result(kind, key)
    except CorruptResultError:
        return {}
    return {name: array for name, array in RESULTS[kind].arrays_in(stored).items() if name in _KEPT} if stored else {}
