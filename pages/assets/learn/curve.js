// A curve, or bars, that one draws: a value for every place, by pointer, finger or keyboard. Nothing of the measurement is here.
const SVG = "http://www.w3.org/2000/svg";
const make = (name, fields = {}, parent = null) => {
  const made = document.createElementNS(SVG, name);
  Object.entries(fields).forEach(([field, value]) => made.setAttribute(field, value));
  parent?.append(made);
  return made;
};
const LEFT = 66, RIGHT = 10, TOP = 10, BOTTOM = 44, HANDLE = 20;

class Drawing {
  constructor(root, data, tell) {
    Object.assign(this, { root, data, tell });
    this.values = [...data.values];
    this.mark = data.mark?.place ?? null;
    this.at = data.fixed;
    this.svg = root.querySelector("svg");
    this.live = root.querySelector(".said");
    this.watcher = new ResizeObserver(() => this.build());
    this.watcher.observe(root.querySelector(".drawing"));
    this.svg.onpointerdown = event => this.press(event);
    this.svg.onpointermove = event => this.drag(event);
    this.svg.onpointerup = this.svg.onpointercancel = () => this.release();
    this.build();
  }

  get slots() { return this.data.places.length + (this.data.mark ? 1 : 0); }
  x(place) { return LEFT + (place + 0.5) * (this.width - LEFT - RIGHT) / this.slots; }
  y(value) { return TOP + (this.data.high - value) * this.tall / (this.data.high - this.data.low); }
  said(value) {
    const { percent, digits, unit } = this.data;
    return percent ? `${Math.round(100 * value)} %` : `${value.toFixed(digits)}${unit}`;
  }
  rounded(value) {
    const { low, high, step } = this.data;
    return Math.max(low, Math.min(high, Number((Math.round(value / step) * step).toFixed(6))));
  }

  build() {
    const width = this.root.querySelector(".drawing").clientWidth;
    if (!width || width === this.width) return;
    const { data } = this, focused = this.root.activeElement?.dataset?.place;
    Object.assign(this, { width, height: data.height, tall: data.height - TOP - BOTTOM - (data.mark ? HANDLE : 0) });
    this.svg.setAttribute("viewBox", `0 0 ${width} ${data.height}`);
    this.svg.setAttribute("height", data.height);
    this.svg.replaceChildren();
    const frame = make("g", { class: "frame", "aria-hidden": "true" }, this.svg);
    for (const tick of data.ticks) {
      make("line", { x1: LEFT, x2: width - RIGHT, y1: this.y(tick), y2: this.y(tick), class: "grid" }, frame);
      make("text", { x: LEFT - 8, y: this.y(tick) + 4, "text-anchor": "end" }, frame).textContent = this.said(tick);
    }
    for (const { name, value } of data.levels) {
      make("line", { x1: LEFT, x2: width - RIGHT, y1: this.y(value), y2: this.y(value), class: "level" }, frame);
      make("text", { x: width - RIGHT, y: this.y(value) - 5, "text-anchor": "end", class: "of-level" }, frame).textContent = name;
    }
    const bottom = TOP + this.tall, room = (width - LEFT - RIGHT) / this.slots;
    const lines = data.places.map(name => name.split(/ (.*)/, 2)); // "trained 8 min" on two lines
    const every = Math.ceil((6 * Math.max(...lines.flat().map(line => line.length)) + 10) / room);
    lines.forEach((name, place) => name.forEach((line, index) => {
      if (place % every === 0) {
        make("text", { x: this.x(place), y: bottom + 18 + 15 * index, "text-anchor": "middle" }, frame).textContent = line;
      }
    }));
    make("text", { x: (LEFT + width - RIGHT) / 2, y: data.height - 4, "text-anchor": "middle" }, frame).textContent = data.axis;
    const middle = TOP + this.tall / 2, turned = `rotate(-90 14 ${middle})`;
    make("text", { x: 14, y: middle, "text-anchor": "middle", transform: turned }, frame).textContent = data.vertical;
    this.area = make("rect", { x: LEFT, y: TOP, width: width - LEFT - RIGHT, height: this.tall, class: "area" }, this.svg);
    this.line = make("path", { class: "line", "aria-hidden": "true" }, this.svg);
    this.points = data.places.map((name, place) => this.point(name, place));
    if (data.mark) this.buildMark(bottom);
    this.paint();
    if (focused) this.points[focused]?.focus();
  }

