// The strip of layers. All that it says of a block is in the page, so that it answers within a frame while it is dragged; the
// server hears of a cut once it is let go, and the charts follow by an event on the document until the server has answered.

const NARROWEST = 10.5; // of a cell, pixels; a model whose layers would be narrower takes several rows
const SETTLED_MS = 400; // without another key or click, until the server hears of it
const SPOKEN_MS = 250; // the same for what is read aloud
const REACH = { mouse: 7, pen: 10, touch: 16 }; // how far from an end of the block it can be taken hold of, pixels

const runs = layers => layers.reduce((found, layer) => {
  const last = found.at(-1);
  if (last && layer === last[0] + last[1]) last[1] += 1;
  else found.push([layer, 1]);
  return found;
}, []);
const span = (start, size) => Array.from({ length: size }, (_, index) => start + index);
const same = (one, another) => one.length === another.length && one.every((layer, index) => layer === another[index]);
const written = layers => runs(layers).map(run => run.join(":")).join("+");
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const signed = value => (value < 0 ? "" : "+") + value.toFixed(2);

const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
function viridis(share) {
  const at = share * (VIRIDIS.length - 1), low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return `rgb(${VIRIDIS[low].map((value, index) => Math.round(value + (at - low) * (VIRIDIS[low + 1][index] - value))).join(" ")})`;
}

function scale(values) {
  const ordered = values.filter(value => value !== null).sort((one, another) => one - another);
  const low = ordered[0], reach = ordered[Math.floor(0.9 * (ordered.length - 1))] - low || 1;
  return value => clamp((value - low) / reach, 0, 1);
}

function named(layers) {
  if (!layers.length) return "nothing removed";
  const found = runs(layers);
  const each = found.map(([start, size]) => size === 1 ? `${start}` : `${start}-${start + size - 1}`).join(", ");
  const count = layers.length;
  return `layer${count > 1 ? "s" : ""} ${each} (${count})`;
}

class Strip {
  constructor(root) {
    this.root = root;
    for (const part of ["strip", "track", "cells", "block", "modes", "said"]) this[part] = root.querySelector(`.${part}`);
    this.box = root.querySelector(".facts");
    this.mode = null;
    this.removed = [];
    this.kept = [];
    this.outbox = {};
    this.sent = null; // number of the last message that the server has not answered yet
    this.before = null; // the cut before the last change, for Escape
    this.focused = 0; // the layer that Tab reaches
    this.subject = null; // what the facts are about: "cut", a layer, or nothing
    this.listen();
  }

  take({ data: { values, ...said }, setTriggerValue }) {
    if (values !== this.text) [this.text, this.values] = [values, JSON.parse(values)];
    const data = this.data = { ...this.values, ...said };
    this.tell = setTriggerValue;
    if (this.cells.childElementCount !== data.n_layers) this.build();
    for (const [name, colour] of Object.entries(data.look)) this.strip.style.setProperty(`--${name}`, colour);
    this.shade();
    if (this.sent !== null && data.heard === this.sent) this.sent = null;
    if (!this.drag && this.sent === null && !this.waiting) {
      this.removed = [...data.cut];
      this.kept = [...data.kept];
      this.follow(null);
    }
    if (this.mode === null) this.choose(runs(data.cut).length > 1 ? "layers" : "block");
    this.draw();
  }

  build() {
    const total = this.data.n_layers;
    this.cells.replaceChildren(...span(0, total).map(layer => {
      const cell = document.createElement("button");
      cell.className = "cell";
      cell.type = "button";
      cell.dataset.layer = layer;
      if (layer % 5 === 0) cell.append(Object.assign(document.createElement("b"), { textContent: layer, ariaHidden: "true" }));
      return cell;
    }));
    this.focused = clamp(this.focused, 0, total - 1);
    this.place();
  }

  place() {
    const width = this.track.clientWidth;
    if (!width || !this.data) return;
    const rows = Math.ceil(this.data.n_layers / Math.max(1, Math.floor(width / NARROWEST)));
    this.across = Math.ceil(this.data.n_layers / rows);
    this.cells.style.gridTemplateColumns = `repeat(${this.across}, minmax(0, 1fr))`;
    this.strip.style.setProperty("--gap", width / this.across < 16 ? "0.5px" : "1.5px");
  }

