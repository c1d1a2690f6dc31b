// A range of n is chosen by a mouse or a pen that is dragged across a curve; a finger scrolls the page.
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
    const plot = event.target.closest?.(".nsewdrag"), isFinger = event.pointerType === "touch";
    for (const key of this.data.charts) {
      const chart = plot?.closest(`.st-key-${key} .js-plotly-plot`);
      if (!chart) continue;
      chart._fullLayout.dragmode = isFinger ? false : "pan"; // otherwise plotly keeps a finger from scrolling
      if (!isFinger && event.button === 0) this.drag = { frame: chart.querySelector(".svg-container"), layout: chart._fullLayout, from: event.clientX };
    }
  }

  move(event) {
    const { frame, layout: { xaxis, yaxis }, from } = this.drag;
    if (!this.drag.shade && Math.abs(event.clientX - from) < CLICK_PX) return;
    const left = frame.getBoundingClientRect().left + xaxis._offset;
    const n = x => clamp(Math.round(xaxis.p2l(x - left)), 0, this.data.last);
    const [first, last] = this.drag.range = [n(from), n(event.clientX)].sort((one, other) => one - other);
    const start = xaxis.l2p(first - 0.5), end = xaxis.l2p(last + 0.5);
    this.drag.shade ??= frame.appendChild(Object.assign(document.createElement("div"), { className: "n-range" }));
    this.drag.shade.style.cssText = `position:absolute;pointer-events:none;background:${this.data.look};opacity:.2;`
      + `left:${start + xaxis._offset}px;width:${end - start}px;top:${yaxis._offset}px;height:${yaxis._length}px`;
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
