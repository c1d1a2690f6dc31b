"""The cut on charts that stay as they are when it moves: a line at n on curves, rings around blocks on maps.

A chart whose figure changes is taken away and drawn anew, which takes a browser most of a third of a second for the charts of
one view. The marks are therefore no part of the figures; they are drawn over them, and follow the slider and the strip of
layers while these are dragged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from analysis.charts.look import PATH, palette
from analysis.core.blocks import Removal
from analysis.experiments.maps.spec import Best
from pages.components.shared import state, theme

# Every chart gets one SVG below its hover layer. It is placed again whenever a chart is drawn, and a chart that does not show
# the place (a map of smaller blocks, lines instead of a map) gets no mark.
_SCRIPT = """
const SVG = "http://www.w3.org/2000/svg";
const shape = (name, fields) => {
  const made = document.createElementNS(SVG, name);
  Object.entries(fields).forEach(([field, value]) => made.setAttribute(field, value));
  return made;
};
const within = (axis, at) => at >= axis._offset - 0.5 && at <= axis._offset + axis._length + 0.5;

function shapes(mark, {xaxis, yaxis}, look) {
  const across = x => xaxis._offset + xaxis.l2p(x);
  if (mark.n !== null) {
    const x = across(mark.n), y1 = yaxis._offset, y2 = y1 + yaxis._length;
    const line = {x1: x, x2: x, y1, y2, stroke: look.line, "stroke-width": 1.2 * look.scale, opacity: 0.75};
    return within(xaxis, x) ? [shape("line", line)] : [];
  }
  return mark.blocks.map(([start, size]) => [across(start), yaxis._offset + yaxis.l2p(size)])
    .filter(([x, y]) => within(xaxis, x) && within(yaxis, y))
    .flatMap(([cx, cy]) => [[7.5, look.outer], [5.5, look.inner]].map(([r, stroke]) =>
      shape("circle", {cx, cy, r: r * look.scale, stroke, "stroke-width": 3 * look.scale, fill: "none"})));
}

function put(chart, mark, look) {
  const frame = chart.querySelector(".svg-container"), layout = chart._fullLayout;
  if (!frame || !layout?.xaxis?._length || !layout.yaxis?._length) return;
  let svg = frame.querySelector(":scope > .cut-mark");
  if (!svg) {
    svg = shape("svg", {class: "cut-mark", "aria-hidden": "true"});
    svg.style.cssText = "position:absolute;left:0;top:0;pointer-events:none";
    const above = frame.querySelectorAll(":scope > .main-svg")[1];
    frame.insertBefore(svg, above ?? null);
  }
  const drawn = mark.n !== null || chart.data[0].type === "heatmap" ? shapes(mark, layout, look) : [];
  const wanted = drawn.map(one => one.outerHTML).join("");
  if (svg.dataset.drawn === wanted) return;
  svg.setAttribute("width", layout.width);
  svg.setAttribute("height", layout.height);
  svg.dataset.drawn = wanted;
  svg.dataset.at = drawn.length ? mark.n ?? mark.blocks.map(block => block.join(":")).join("+") : "";
  svg.replaceChildren(...drawn);
}

export default function({ parentElement, data }) {
  const here = parentElement.host ?? parentElement;
  here.stopMarking?.();
  let waiting = false, onStrip = null;
  const dragged = () => {
    const n = Number(document.querySelector(`.st-key-${data.slider} input[type=range]`)?.value ?? data.n);
    if (onStrip) return mark => mark.n === null ? { n: null, blocks: onStrip.blocks } : { n: onStrip.n, blocks: [] };
    return n === data.n ? mark => mark
      : mark => mark.n === null ? { n: null, blocks: data.path.filter(([, size]) => size === n) } : { n, blocks: [] };
  };
  const draw = () => {
    waiting = false;
    const now = dragged();
    for (const [key, mark] of Object.entries(data.marks)) {
      document.querySelectorAll(`.st-key-${key} .js-plotly-plot`).forEach(chart => put(chart, now(mark), data.look));
    }
  };
  const look = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  };
  const watcher = new MutationObserver(look);
  const page = document.querySelector("[data-testid=stMain]") ?? document.body;
  watcher.observe(page, { childList: true, characterData: true, subtree: true });
  const follow = event => { onStrip = event.detail; look(); };
  document.addEventListener("layerscope-cut", follow);
  draw();
  return here.stopMarking = () => { watcher.disconnect(); document.removeEventListener("layerscope-cut", follow); };
}
"""
_marker = st.components.v2.component("layerscope_cut_marks", js=_SCRIPT)


@dataclass(frozen=True)
class Mark:
    """What is marked on one chart: a number of removed layers, or else blocks as (start, size)."""

    n: int | None = None
    blocks: Sequence[tuple[int, int]] = ()


def of_blocks(removed: Removal | None) -> Mark:
    """Rings around each unbroken run of removed layers."""
    runs = removed.blocks if removed else []
    return Mark(blocks=[(run.start, run.size) for run in runs])


def show(marks: Mapping[str, Mark], *, slider: str, n: int, path: Sequence[Best]) -> None:
    """Mark charts, now and whenever they are drawn again; takes no place of its own.

    Args:
        marks: by key of the chart.
        slider: key of the slider for n.
        n: where it stands, as far as the server knows; while it is dragged, the marks are those of the number it shows.
        path: the blocks to ring then.
    """
    scale = theme.LARGER if state.presenting() else 1.0
    look = {"line": palette(theme.is_dark()).marker, "outer": "#ffffff", "inner": PATH, "scale": scale}
    told = {"marks": {key: asdict(mark) for key, mark in marks.items()}, "look": look, "slider": slider, "n": n}
    _marker(key="cut-marks", data={**told, "path": [(best.start, best.n) for best in path]})
