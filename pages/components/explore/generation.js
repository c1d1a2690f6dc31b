// Generated text of the selected block, of the strategy's own block of that size and of the unpruned model. The texts of all
// measured blocks are in the page, so that they swap within a frame while the slider or the strip is dragged. Everything is
// inserted as text.

const MISSING = "Not measured for this selection";

function named(key, names) {
  if (!key) return "unpruned model";
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

class Texts {
  constructor(root) {
    this.place = root.querySelector(".texts");
    this.ahead = null; // the block that is dragged to, until the server has it
    this.follow = event => { this.ahead = event.detail; this.draw(); };
    document.addEventListener("layerscope-selected", this.follow);
  }

  take({ data }) {
    this.data = data;
    for (const [name, colour] of Object.entries(data.look)) this.place.style.setProperty(`--${name}`, colour);
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const { cut, n, path, strategy, names } = this.data;
    const now = this.ahead ?? { key: cut, n }, own = path[now.n];
    const columns = [["selected", `Selected: ${now.n && !now.key ? "layers not known" : named(now.key, names)}`, now.n && !now.key ? null : now.key]];
    if (now.n) columns.push(["own", `${strategy}'s block: ${own ? named(own, names) : "not known"}`, own ?? null, own === now.key]);
    if (now.n) columns.push(["unpruned", "Unpruned model", ""]);
    const said = JSON.stringify(columns);
    if (said === this.said && this.drawnFrom === this.data) return;
    this.said = said;
    this.drawnFrom = this.data;
    this.place.replaceChildren(...columns.map(column => this.column(...column)));
    for (const text of this.place.querySelectorAll(".text")) if (text.scrollHeight > text.clientHeight) text.tabIndex = 0;
  }

  column(className, title, key, isSame = false) {
    const found = key === null ? undefined : this.data.texts[key];
    const text = isSame ? element("p", "text missing", "Same as the selected block.")
      : found ? element("p", "text", element("span", "prompt", this.data.prompt), " ", ...this.runs(found.runs))
      : element("p", "text missing", MISSING);
    const facts = element("p", "facts", isSame ? "" : found?.facts ?? "");
    const made = element("div", `column ${className}`, element("p", "title", title), text, facts);
    made.dataset.key = key ?? "";
    made.setAttribute("role", "group");
    made.ariaLabel = title;
    return made;
  }

  runs(runs) {
    return runs.flatMap(([words, differs]) => [differs ? element("mark", "", words) : words, " "]);
  }

  end() {
    document.removeEventListener("layerscope-selected", this.follow);
  }
}

export default function(component) {
  const root = component.parentElement;
  root.generatedText ??= new Texts(root);
  root.generatedText.take(component);
  return () => { root.generatedText?.end(); root.generatedText = null; };
}
