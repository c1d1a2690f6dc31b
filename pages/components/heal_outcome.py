"""What a heal brought: unpruned, pruned and healed side by side."""

import streamlit as st

from analysis import heal_figures, storage, uncertainty
from analysis.results import HealResult, Point
from pages.components import chart, heal_live, theme, words


def show(result: HealResult) -> None:
    """Draw the comparison, the curve, where the adapter lies, and the numbers to download."""
    _table(result)
    for said in _paired(result):
        st.caption(said)
    left, right = st.columns(2, gap="medium")
    for column, field, name in ((left, "acc", "accuracy"), (right, "loss", "loss")):
        with column:
            figure = heal_figures.heal_comparison(result, field, dark=theme.is_dark())
            alt = f"Unpruned, pruned and healed {name}, with standard errors."
            chart.show(figure, key=f"compare-{field}", alt=alt, file_name=f"healed-{name}")
    if result.spec.steps:
        heal_live.curve(result)
    _adapter(result)
    st.caption(_provenance(result))
    with st.expander("Data behind the charts", icon=":material/table:"):
        rows = [{"step": s.step, "loss": s.loss, "learning_rate": s.learning_rate, "tokens_per_s": s.tokens_per_s,
                 "memory_bytes": s.memory_bytes} for s in result.steps]  # fmt: skip
        chart.table(rows, key="t-steps", alt="Training by step", file_name="healing-steps", formats={"learning_rate": "%.2e"})
        checks = [{"step": v.step, "loss": v.loss, "loss_stderr": v.loss_stderr} for v in result.validations]
        chart.table(checks, key="t-checks", alt="Held-out loss by step", file_name="healing-held-out")


def _adapter(result: HealResult) -> None:
    """Where the adapter lies; that of a precomputed heal stayed where it was made."""
    if not result.adapter:
        return
    folder = storage.cache_dir() / result.adapter
    if folder.is_dir():
        st.caption("Adapter, a standard PEFT folder:")
        st.code(str(folder), language=None)
    else:
        st.caption("The adapter of this heal is not on this machine; start the same heal to make it.")


def _table(result: HealResult) -> None:
    rows = []
    for name, point in (("unpruned", result.unpruned), ("pruned", result.pruned), ("healed", result.healed)):
        accuracy, loss = words.scores(point)
        rows.append(
            {
                "model": name,
                "layers": result.model.n_layers - (point.n if point else result.spec.block.size),
                "accuracy ± se": accuracy,
                "loss ± se, nats per token": loss,
                "loss repaired": _repaired(result, point) if name == "healed" else "",
                "questions": point.n_samples if point else 0,
            }
        )
    st.table(rows, border="horizontal", hide_index=True, alt="Unpruned, pruned and healed model")


def _paired(result: HealResult) -> list[str]:
    """Healed against pruned and unpruned, on the same texts and the same questions."""
    said = []
    for other in ("pruned", "unpruned"):
        parts = []
        losses = [result.text_losses.get(name, []) for name in (other, "healed")]
        if losses[0] and len(losses[0]) == len(losses[1]):
            mean, low, high = uncertainty.compare_losses(*losses)
            parts.append(f"loss {mean:+.2f} nats (95 % interval {low:+.2f} to {high:+.2f}) on the same texts")
        answers = [result.questions.get(name, []) for name in (other, "healed")]
        if all(answers):
            pair = uncertainty.compare(*answers)
            parts.append(
                f"accuracy {100 * pair.difference:+.1f} points ({100 * pair.low:+.1f} to {100 * pair.high:+.1f}, exact McNemar "
                f"p = {pair.p_value:.2g}) on the same questions"
            )
        if parts:
            said.append(f"Healed against {other}: {'; '.join(parts)}.")
    return said


def _repaired(result: HealResult, point: Point | None) -> str:
    """Share of the loss that pruning added and healing took away again."""
    points = (result.unpruned, result.pruned, point)
    if any(p is None or p.loss is None for p in points):
        return "–"
    unpruned, pruned, healed = (p.loss for p in points if p and p.loss is not None)
    return words.percent((pruned - healed) / (pruned - unpruned)) if pruned > unpruned else "–"


def _junction(result: HealResult) -> str:
    """What the instant heal did, in a sentence; empty without one."""
    done = result.junction
    if done is None:
        return ""
    if not done.strength:
        return "Instant heal: no share of the fitted change lowered the loss, so it was left out. "
    return (
        f"Instant heal: {done.strength:.0%} of the fitted change of {done.module}, {words.count(done.n_tokens)} tokens, "
        f"{words.duration(done.wall_s)}; loss {done.loss_before:.2f} → {done.loss_after:.2f} on text that it was chosen on. "
    )


def _provenance(result: HealResult) -> str:
    spec = result.spec
    return _junction(result) + (
        f"{len(result.steps)} steps of {spec.batch_size * spec.gradient_accumulation} × {spec.corpus.seq_len} tokens of "
        f"{words.texts(spec.corpus)}, rank {spec.r}, peak learning rate {spec.learning_rate:.1e}, "
        f"{words.count(result.trainable_parameters)} trainable parameters, base in {result.precision}, seed {spec.seed}, "
        f"{words.duration(result.wall_s)}. Held-out text was never trained on."
    )
