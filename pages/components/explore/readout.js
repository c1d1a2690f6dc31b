// Gauges and generated text of the selected block. The values of all measured blocks are in the page, so that they change
// within a frame while the slider or the strip is dragged. Everything is inserted as text.

const MISSING = "not measured";
const UNITS = { accuracy: value => `${Number((100 * value).toFixed(1))} %`, loss: value => value.toFixed(2) };

function named(key, names) {
  if (names[key]) return names[key];
  const runs = key.split("+").map(run => run.split(":").map(Number));
  const each = runs.map(([start, size]) => size === 1 ? `${start}` : `${start}-${start + size - 1}`).join(", ");
  return `layer${runs.length === 1 && runs[0][1] === 1 ? "" : "s"} ${each}`;
}

function element(name, className, ...children) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children); // strings become text nodes
  return made;
}

class Readout {
  constructor(root) {
    this.place = root.querySelector(".readout");
    this.ahead = null; // the block that is dragged to, until the server has it
    this.follow = event => { this.ahead = event.detail; this.draw(); };
    document.addEventListener("layerscope-selected", this.follow);
  }

  take({ data }) {
    this.data = data;
    this.ahead = null; // the server has answered; a drag that goes on is told again
    for (const [name, colour] of Object.entries(data.look)) this.place.style.setProperty(`--${name}`, colour);
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const { cut, n } = this.data, now = this.ahead ?? { key: cut, n };
    const said = JSON.stringify(now);
    if (said === this.said && this.drawnFrom === this.data) return;
    this.said = said;
    this.drawnFrom = this.data;
    const key = now.n && !now.key ? null : now.key; // layers that are not known
    const note = this.data.note && !this.ahead ? [element("p", "note", this.data.note)] : [];
    this.place.replaceChildren(this.texts(key), ...Object.keys(UNITS).map(name => this.gauge(name, key)), ...note);
  }

  texts(key) {
    const { prompt, texts, names } = this.data, without = key ? `without ${named(key, names)}` : "layers not known";
    const row = (title, runs) => element("p", "text", element("b", "", `${title} `), ...(runs ?? [[MISSING, false]])
      .flatMap(([words, differs]) => [differs ? element("mark", "", words) : words, " "]));
    const rows = prompt ? [element("p", "prompt", prompt), row("unpruned", texts[""])] : [];
    if (prompt && key !== "") rows.push(row(without, texts[key]));
    const made = element("div", "texts", ...(prompt ? rows : [element("p", "prompt", "No generated text is stored for this model.")]));
    made.dataset.key = key ?? "";
    return made;
  }

  // The value as a dot on its 95 % band, and the unpruned model as a line across.
  gauge(name, key) {
    const known = this.data.gauges[name] ?? {}, unpruned = known[""], score = key === null ? undefined : known[key], write = UNITS[name];
    const values = Object.values(known).map(([value]) => value);
    const [low, high] = name === "accuracy" ? [0, 1] : [Math.min(...values), Math.max(...values)];
    const at = value => `${(100 * Math.max(0, Math.min(1, (value - low) / (high - low || 1)))).toFixed(1)}%`;
    const track = element("div", "track");
    const put = (className, style) => track.append(Object.assign(element("i", className), { style }));
    const band = score && score[1] !== null ? `, 95 % CI ${write(score[1])} to ${write(score[2])}` : "";
    if (band) put("band", `left:${at(score[1])};right:calc(100% - ${at(score[2])})`);
    if (unpruned) put("mark", `left:${at(unpruned[0])}`);
    if (score) put("dot", `left:${at(score[0])}`);
    const value = element("em", score ? "" : "missing", score ? write(score[0]) : MISSING);
    const made = element("div", `gauge ${name}`, element("p", "", `${name} `, value), track,
      element("p", "quiet", unpruned ? `unpruned ${write(unpruned[0])}` : ""));
    made.title = `${name} ${score ? write(score[0]) : MISSING}${band}. Line: unpruned${unpruned ? ` ${write(unpruned[0])}` : ""}. ${this.data.conditions[name] ?? ""}`;
    made.setAttribute("role", "img");
    made.ariaLabel = made.title;
    return made;
  }

  end() {
    document.removeEventListener("layerscope-selected", this.follow);
  }
}

export default function(component) {
  const root = component.parentElement;
  root.readout ??= new Readout(root);
  root.readout.take(component);
  return () => { root.readout?.end(); root.readout = null; };
}