  // The height of a bar is the loss increase without this layer, its colour the layer's distance. Both scales end at the 90th
  // percentile: the first layer, which is largest by far, would make the rest look the same.
  shade() {
    const { distance, damage } = this.data, increases = damage?.values[0] ?? [];
    const [tone, height] = [scale(distance.values[0]), scale(increases)];
    [...this.cells.children].forEach((cell, layer) => {
      const increase = increases[layer] ?? null;
      cell.style.setProperty("--tone", viridis(1 - tone(distance.values[0][layer])));
      cell.style.setProperty("--height", increase === null ? "100%" : `${(12 + 88 * height(increase)).toFixed(0)}%`);
    });
    const said = `Height: ${damage ? "loss increase without the layer" : "loss increase not measured"}. Colour: its ${distance.name}, yellow is small.`;
    const note = Object.assign(document.createElement("b"), { textContent: this.data.note });
    this.root.querySelector(".key").replaceChildren(note, said);
  }

  listen() {
    this.resized = new ResizeObserver(() => { this.place(); this.draw(); });
    this.resized.observe(this.track);
    const on = (target, names) => Object.entries(names).forEach(([name, heard]) => target.addEventListener(name, heard.bind(this)));
    on(this.track, {
      pointerdown: this.pressed, pointermove: this.moved, pointerup: this.released, pointercancel: this.undone,
      pointerleave: this.left, keydown: this.keyed, click: this.clicked, focusin: this.entered, focusout: this.exited,
    });
    on(this.modes, { change: event => this.choose(event.target.value) });
  }

  end() {
    this.resized.disconnect();
    clearTimeout(this.waiting);
    clearTimeout(this.speaking);
    this.follow(null);
  }

  choose(mode) {
    this.mode = mode;
    this.track.className = `track ${mode}`;
    this.modes.querySelector(`[value=${mode}]`).checked = true;
    this.draw();
  }

  // Where things are

  at(event) {
    const box = this.cells.getBoundingClientRect(), first = this.cells.firstElementChild.getBoundingClientRect();
    const high = this.cells.children[this.across]?.getBoundingClientRect().top - first.top || first.height;
    const row = clamp(Math.floor((event.clientY - box.top) / high), 0, Math.ceil(this.data.n_layers / this.across) - 1);
    const column = clamp((event.clientX - box.left) / first.width, 0, this.across - 1e-6);
    const exact = clamp(row * this.across + column, 0, this.data.n_layers - 1e-6);
    return { layer: Math.floor(exact), exact, edge: Math.round(exact), width: first.width };
  }

  // The block that is moved: of several, the longest.
  run() {
    return runs(this.removed).reduce((longest, run) => run[1] > (longest?.[1] ?? 0) ? run : longest, null);
  }

  free(start, size) {
    return start >= 0 && size > 0 && size < this.data.n_layers && start + size <= this.data.n_layers
      && !this.kept.some(layer => layer >= start && layer < start + size);
  }

  // The free start nearest to the wanted one; in one direction only where a step is given.
  nearest(start, size, step = 0) {
    const starts = span(0, Math.max(0, this.data.n_layers - size + 1)).filter(one => this.free(one, size));
    const ahead = step ? starts.filter(one => (one - start) * step >= 0) : starts;
    return ahead.reduce((best, one) => best === null || Math.abs(one - start) < Math.abs(best - start) ? one : best, null);
  }

  // From a fixed end as far as wanted, without a protected layer.
  reach(from, to) {
    const step = Math.sign(to - from) || 1;
    let last = from;
    while (last !== to && !this.kept.includes(last + step) && Math.abs(last + step - from) + 1 < this.data.n_layers) last += step;
    return [Math.min(from, last), Math.abs(last - from) + 1];
  }

  // Pointer

  pressed(event) {
    if (event.button !== 0 || this.drag) return;
    event.preventDefault();
    this.touched = event.pointerType;
    const at = this.at(event), run = this.mode === "block" ? this.run() : null;
    this.drag = { pointer: event.pointerId, removed: this.removed, kept: this.kept, from: at.layer };
    this.track.setPointerCapture(event.pointerId);
    if (event.altKey || this.mode === "protect") return this.paint("kept", at.layer);
    if (this.mode === "layers") return this.paint("removed", at.layer);
    this.drag.does = "draw";
    if (!run) return;
    const [start, size] = run, reach = REACH[event.pointerType] ?? REACH.mouse;
    const inside = at.layer >= start && at.layer < start + size;
    // Inside a narrow block its middle third is left to take hold of all of it.
    const within = inside ? Math.min(reach, size * at.width / 3) : reach;
    const [first, last] = [start, start + size].map(end => Math.abs(at.exact - end) * at.width);
    if (Math.min(first, last) <= within) Object.assign(this.drag, { does: first < last ? "first" : "last", run });
    else if (inside) Object.assign(this.drag, { does: "move", run, off: at.layer - start });
    this.block.focus({ preventScroll: true });
    this.show("cut");
  }

