"""Plotly figures of a heal: its training, and the unpruned, pruned and healed model side by side."""

from plotly.graph_objs import Figure

from analysis.drawing import finish, palette
from analysis.measures import ACCURACY, LOSS, add_level, add_levels
from analysis.results import HealResult


def training_curve(heal: HealResult, *, dark: bool = False, height: int = 320) -> Figure:
    """Training loss of each step, and the loss on held-out text on the way."""
    colours = palette(dark)
    figure = Figure()
    figure.add_scatter(
        x=[step.step for step in heal.steps],
        y=[step.loss for step in heal.steps],
        mode="lines",
        name="training loss",
        line={"color": colours.healed, "width": 1.2},
        opacity=0.55,
        hovertemplate="step %{x}<br>training loss %{y:.4f}<extra></extra>",
    )
    figure.add_scatter(
        x=[check.step for check in heal.validations],
        y=[check.loss for check in heal.validations],
        error_y={
            "type": "data",
            "array": [check.loss_stderr for check in heal.validations],
            "thickness": 1,
            "width": 2,
        },
        mode="lines+markers",
        name="loss on held-out text",
        line={"color": colours.healed, "width": 2.2},
        marker={"size": 7},
        hovertemplate="after step %{x}<br>held-out loss %{y:.4f}<extra></extra>",
    )
    if heal.unpruned is not None:
        add_level(figure, "unpruned", heal.unpruned.loss, colours.unpruned, "dash", ".4f")
    x = {"title": "optimizer step", "range": [-0.02 * heal.spec.steps, heal.spec.steps * 1.02], "gridcolor": colours.grid}
    return finish(figure, height, x=x, y={"title": "loss, nats per token", "gridcolor": colours.grid})


def heal_comparison(heal: HealResult, field: str, *, dark: bool = False, height: int = 260) -> Figure:
    """Unpruned, pruned and healed side by side with their standard errors.

    Args:
        heal: the result.
        field: "acc" or "loss".
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    measure = ACCURACY if field == "acc" else LOSS
    figure = Figure()
    if measure is ACCURACY:
        add_levels(figure, heal.lines, colours)
    kinds = (
        ("unpruned", heal.unpruned, colours.unpruned),
        ("pruned", heal.pruned, colours.pruned),
        ("healed", heal.healed, colours.healed),
    )
    for index, (name, point, colour) in enumerate(kinds):
        if point is None or measure.value(point) is None:
            continue
        figure.add_scatter(
            x=[index],
            y=[measure.value(point)],
            error_y=measure.error_bars([point], width=8),
            mode="markers+text",
            name=name,
            marker={"color": colour, "size": 13},
            text=[f"{measure.value(point):{measure.label}}"],
            textposition="middle right",
            hovertemplate=f"{name}<br>{measure.hover(point)}<extra></extra>",
            showlegend=False,
        )
    x = {"tickvals": [0, 1, 2], "ticktext": [name for name, _, _ in kinds], "range": [-0.5, 2.7], "showgrid": False}
    y = {"title": measure.axis, "tickformat": measure.tickformat, "gridcolor": colours.grid}
    return finish(figure, height, x=x, y=y)