  point(name, place) {
    const shape = this.data.bars ? make("rect", { rx: 2 }, this.svg) : make("circle", { r: 5 }, this.svg);
    if (place < this.data.fixed) {
      shape.setAttribute("class", "given");
      shape.setAttribute("aria-hidden", "true");
      return shape;
    }
    shape.setAttribute("role", "slider");
    shape.setAttribute("aria-orientation", "vertical");
    shape.setAttribute("aria-label", `${this.data.one} ${name}`.trim());
    shape.setAttribute("aria-valuemin", this.data.low);
    shape.setAttribute("aria-valuemax", this.data.high);
    shape.dataset.place = place;
    shape.onkeydown = event => this.key(event, place);
    shape.onfocus = () => { this.at = place; this.paint(); };
    shape.onblur = () => this.flush();
    return shape;
  }

  buildMark(bottom) {
    const { mark } = this.data;
    this.markLine = make("line", { y1: TOP, y2: bottom, class: "mark" }, this.svg);
    const none = make("text", { x: this.x(this.slots - 1), y: bottom + 18, "text-anchor": "middle", class: "none", "aria-hidden": "true" }, this.svg);
    none.textContent = "none";
    this.handle = make("path", {
      class: "handle", role: "slider", tabindex: 0, "aria-label": mark.label, "aria-valuemin": 1, "aria-valuemax": this.slots - 1,
    }, this.svg);
    this.handle.onkeydown = event => {
      const to = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -99, End: 99 }[event.key];
      if (!to) return;
      event.preventDefault();
      this.moveMark((this.mark ?? 0) + to);
      this.soon();
    };
    this.handle.onblur = () => this.flush();
    this.markBottom = bottom;
  }

  value(place) {
    for (let before = place; before >= 0; before -= 1) if (this.values[before] !== null) return this.values[before];
    return (this.data.low + this.data.high) / 2;
  }

  paint() {
    const { bars, fixed, places } = this.data, room = (this.width - LEFT - RIGHT) / this.slots;
    this.points.forEach((shape, place) => {
      const value = this.values[place], drawn = value !== null, y = this.y(drawn ? value : this.value(place));
      if (bars) {
        const fields = { x: this.x(place) - 0.4 * room, width: 0.8 * room, y, height: Math.max(3, this.y(this.data.low) - y) };
        if (!drawn) Object.assign(fields, { y: this.y(this.data.low) - 5, height: 5 });
        Object.entries(fields).forEach(([field, to]) => shape.setAttribute(field, to));
      } else {
        shape.setAttribute("cx", this.x(place));
        shape.setAttribute("cy", y);
      }
      if (place < fixed) return;
      shape.setAttribute("class", drawn ? "drawn" : "open");
      shape.setAttribute("tabindex", place === this.at ? 0 : -1);
      shape.setAttribute("aria-valuenow", drawn ? value : this.value(place));
      shape.setAttribute("aria-valuetext", drawn ? this.said(value) : "not drawn yet");
    });
    const known = places.map((_, place) => place).filter(place => this.values[place] !== null);
    const path = known.map((place, index) => `${index ? "L" : "M"}${this.x(place)} ${this.y(this.values[place])}`).join(" ");
    this.line.setAttribute("d", bars ? "" : path);
    if (this.handle) {
      const x = this.x(this.mark ?? 1), y = this.markBottom + 26;
      this.markLine.setAttribute("x1", x);
      this.markLine.setAttribute("x2", x);
      this.markLine.style.visibility = this.mark === null || this.mark === this.slots - 1 ? "hidden" : "visible";
      this.handle.setAttribute("d", `M${x} ${y - 6} l11 14 h-22 z`);
      this.handle.classList.toggle("open", this.mark === null);
      this.handle.setAttribute("aria-valuenow", this.mark ?? 1);
      this.handle.setAttribute("aria-valuetext", this.markSaid());
    }
    this.live.textContent = this.summary();
  }

  markSaid() {
    const { mark, places, one } = this.data;
    return this.mark === null ? "not marked yet" : this.mark === this.slots - 1 ? mark.none : `${one} ${places[this.mark]}`;
  }
  summary() {
    const free = this.data.places.length - this.data.fixed, drawn = this.values.slice(this.data.fixed).filter(v => v !== null).length;
    const here = this.values[this.at], { one, places, mark } = this.data;
    const now = here === null || here === undefined ? "" : `${one} ${places[this.at]}: ${this.said(here)}. `.trimStart();
    return `${now}${drawn} of ${free} drawn.` + (mark ? ` ${mark.label}: ${this.markSaid()}.` : "");
  }

  where(event) {
    const { left, top } = this.svg.getBoundingClientRect();
    const scale = this.width / this.svg.getBoundingClientRect().width;
    const x = (event.clientX - left) * scale, y = (event.clientY - top) * scale;
    const place = Math.round((x - LEFT) * this.slots / (this.width - LEFT - RIGHT) - 0.5);
    return { y, place, value: this.data.high - (y - TOP) * (this.data.high - this.data.low) / this.tall };
  }
  press(event) {
    const { y, place } = this.where(event);
    this.svg.setPointerCapture(event.pointerId);
    event.preventDefault();
    this.doing = this.handle && y > TOP + this.tall + 2 ? "mark" : "draw";
    this.before = null;
    (this.doing === "mark" ? this.handle : this.points[this.free(place)])?.focus({ preventScroll: true, focusVisible: false });
    this.drag(event);
  }
  free(place) { return Math.max(this.data.fixed, Math.min(this.data.places.length - 1, place)); }
  drag(event) {
    if (!this.doing) return;
    const found = this.where(event);
    if (this.doing === "mark") return this.moveMark(found.place);
    const place = this.free(found.place), value = this.rounded(found.value);
    // A fast hand skips places; they lie on the straight line between.
    const from = this.before ?? { place, value }, steps = Math.abs(place - from.place);
    for (let step = 0; step <= steps; step += 1) {
      const share = steps ? step / steps : 1;
      this.values[from.place + Math.sign(place - from.place) * step] = this.rounded(from.value + share * (value - from.value));
    }
    this.before = { place, value };
    this.at = place;
    this.paint();
  }
  release() {
    if (!this.doing) return;
    this.doing = null;
    this.flush(true);
  }
  moveMark(place) {
    this.mark = Math.max(1, Math.min(this.slots - 1, place));
    this.paint();
  }
  key(event, place) {
    const { step, low, high, places, fixed } = this.data;
    const along = { ArrowLeft: place - 1, ArrowRight: place + 1 }[event.key];
    if (along !== undefined) {
      event.preventDefault();
      this.points[Math.max(fixed, Math.min(places.length - 1, along))].focus();
      return;
    }
    const by = { ArrowUp: step, ArrowDown: -step, PageUp: 5 * step, PageDown: -5 * step, Home: low - high, End: high - low, Enter: 0, " ": 0 };
    if (!(event.key in by)) return;
    event.preventDefault();
    this.values[place] = this.rounded(this.value(place) + by[event.key]);
    this.paint();
    this.soon();
  }
  soon() {
    this.changed = true;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.flush(), 400);
  }
  flush(always = false) {
    clearTimeout(this.waiting);
    if (!always && !this.changed) return;
    this.changed = false;
    this.tell({ values: this.values, mark: this.mark });
  }
}

export default function({ parentElement, data, setStateValue }) {
  const here = parentElement.host ?? parentElement;
  const tell = value => setStateValue("drawing", value);
  // Drawn once: what comes back from the server is what was drawn here.
  if (here.drawing) here.drawing.tell = tell;
  else here.drawing = new Drawing(parentElement, data, tell);
  parentElement.querySelector("svg").setAttribute("aria-label", data.label);
}