  moved(event) {
    const at = this.at(event);
    if (!this.drag) {
      this.point(at);
      return this.show(this.mode === "block" && this.removed.includes(at.layer) ? "cut" : at.layer);
    }
    if (event.pointerId !== this.drag.pointer) return;
    const { does, run, off, from } = this.drag;
    if (does === "paint") return this.brush(at.layer);
    if (does === "draw") {
      if (at.layer === from && !this.drag.drawn) return;
      this.drag.drawn = true;
      if (!this.kept.includes(from)) this.set(span(...this.reach(from, at.layer)));
    } else if (does === "move") {
      const start = this.nearest(at.layer - off, run[1]);
      if (start !== null) this.set(span(start, run[1]));
    } else {
      const [start, size] = run, end = start + size;
      const wanted = does === "first" ? Math.min(at.edge, end - 1) : Math.max(at.edge, start + 1) - 1;
      this.set(span(...(does === "first" ? this.reach(end - 1, wanted) : this.reach(start, wanted))));
    }
    this.show("cut");
  }

  released(event) {
    if (!this.drag || event.pointerId !== this.drag.pointer) return;
    const { does, drawn, from, removed, kept } = this.drag;
    this.drag = null;
    if (does === "draw" && !drawn) this.jump(from);
    if (!same(this.kept, kept)) this.send("protected", 0);
    if (!same(this.removed, removed)) this.changed(removed, does === "paint" ? SETTLED_MS : 0);
    if (event.pointerType === "touch") this.show(null);
  }

  undone() {
    if (!this.drag) return;
    const { removed, kept } = this.drag;
    this.drag = null;
    this.kept = kept;
    this.set(removed);
    this.speak("Change undone. ");
  }

  left() {
    if (this.drag) return;
    const layer = this.root.activeElement?.dataset.layer;
    this.show(this.root.activeElement?.matches(":focus-visible") ? layer ? Number(layer) : "cut" : null);
  }

  // The same pick on every layer that is passed.
  paint(what, layer) {
    Object.assign(this.drag, { does: "paint", what, on: !this[what].includes(layer) });
    this.focused = layer;
    this.brush(layer);
  }

  brush(layer) {
    if (this[this.drag.what].includes(layer) !== this.drag.on) this.toggle(this.drag.what, layer);
    this.show(layer);
  }

  // Where the block can be taken hold of.
  point(at) {
    const run = this.mode === "block" ? this.run() : null;
    const near = run && run.some((_, index) => Math.abs(at.exact - run[0] - index * run[1]) * at.width <= REACH.mouse);
    const inside = run && at.layer >= run[0] && at.layer < run[0] + run[1];
    this.track.style.cursor = near ? "ew-resize" : inside ? "grab" : "";
  }

  // Changes

  toggle(what, layer) {
    const now = this[what].includes(layer);
    if (what === "removed" && this.kept.includes(layer)) return this.speak(`Layer ${layer} is protected. `, false);
    if (what === "removed" && !now && this.removed.length >= this.data.n_layers - 1) return this.speak("One layer must stay. ", false);
    if (what === "kept" && !now && this.removed.includes(layer)) {
      return this.speak(`Layer ${layer} is removed. Restore it before you protect it. `, false);
    }
    const next = now ? this[what].filter(one => one !== layer) : [...this[what], layer].sort((one, another) => one - another);
    if (what === "removed") return this.set(next);
    this.kept = next;
    this.draw();
    this.speak(`Layer ${layer} ${now ? "is no longer" : "is"} protected. `, false);
  }

  jump(layer) {
    const size = this.run()?.[1] ?? 1;
    const start = this.nearest(layer - Math.floor((size - 1) / 2), size);
    if (start !== null) this.set(span(start, size));
  }

  set(layers) {
    if (same(layers, this.removed)) return;
    this.removed = layers;
    this.follow({ n: layers.length, blocks: runs(layers) });
    this.draw();
  }

  follow(detail) {
    document.dispatchEvent(new CustomEvent("layerscope-cut", { detail }));
  }

  changed(before, after_ms) {
    this.before = before;
    this.speak();
    this.send("cut", after_ms);
  }

