// The selected block on charts: a ring at its own value, and a small triangle on the axis at the number of removed layers.
// The marks lie over the charts, so that they follow slider and strip while these are dragged without a chart being redrawn.
// Panels that show a block as well follow the event "layerscope-selected": {key, n} while the browser is ahead of the server,
// else null.

const SVG = "http://www.w3.org/2000/svg";
const UNMEASURED = "Not measured";
const RING = [["outer", 8], ["inner", 6]]; // two circles, seen on dark and on light cells alike

const written = blocks => blocks.map(block => block.join(":")).join("+");
const parsed = key => key.split("+").map(run => run.split(":").map(Number)).filter(run => run.length === 2 && run.every(Number.isInteger));
const within = (axis, at) => at >= axis._offset - 0.5 && at <= axis._offset + axis._length + 0.5;
const pixel = (axis, value) => axis._offset + axis.d2p(value);

function shape(name, fields, text = "") {
  const made = document.createElementNS(SVG, name);
  Object.entries(fields).forEach(([field, value]) => made.setAttribute(field, value));
  made.textContent = text;
  return made;
}

// Places of blocks that the chart itself names, by START:SIZE.
const places = new WeakMap();
function named(chart) {
  const cells = chart.data?.find(trace => trace.name === "cells");
  if (!cells) return new Map();
  if (!places.has(cells)) {
    const at = (list, index) => (list._inputArray ?? list)[index];
    places.set(cells, new Map(cells.customdata.map((fields, index) => [fields[0], [at(cells.x, index), at(cells.y, index)]])));
  }
  return places.get(cells);
}

// Where the block is measured on a chart. On a map every run of layers has a cell; a line has a value of a whole block only.
function measured(chart, mark, { n, key, blocks }) {
  if (n && !key) return []; // layers that are not known
  if (mark.points) return mark.points[key] ?? [];
  if (chart.data[0].type !== "heatmap" && blocks.length > 1) return [];
  return blocks.map(block => named(chart).get(block.join(":"))).filter(Boolean);
}

// In the corner of the plot where it covers no label and the fewest points, and below a color bar.
function note(chart, look) {
  const { xaxis, yaxis } = chart._fullLayout, width = wide(UNMEASURED, look), height = 17 * look.scale, gap = 3;
  const points = chart.calcdata.flat().filter(one => Number.isFinite(one.x) && Number.isFinite(one.y))
    .map(one => [xaxis._offset + xaxis.c2p(one.x), yaxis._offset + yaxis.c2p(one.y)]);
  const right = xaxis._offset + xaxis._length - width - gap, bottom = yaxis._offset + yaxis._length - height - gap;
  const bar = chart.querySelector(".colorbar")?.getBoundingClientRect(), { top, left } = chart.getBoundingClientRect();
  const labels = [...chart.querySelectorAll(".annotation")].map(one => one.getBoundingClientRect());
  const corners = [bar ? bar.bottom - top + gap : yaxis._offset + gap, bottom]
    .flatMap(y => [right, xaxis._offset + gap].map(x => ({ x, y })));
  const covered = ({ x, y }) => points.filter(([across, up]) =>
    across > x - 8 && across < x + width + 8 && up > y - 8 && up < y + height + 8).length
    + (1 + points.length) * labels.filter(label => label.left - left < x + width && label.right - left > x
      && label.top - top < y + height && label.bottom - top > y).length;
  const place = corners.reduce((best, corner) => covered(corner) < covered(best) ? corner : best);
  return label(UNMEASURED, place.x, place.y, look);
}

const wide = (text, look) => 6.1 * text.length * look.scale;

function label(said, x, y, look) {
  const width = wide(said, look), height = 17 * look.scale;
  const box = { x, y, width, height, rx: 3, fill: look.paper, opacity: 0.9 };
  const text = { x: x + width / 2, y: y + height / 2, "text-anchor": "middle", "dominant-baseline": "central", fill: look.quiet, "font-size": 11 * look.scale };
  return [shape("rect", box), shape("text", text, said)];
}

