"""What is below the window waits until somebody looks: a move of the slider first redraws what is in the window."""

from typing import TypeVar

import streamlit as st

ValueT = TypeVar("ValueT")

# Asks for the new drawing once this place is near the window or above it, and never before the window itself is painted.
_SCRIPT = """
export default function({ parentElement, data, setTriggerValue }) {
  if (!data.stale) return;
  const here = parentElement.host ?? parentElement;
  const moves = ["scroll", "resize"];
  const stop = () => moves.forEach(move => window.removeEventListener(move, look, true));
  let over = false;
  const ask = () => { if (!over) setTriggerValue("seen", data.want); };
  const look = () => {
    if (here.getBoundingClientRect().top > window.innerHeight + 160) return;
    stop();
    requestAnimationFrame(() => setTimeout(ask, 0));
  };
  moves.forEach(move => window.addEventListener(move, look, { capture: true, passive: true }));
  look();
  return () => { over = true; stop(); };
}
"""
_watcher = st.components.v2.component("layerscope_when_seen", js=_SCRIPT)


def latest(key: str, value: ValueT) -> ValueT:
    """What to draw now: `value` at first and whenever it was looked at, else what was drawn last, so that nothing changes.

    Args:
        key: name of the part; call this at its top, inside a fragment of its own.
        value: what it would draw.
    """
    name = f"seen-{key}"
    shown: ValueT = st.session_state.setdefault(name, value)

    def seen() -> None:
        st.session_state[name] = value

    _watcher(key=f"when-{key}", data={"stale": shown != value, "want": repr(value)}, on_seen_change=seen)
    return shown


def forget(key: str) -> None:
    """Draw the part anew, looked at or not: for a run of the whole page."""
    st.session_state.pop(f"seen-{key}", None)