  // Say something to the server once nothing more comes; what is only a part of the same gesture goes along.
  send(what, after_ms) {
    this.outbox[what] = true;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      this.waiting = null;
      const parts = { cut: written(this.removed), protected: written(this.kept) };
      const told = Object.fromEntries(Object.keys(this.outbox).map(name => [name, parts[name]]));
      this.outbox = {};
      this.sent = Date.now();
      this.tell("said", { ...told, number: this.sent });
    }, after_ms);
  }

  // Keys

  keyed(event) {
    if (event.key === "Escape") return this.escape(event);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const cell = event.target.closest(".cell");
    const did = cell ? this.onLayer(event, Number(cell.dataset.layer)) : event.target === this.block && this.onBlock(event);
    if (did) event.preventDefault();
  }

  escape(event) {
    event.preventDefault();
    if (this.drag) return this.undone();
    if (this.before === null) return this.show(null);
    const before = this.before;
    this.before = null;
    this.set(before);
    this.speak("Change undone. ");
    this.send("cut", 0);
  }

  onLayer(event, layer) {
    const last = this.data.n_layers - 1;
    const to = { ArrowLeft: layer - 1, ArrowRight: layer + 1, ArrowUp: layer - this.across, ArrowDown: layer + this.across, Home: 0, End: last }[event.key];
    if (to !== undefined) {
      if (to >= 0 && to <= last) this.cells.children[to].focus();
      return true;
    }
    if (event.key.toLowerCase() !== "p") return false;
    const kept = this.kept;
    this.toggle("kept", layer);
    if (kept !== this.kept) this.send("protected", SETTLED_MS);
    return true;
  }

  onBlock(event) {
    const run = this.run(), total = this.data.n_layers;
    if (!run) return false;
    const [start, size] = run, end = start + size - 1;
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 }[event.key];
    const far = { Home: -1, End: 1 }[event.key];
    let next = null;
    if (step && event.shiftKey && event.key.startsWith("Arrow")) {
      // Left and right stretch the far end, down and up the near one.
      const across = event.key === "ArrowLeft" || event.key === "ArrowRight";
      if (size + step >= 1) next = across ? this.reach(start, end + step) : this.reach(end, start - step);
      if (next && (next[0] < 0 || next[0] + next[1] > total)) next = null;
    } else if (step) {
      const found = this.nearest(clamp(start + step, 0, total - size), size, Math.sign(step));
      if (found !== null) next = [found, size];
    } else if (far && event.shiftKey) {
      next = far > 0 ? this.reach(start, total - 1) : this.reach(end, 0);
    } else if (far) {
      const found = this.nearest(far > 0 ? total - size : 0, size);
      if (found !== null) next = [found, size];
    } else {
      return false;
    }
    const before = this.waiting ? this.before : this.removed;
    if (next) this.set(span(...next));
    if (next && !same(before ?? [], this.removed)) this.changed(before, SETTLED_MS);
    else this.speak();
    this.show("cut");
    return true;
  }

  // A click that no pointer made: Enter, Space, or a screen reader's.
  clicked(event) {
    const cell = event.target.closest(".cell");
    if (event.detail || !cell) return;
    const layer = Number(cell.dataset.layer), { removed, kept } = this;
    if (this.mode === "protect") this.toggle("kept", layer);
    else if (this.mode === "layers") this.toggle("removed", layer);
    else this.jump(layer);
    if (kept !== this.kept) this.send("protected", SETTLED_MS);
    if (!same(removed, this.removed)) this.changed(removed, SETTLED_MS);
    this.show(layer);
  }

  entered(event) {
    const layer = event.target.closest(".cell")?.dataset.layer;
    if (layer !== undefined) this.focused = Number(layer);
    this.draw();
    if (event.target.matches(":focus-visible")) this.show(layer === undefined ? "cut" : Number(layer));
  }

  exited() {
    if (!this.drag) this.show(null);
  }

  // What is known

  facts(layers, title) {
    const { distance, damage, shares } = this.data, found = runs(layers), whole = found.length === 1;
    const number = (measure, write) => {
      const [start, size] = found[0], value = measure.values[size - 1]?.[start];
      if (value === null || value === undefined) return null;
      const half = measure.halves[size - 1][start];
      const sure = half === null ? "" : ` (95 %: ${write(value - half)} to ${write(value + half)})`;
      return { value: write(value), rest: `${sure}, ${measure.on}` };
    };
    const turn = whole ? number(distance, value => Math.max(0, value).toFixed(3)) : null;
    const cost = whole && damage ? number(damage, signed) : null;
    const share = 100 * layers.reduce((sum, layer) => sum + (shares[layer] || 0), 0);
    return [
      [title, "", ""],
      turn ? [`${distance.name} `, turn.value, turn.rest] : [`no ${distance.name}: not one block`, "", ""],
      cost ? ["loss ", `${cost.value} nats`, cost.rest] : ["loss increase not measured", "", ""],
      ["", `${share.toFixed(1)} %`, " of weight memory"],
    ];
  }

  about(subject) {
    if (subject === "cut") return this.removed.length ? this.facts(this.removed, named(this.removed)) : null;
    const state = this.removed.includes(subject) ? ", removed" : this.kept.includes(subject) ? ", protected" : "";
    return this.facts([subject], `layer ${subject} alone${state}`);
  }

  show(subject) {
    this.subject = subject;
    this.draw();
  }

  // Read aloud once it has settled: what happened, then what is cut now and what is known of it.
  speak(first = "", all = true) {
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => {
      const lines = this.removed.length && all ? this.facts(this.removed, `Removed: ${named(this.removed)}`) : [];
      const rest = lines.map(parts => parts.join("")).join(". ") || (all ? "Nothing removed" : "");
      this.said.textContent = "";
      this.said.textContent = first + rest;
    }, SPOKEN_MS);
  }

  // Drawing, once a frame at most

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (!this.data || !this.across) return;
      this.drawCells();
      this.drawBlock();
      this.drawFacts();
    });
  }

  drawCells() {
    const removed = new Set(this.removed), kept = new Set(this.kept);
    // Single parts are written, not drawn: a cut that is changed here is one of whole layers.
    const parts = same(this.removed, this.data.cut) ? this.data.parts : {};
    for (const cell of this.cells.children) {
      const layer = Number(cell.dataset.layer), part = parts[layer] ?? "";
      const look = `${removed.has(layer)} ${kept.has(layer)} ${layer === this.focused} ${part}`;
      if (cell.dataset.look === look) continue;
      cell.dataset.look = look;
      cell.setAttribute("aria-pressed", removed.has(layer));
      cell.setAttribute("aria-label", `Layer ${layer}${removed.has(layer) ? ", removed" : part ? `, ${part} removed` : ""}${kept.has(layer) ? ", protected" : ""}`);
      cell.classList.toggle("kept", kept.has(layer));
      cell.dataset.part = part;
      cell.tabIndex = layer === this.focused ? 0 : -1;
    }
  }

  drawBlock() {
    const run = this.mode === "block" ? this.run() : null;
    const look = run ? `${run} ${this.across} ${this.track.clientWidth}` : "";
    this.block.hidden = !run;
    if (!run || this.block.dataset.look === look) return;
    this.block.dataset.look = look;
    const [start, size] = run, last = start + size - 1, parts = [];
    for (let from = start; from <= last;) {
      const to = Math.min(last, from - from % this.across + this.across - 1);
      const one = this.cells.children[from], other = this.cells.children[to];
      const part = document.createElement("div");
      part.className = "part";
      part.style.cssText = `left:${one.offsetLeft}px;top:${one.offsetTop - 2}px;height:${one.offsetHeight + 4}px;`
        + `width:${other.offsetLeft + other.offsetWidth - one.offsetLeft}px`;
      for (const [end, there] of [["first", from === start], ["last", to === last]]) {
        if (there) part.append(Object.assign(document.createElement("div"), { className: `grip ${end}` }));
      }
      parts.push(part);
      from = to + 1;
    }
    this.block.replaceChildren(...parts);
    this.block.ariaValueMin = 0;
    this.block.ariaValueMax = this.data.n_layers - size;
    this.block.ariaValueNow = start;
    this.block.ariaValueText = size === 1 ? `layer ${start}` : `layers ${start} to ${last}, ${size} layers`;
  }

  drawFacts() {
    const lines = this.subject === null ? null : this.about(this.subject);
    const box = this.box;
    box.hidden = !lines;
    if (!lines) return;
    const said = JSON.stringify(lines);
    if (box.dataset.said !== said) {
      box.dataset.said = said;
      box.replaceChildren(...lines.map(([before, value, after]) => {
        const line = document.createElement("p");
        const strong = Object.assign(document.createElement("em"), { textContent: value });
        line.append(before, strong, after);
        return line;
      }));
    }
    box.classList.toggle("above", this.touched === "touch");
    const layer = this.subject === "cut" ? this.removed[this.removed.length >> 1] : this.subject, cell = this.cells.children[layer];
    const middle = cell.offsetLeft + cell.offsetWidth / 2 - box.offsetWidth / 2;
    box.style.left = `${clamp(middle, 0, Math.max(0, this.track.clientWidth - box.offsetWidth))}px`;
  }
}

export default function(component) {
  const root = component.parentElement;
  root.layerStrip ??= new Strip(root);
  root.layerStrip.take(component);
  return () => { root.layerStrip?.end(); root.layerStrip = null; };
}
