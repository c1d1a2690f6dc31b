"""Result packs on the Model page: opened by a drop, listed with their models, removed again."""

import streamlit as st

from analysis import service
from analysis.core.errors import LayerscopeError
from analysis.results import packs
from analysis.results.packs import OpenedPack
from pages.components.model import choice
from pages.components.shared import access, stored_results, words

_HELP = (
    "Results of another machine as one file, without weights. They open read-only next to yours, on"
    " every page and in reports. `python -m analysis pack MODEL --out results.zip` writes one."
)
_COUNT = "packs-brought"
_MESSAGE = "packs-said"


def show() -> None:
    """Draw the field for a pack, and the opened ones."""
    st.header("Result packs", anchor=False, help=_HELP)
    count: int = st.session_state.setdefault(_COUNT, 0)
    upload = access.upload_field(
        "Result pack (ZIP)", ("zip",), key=f"pack-{count}", why_closed=access.why_not_bring
    )
    if upload is not None:
        _open(upload.name, upload.getvalue())
    if message := st.session_state.pop(_MESSAGE, None):
        st.success(words.plain(message))
    for pack in packs.opened():
        _one(pack)


def _open(name: str, content: bytes) -> None:
    try:
        with st.spinner("Checking the pack"):
            opened = access.open_pack(name, content)
    except LayerscopeError as error:
        st.error(words.message(str(error)))
        return
    st.session_state[_MESSAGE] = f"Opened the pack {opened.title}. Its results are on all pages."
    st.session_state[_COUNT] += (
        1  # an empty field, so that the pack is not opened again with every drawing
    )
    st.rerun()


def _one(pack: OpenedPack) -> None:
    n = 0 if pack.manifest is None else len(pack.manifest.results)
    with st.container(border=True, gap="small"):
        with st.container(
            horizontal=True,
            vertical_alignment="center",
            horizontal_alignment="distribute",
            gap="small",
        ):
            damaged = "damaged" if pack.manifest is None else f"{n} result{'' if n == 1 else 's'}"
            st.markdown(f"**{words.plain(pack.title)}** · {damaged} :blue-badge[pack]")
            why = access.why_not_remove_pack()
            st.button(
                "Remove",
                key=f"pack-remove-{pack.id}",
                disabled=why is not None,
                help=words.plain(
                    why or "Removes the opened copy. The file that it came from stays."
                ),
                on_click=_remove,
                args=(pack.id,),
            )
        for index, seen in enumerate(service.models(pack.place)):
            model = stored_results.usable(seen)
            with st.container(
                horizontal=True,
                vertical_alignment="center",
                horizontal_alignment="distribute",
                gap="small",
            ):
                st.caption(
                    words.plain(f"{seen.facts.name}, {choice.size(seen)}: {choice.counted(seen)}")
                )
                if st.button(
                    "Open",
                    key=f"pack-open-{pack.id}-{index}",
                    disabled=model is None,
                    help=(
                        "Opens Explore without loading the model."
                        if model is not None
                        else "Other weights lie at the path of this model here."
                    ),
                    on_click=choice.use,
                    args=(model,),
                ):
                    st.switch_page("pages/explore.py")


def _remove(id: str) -> None:
    try:
        removed = access.remove_pack(id)
    except LayerscopeError as error:
        st.error(words.message(str(error)))
        return
    st.session_state[_MESSAGE] = f"Removed the pack {removed.title}."
