"""The tab title of a page in the background: the number of jobs that have ended since."""

import streamlit as st

# Streamlit writes the title when a page is opened; a count is put before it only while the tab is in the background.
_SCRIPT = """
const COUNT = /^\\(\\d+\\) /;

export default function({ parentElement, data }) {
  const here = parentElement.host ?? parentElement;
  here.unseen = document.hidden && data.ended > (here.told ?? 0) ? data.ended - (here.seen ?? 0) : 0;
  here.told = data.ended;
  const say = () => {
    if (!document.hidden) { here.seen = here.told; here.unseen = 0; }
    const bare = document.title.replace(COUNT, "");
    const wanted = here.unseen ? `(${here.unseen}) ${bare}` : bare;
    if (document.title !== wanted) document.title = wanted;
  };
  say();
  document.addEventListener("visibilitychange", say);
  return () => document.removeEventListener("visibilitychange", say);
}
"""
_counter = st.components.v2.component("layerscope_tab_title", js=_SCRIPT)


def show(ended: int) -> None:
    """Put the number of jobs that ended while the tab was in the background before its title; takes no place.

    Args:
        ended: jobs of this session that have ended so far.
    """
    _counter(key="tab-title", data={"ended": ended})
