// A block of a fixed number of layers that is dragged along the model: by pointer, finger or keyboard.
export default function({ parentElement, data, setStateValue }) {
  const here = parentElement.host ?? parentElement;
  const strip = parentElement.querySelector(".strip"), block = parentElement.querySelector(".block");
  const { layers, size, label } = data, last = layers - size;
  const isNew = here.dataset.of !== `${layers}:${size}`;
  if (isNew) {
    here.dataset.of = `${layers}:${size}`;
    here.start = data.start;
    // Layer numbers stand under every fifth or tenth cell.
    const every = layers > 40 ? 10 : layers > 12 ? 5 : 1;
    strip.querySelectorAll(".layer").forEach(cell => cell.remove());
    for (let layer = 0; layer < layers; layer += 1) {
      const cell = document.createElement("span");
      cell.className = "layer";
      if (layer % every === 0) cell.dataset.name = layer;
      strip.insertBefore(cell, block);
    }
  }
  const said = (start, to) => size === 1 ? `layer ${start}` : `layers ${start}${to}${start + size - 1}`;
  const paint = () => {
    block.style.left = `${100 * here.start / layers}%`;
    block.style.width = `${100 * size / layers}%`;
    block.setAttribute("aria-valuenow", here.start);
    block.setAttribute("aria-valuetext", said(here.start, " to "));
    parentElement.querySelector(".said").textContent = said(here.start, "-");
  };
  const move = start => {
    here.start = Math.max(0, Math.min(last, start));
    paint();
  };
  const tell = () => {
    clearTimeout(here.waiting);
    if (here.told !== here.start) setStateValue("start", here.told = here.start);
  };
  const soon = () => {
    clearTimeout(here.waiting);
    here.waiting = setTimeout(tell, 300);
  };
  const layerAt = event => {
    const { left, width } = strip.getBoundingClientRect();
    return layers * (event.clientX - left) / width;
  };
  let grip = null;
  strip.onpointerdown = event => {
    const at = layerAt(event);
    grip = at >= here.start && at < here.start + size ? at - here.start : size / 2;
    strip.setPointerCapture(event.pointerId);
    block.focus();
    move(Math.round(at - grip));
    event.preventDefault();
  };
  strip.onpointermove = event => {
    if (grip !== null) move(Math.round(layerAt(event) - grip));
  };
  strip.onpointerup = strip.onpointercancel = () => {
    grip = null;
    tell();
  };
  const keys = {
    ArrowLeft: () => here.start - 1, ArrowDown: () => here.start - 1, ArrowRight: () => here.start + 1,
    ArrowUp: () => here.start + 1, PageDown: () => here.start - size, PageUp: () => here.start + size, Home: () => 0, End: () => last,
  };
  block.onkeydown = event => {
    if (!keys[event.key]) return;
    event.preventDefault();
    move(keys[event.key]());
    soon();
  };
  block.onblur = tell;
  block.setAttribute("aria-label", label);
  block.setAttribute("aria-valuemin", 0);
  block.setAttribute("aria-valuemax", last);
  paint();
}
