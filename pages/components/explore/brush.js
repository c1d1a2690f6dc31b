// A range of n is chosen by a mouse or a pen that is dragged across a curve, or up and down a map; a finger scrolls the page.
// The server hears of it once it is let go. Whoever moves less than plotly's own threshold has clicked a point.

const CLICK_PX = 8;
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

class Brush {
  constructor() {
    this.listeners = Object.entries({
      pointerdown: event => this.begin(event),
      pointermove: event => this.drag && this.move(event),
      pointerup: () => this.drag && this.finish(),
      pointercancel: () => this.drop(),
      keydown: event => event.key === "Escape" && this.drop(),
    });
    this.listeners.forEach(([name, heard]) => document.addEventListener(name, heard, true));
  }

  take(data, tell) {
    this.data = data;
    this.tell = tell;
  }

  begin(event) {
    this.drop();
    const plot = event.target.closest?.(".nsewdrag");
    if (event.pointerType === "touch" || event.button !== 0 || !plot) return;
    for (const [key, along] of Object.entries(this.data.charts)) {
      const chart = plot.closest(`.st-key-${key} .js-plotly-plot`);
      if (chart && (along === "x" || chart.data[0].type === "heatmap")) {
        this.drag = { along, frame: chart.querySelector(".svg-container"), layout: chart._fullLayout, from: this.place(event, along) };
      }
    }
  }

  place(event, along) {
    return along === "x" ? event.clientX : event.clientY;
  }

  move(event) {
    const { along, frame, layout, from } = this.drag;
    const to = this.place(event, along);
    if (!this.drag.shade && Math.abs(to - from) < CLICK_PX) return;
    const box = frame.getBoundingClientRect(), axis = layout[`${along}axis`], before = along === "x" ? box.left : box.top;
    const [low, high] = this.data.ends[along];
    const n = place => clamp(Math.round(axis.p2l(place - before - axis._offset)), low, high);
    this.drag.range = [n(from), n(to)].sort((one, other) => one - other);
    const [start, end] = this.drag.range.map((at, last) => axis.l2p(at + (last ? 0.5 : -0.5)) + axis._offset);
    this.shade({ start: Math.min(start, end), length: Math.abs(end - start) });
  }

  shade({ start, length }) {
    const { along, frame, layout } = this.drag;
    if (!this.drag.shade) {
      this.drag.shade = frame.appendChild(Object.assign(document.createElement("div"), { className: "n-range" }));
    }
    const across = along === "x" ? layout.yaxis : layout.xaxis;
    const sides = along === "x" ? ["left", "width", "top", "height"] : ["top", "height", "left", "width"];
    const lengths = [start, length, across._offset, across._length];
    this.drag.shade.style.cssText = `position:absolute;pointer-events:none;background:${this.data.look};opacity:.2;`
      + sides.map((side, place) => `${side}:${lengths[place]}px`).join(";");
  }

  finish() {
    const range = this.drag.range;
    this.drop();
    if (range && range[0] < range[1]) this.tell("range", range.join("-"));
  }

  drop() {
    this.drag?.shade?.remove();
    this.drag = null;
  }

  end() {
    this.drop();
    this.listeners.forEach(([name, heard]) => document.removeEventListener(name, heard, true));
  }
}

export default function({ parentElement, data, setTriggerValue }) {
  const here = parentElement.host ?? parentElement;
  here.brush ??= new Brush();
  here.brush.take(data, setTriggerValue);
  return () => { here.brush?.end(); here.brush = null; };
}
