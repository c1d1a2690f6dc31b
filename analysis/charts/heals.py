"""Plotly figures of a heal: its training, and the unpruned, pruned and healed model side by
side.
"""

from html import escape

from plotly.graph_objs import Figure

from analysis.charts.look import (
    ACCURACY,
    LOSS,
    Palette,
    add_level,
    add_levels,
    bars,
    finish,
    palette,
    with_interval,
)
from analysis.core import stats
from analysis.data import corpora
from analysis.experiments.heal.heal_result import HealResult


def training_curve(heal: HealResult, *, dark: bool = False, height: int = 320) -> Figure:
    """Draw the training loss of each step, and the loss of the checks with that of the unpruned
    model.
    """
    colours = palette(dark)
    figure = Figure()
    ends = validation_intervals(heal)
    figure.add_scatter(
        x=[step.step for step in heal.steps],
        y=[step.loss for step in heal.steps],
        mode="lines",
        name=_trained_on(heal),
        line={"color": colours.healed, "width": 1.2},
        opacity=0.55,
        hovertemplate="step %{x}<br>training loss %{y:.4f}<extra></extra>",
    )
    figure.add_scatter(
        x=[check.step for check in heal.validations],
        y=[check.loss for check in heal.validations],
        error_y=bars([check.loss for check in heal.validations], ends),
        mode="lines+markers",
        name=f"loss on {escape(other_texts(heal)) or 'held-out text'}",
        line={"color": colours.healed, "width": 2.2},
        marker={"size": 7},
        text=[
            with_interval(check.loss, end, ".4f")
            for check, end in zip(heal.validations, ends, strict=True)
        ],
        customdata=_moments(heal),
        hovertemplate="%{customdata}<br>loss %{text}<extra></extra>",
    )
    if heal.unpruned_check is not None:  # on the texts of the checks
        add_level(figure, "unpruned", heal.unpruned_check.loss, colours.unpruned, "dash", ".4f")
    return finish(
        figure,
        height,
        x=_steps(heal, colours),
        y={"title": "loss, nats per token", "gridcolor": colours.grid},
    )


def validation_intervals(heal: HealResult) -> list[tuple[float, float] | None]:
    """Return the 95 % interval of the loss of each check; older runs were checked on their
    evaluation texts.
    """
    n_judging_texts = next(
        (
            point.n_texts
            for point in (heal.unpruned, heal.pruned, heal.healed)
            if point and point.n_texts
        ),
        0,
    )
    n_texts = heal.n_choice_texts or n_judging_texts
    return [
        stats.mean_interval(check.loss, check.loss_stderr, n_texts) for check in heal.validations
    ]


def _trained_on(heal: HealResult) -> str:
    """Return the texts of the training loss, and its share of distillation, which has another scale
    than the checks.
    """
    share = f", {heal.spec.distill:.0%} distillation" if heal.spec.distill else ""
    return f"training loss on {escape(corpora.title(heal.spec.corpus))}{share}"


def _moments(heal: HealResult) -> list[str]:
    """Return when each check was made: two checks at step 0 are those before and after the instant
    heal.
    """
    return ["pruned model", *(moment(check.step) for check in heal.validations[1:])][
        : len(heal.validations)
    ]


def moment(step: int) -> str:
    """Return a phrase for the time of a check or continuation of the healing model, such as "after
    step 40".
    """
    return f"after step {step}" if step else "after the instant heal"


def other_texts(heal: HealResult) -> str:
    """Return the texts of the checks during training; "" if there are too few to differ from the
    evaluation texts.
    """
    return (
        f"{heal.n_choice_texts} other texts of {corpora.title(heal.spec.validation)}"
        if heal.n_choice_texts
        else ""
    )


def gap(heal: HealResult, *, dark: bool = False) -> Figure:
    """Draw the remaining loss increase at the last check, as a bar between the unpruned and the
    pruned loss.
    """
    assert heal.unpruned_check is not None, "the unpruned model is not measured"
    colours = palette(dark)
    unpruned = heal.unpruned_check.loss
    pruned = heal.validations[0].loss
    now = heal.validations[-1].loss
    figure = Figure()
    for name, loss, colour, width in (
        ("pruned", pruned, colours.pruned, 0.9),
        ("now", now, colours.healed, 0.5),
    ):
        figure.add_bar(
            x=[loss - unpruned],
            y=[""],
            base=unpruned,
            width=width,
            orientation="h",
            name=name,
            marker={"color": colour, "opacity": 0.3 if name == "pruned" else 1},
            hovertemplate=f"{name}<br>loss {loss:.4f}<extra></extra>",
        )
    losses = {
        "unpruned": unpruned,
        "now" if len(heal.validations) > 1 else "pruned": now,
        "pruned": pruned,
    }
    x = {
        "tickvals": list(losses.values()),
        "ticktext": [f"{name}<br>{loss:.2f}" for name, loss in losses.items()],
    }
    margin = {"l": 40, "r": 40, "t": 4, "b": 36}
    return finish(
        figure,
        92,
        x=x,
        y={"showticklabels": False},
        margin=margin,
        barmode="overlay",
        showlegend=False,
    )


def _steps(heal: HealResult, colours: Palette) -> dict:
    total = max(1, heal.total_steps)
    return {
        "title": "optimizer step",
        "range": [-0.02 * total, total * 1.02],
        "gridcolor": colours.grid,
    }


def heal_comparison(
    heal: HealResult,
    field: str,
    *,
    control: HealResult | None = None,
    dark: bool = False,
    height: int = 260,
) -> Figure:
    """Draw the unpruned, pruned and healed model side by side with their 95 % intervals.

    Args:
        heal: the result.
        field: "acc" or "loss".
        control: the unpruned model trained in the same way, if that was done.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    measure = ACCURACY if field == "acc" else LOSS
    figure = Figure()
    if measure is ACCURACY:
        add_levels(figure, heal.lines, colours)
    own_bar = ("control" if heal.spec.control else "healed", heal.healed, colours.healed)
    kinds = [
        ("unpruned", heal.unpruned, colours.unpruned),
        ("pruned", heal.pruned, colours.pruned),
        own_bar,
    ]
    if heal.spec.control:
        kinds = [kinds[0], own_bar]
    elif control is not None:
        kinds.append(("control", control.healed, colours.unpruned))
    for index, (name, point, colour) in enumerate(kinds):
        if point is None or measure.value(point) is None:
            continue
        figure.add_scatter(
            x=[index],
            y=[measure.value(point)],
            error_y=measure.bars([point], width=8),
            mode="markers+text",
            name=name,
            marker={"color": colour, "size": 13},
            text=[f"{measure.value(point):{measure.label}}"],
            textposition="middle right",
            hovertemplate=f"{name}<br>{measure.hover(point)}<extra></extra>",
            showlegend=False,
        )
    places = list(range(len(kinds)))
    x = {
        "tickvals": places,
        "ticktext": [name for name, _, _ in kinds],
        "range": [-0.4, places[-1] + 0.9],
    }
    x |= {"showgrid": False, "tickfont": {"size": 11}}
    y = {"title": measure.axis, "tickformat": measure.tickformat, "gridcolor": colours.grid}
    return finish(
        figure, height, x=x, y=y, margin={"b": 52}
    )  # names are slanted in a narrow window
