"""What is below the window waits until somebody looks: a move of the slider first redraws what is in the window."""

from typing import TypeVar

import streamlit as st

ValueT = TypeVar("ValueT")
# Asks for the new drawing once this place comes into the window or above it, and never before the window itself is painted.
# The script runs again whenever the page is redrawn, so that the one before it is stopped first.
_SCRIPT = """
export default function({ parentElement, data, setTriggerValue }) {
  const here = parentElement.host ?? parentElement;
  here.stopWatching?.();
  if (!data.stale) return;
  const moves = ["scroll", "resize"];
  let over = false, waiting = false;
  const near = () => here.isConnected && here.getBoundingClientRect().top < window.innerHeight;
  const stop = here.stopWatching = () => {
    over = true;
    moves.forEach(move => window.removeEventListener(move, look, true));
  };
  const ask = () => {
    waiting = false;
    if (over || !near()) return;
    stop();
    setTriggerValue("seen", data.want);
  };
  const look = () => {
    if (over || waiting || !near()) return;
    waiting = true;
    requestAnimationFrame(() => setTimeout(ask, 60));
  };
  moves.forEach(move => window.addEventListener(move, look, { capture: true, passive: true }));
  look();
  return stop;
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