function shapes(chart, mark, cut, look) {
  const { xaxis, yaxis } = chart._fullLayout, bottom = yaxis._offset + yaxis._length;
  const found = measured(chart, mark, cut), drawn = [];
  const x = mark.guide ? pixel(xaxis, cut.n) : null, high = 6 * look.scale;
  if (x !== null && within(xaxis, x)) {
    drawn.push(shape("path", { d: `M${x - high},${bottom}L${x + high},${bottom}L${x},${bottom - 1.2 * high}Z`, fill: look.line }));
  }
  if (!found.length && cut.n && !(mark.guide && !within(xaxis, x))) {
    drawn.push(...note(chart, look));
  }
  const rings = found.map(([across, up]) => [pixel(xaxis, across), pixel(yaxis, up)])
    .filter(([cx, cy]) => within(xaxis, cx) && within(yaxis, cy));
  const circles = RING.flatMap(([name, r]) => rings.map(([cx, cy]) =>
    shape("circle", { cx, cy, r: r * look.scale, stroke: look[name], "stroke-width": 3 * look.scale, fill: "none" })));
  const [first] = look.note && !mark.points ? rings : [];
  const right = xaxis._offset + xaxis._length - wide(look.note, look);
  return [...drawn, ...circles, ...(first ? label(look.note, Math.min(first[0] + 16, right), first[1] - 32, look) : [])];
}

function put(chart, mark, cut, look) {
  const frame = chart.querySelector(".svg-container"), layout = chart._fullLayout;
  if (!frame || !layout?.xaxis?._length || !layout.yaxis?._length) return;
  let svg = frame.querySelector(":scope > .cut-mark");
  if (!svg) {
    svg = shape("svg", { class: "cut-mark", "aria-hidden": "true" });
    svg.style.cssText = "position:absolute;left:0;top:0;pointer-events:none";
    const above = frame.querySelectorAll(":scope > .main-svg")[1];
    frame.insertBefore(svg, above ?? null);
  }
  const drawn = shapes(chart, mark, cut, look);
  const wanted = drawn.map(one => one.outerHTML).join("");
  const said = { drawn: wanted, ring: wanted.includes("<circle") ? cut.key : "", at: mark.guide ? String(cut.n) : "" };
  if (!mark.guide) said.at = said.ring;
  if (svg.dataset.drawn === wanted && svg.dataset.at === said.at && svg.dataset.ring === said.ring) return;
  svg.setAttribute("width", layout.width);
  svg.setAttribute("height", layout.height);
  Object.assign(svg.dataset, said);
  svg.replaceChildren(...drawn);
}

export default function({ parentElement, data }) {
  const here = parentElement.host ?? parentElement;
  here.stopMarking?.();
  let waiting = false, onStrip = null;
  let told; // nothing yet: panels hear of the first state, too, since they may follow a drag that this part has forgotten
  const now = () => {
    if (onStrip) return { n: onStrip.n, blocks: onStrip.blocks, key: written(onStrip.blocks) };
    const n = Number(document.querySelector(`.st-key-${data.slider} input[type=range]`)?.value ?? data.n);
    if (n === data.n) return { n, blocks: data.blocks, key: data.cut };
    const key = data.path[n] ?? "";
    return { n, blocks: key ? parsed(key) : [], key };
  };
  const draw = () => {
    waiting = false;
    const cut = now(), ahead = cut.key !== data.cut || cut.n !== data.n ? `${cut.n} ${cut.key}` : null;
    for (const [key, mark] of Object.entries(data.marks)) {
      document.querySelectorAll(`.st-key-${key} .js-plotly-plot`).forEach(chart => put(chart, mark, cut, data.look));
    }
    if (ahead === told) return;
    told = ahead;
    document.dispatchEvent(new CustomEvent("layerscope-selected", { detail: ahead && { key: cut.key, n: cut.n } }));
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
