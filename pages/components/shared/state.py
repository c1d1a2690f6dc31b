"""Choices of a session, kept through page changes and in the address."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import streamlit as st

from analysis.core import blocks
from analysis.core.blocks import Removal
from analysis.core.errors import BlockRangeError, LayerscopeError
from analysis.experiments.strategies import STRATEGIES, USUAL
from analysis.models.source.model_spec import ModelSpec
from pages.components.shared import access, words

_DEFAULT = ModelSpec()


_IN_URL = {"model": "source", "revision": "revision", "dtype": "dtype", "device": "device", "quantization": "quantization"}


DEFAULT_N = 5


_RUN = re.compile(r"[a-z][a-z0-9_-]*:[0-9a-f]{20}")


_SIZES = re.compile(r"(\d{1,4})-(\d{1,4})")


_KEPT = ("metric", "view", "tab", "texts", "benchmark", "step", "way")
"""Further choices in the address, each a short text that is left out where it is the usual one."""


_REMEMBERED = 20
"""Choices kept per kind: one for each strategy, so that going back to a strategy shows its curve again."""


def current_model() -> ModelSpec:
    """The model that all pages are about; at first the one in the address, else the starter model."""
    if "model" not in st.session_state:
        given = {field: st.query_params[name] for name, field in _IN_URL.items() if name in st.query_params}
        try:
            access.check_file(given.get("source", _DEFAULT.source))
            st.session_state["model"] = ModelSpec(**given)
        except LayerscopeError as error:
            st.session_state["model"] = _DEFAULT
            cannot_be(
                f"The address of this page names an invalid model: {words.seen(str(error), 300)} "
                "The starter model is shown instead."
            )
    return st.session_state["model"]


def cannot_be(sentence: str) -> None:
    """Keep a fault of the address until it has been read; the run that finds it may not be the one that is seen."""
    st.session_state.setdefault("address_faults", []).append(sentence)


def address_faults() -> list[str]:
    """Return the faults of the address and the values shown in their place, one sentence each."""
    faults: list[str] = st.session_state.setdefault("address_faults", [])
    return faults


def use_model(model: ModelSpec) -> None:
    """Make this the model of all pages."""
    st.session_state["model"] = replace(model, identity="")
    st.session_state["chosen_cut"] = None
    st.session_state["protected"] = frozenset()
    st.session_state["sizes"] = None
    sync_url()


def name(model: ModelSpec) -> str:
    """The model's short name, before anything of it is read."""
    return "Starter model" if model.source == "starter" else model.source.rstrip("/").rsplit("/", 1)[-1]


def chosen_n() -> int:
    """The slider's n, or the one in the address."""
    if "chosen_n" not in st.session_state:
        text, own = st.query_params.get("n", ""), own_cut()
        is_number = text.isdecimal() and len(text) < 5
        if text and not is_number and not own:
            cannot_be(
                f"The address of this page asks for n = {words.seen(text, 40)!r}, which is not a number of "
                f"layers. n = {DEFAULT_N} is shown instead."
            )
        given = int(text) if is_number else DEFAULT_N
        st.session_state["chosen_n"] = own.size if own else given
    return st.session_state["chosen_n"]


def choose_n(n: int) -> None:
    """Remember the slider's n; which layers go is again for the strategy to say."""
    st.session_state["chosen_n"] = n
    choose_cut(None)


def own_cut(n_layers: int | None = None) -> Removal | None:
    """The layers that were picked by hand instead of the strategy's choice, if any were.

    Args:
        n_layers: layers of the model; a cut that it cannot have is no choice.
    """
    if "chosen_cut" not in st.session_state:
        st.session_state["chosen_cut"] = _in_address("block", "names an invalid block")
    own: Removal | None = st.session_state["chosen_cut"]
    return own if own is None or n_layers is None or _fits(own, n_layers) else None


def choose_cut(cut: Removal | None) -> None:
    """Make this the current cut on all pages; None goes back to the strategy's choice."""
    st.session_state["chosen_cut"] = cut
    if cut is not None:
        st.session_state["chosen_n"] = cut.size
    sync_url()


def protected(n_layers: int | None = None) -> frozenset[int]:
    """The layers that no cut by hand may take.

    Args:
        n_layers: layers of the model; those that it does not have are left out.
    """
    if "protected" not in st.session_state:
        kept = _in_address("keep", "protects invalid layers")
        st.session_state["protected"] = frozenset(kept.layers) if kept else frozenset()
    return frozenset(layer for layer in st.session_state["protected"] if n_layers is None or layer < n_layers)


def protect(layers: Iterable[int]) -> None:
    """Let no cut take these layers from now on, and all others again."""
    st.session_state["protected"] = frozenset(layers)
    sync_url()


def _in_address(field: str, fault: str) -> Removal | None:
    text = st.query_params.get(field, "")
    try:
        return blocks.parse_removal(text) if text else None
    except BlockRangeError as error:
        cannot_be(f"The address of this page {fault}: {words.seen(str(error), 300)}")
        return None


def _fits(cut: Removal, n_layers: int) -> bool:
    try:
        cut.check(n_layers)
    except BlockRangeError:
        return False
    return True


def sizes(n_layers: int | None = None) -> range | None:
    """Return the numbers of removed layers that charts and tables keep to; None for all.

    Args:
        n_layers: layers of the model. Numbers that it cannot lose are left out, and at least two numbers must remain.
    """
    if "sizes" not in st.session_state:
        text = st.query_params.get("range", "")
        st.session_state["sizes"] = read_sizes(text)
        if text and st.session_state["sizes"] is None:
            cannot_be(
                f"The address of this page asks for the range {words.seen(text, 40)!r}, which is not a range such as "
                "3-9. All numbers of removed layers are shown."
            )
    chosen: range | None = st.session_state["sizes"]
    if chosen is None or n_layers is None:
        return chosen
    inside = range(chosen.start, min(chosen.stop, n_layers))
    return inside if len(inside) > 1 else None


def choose_sizes(sizes: range | None) -> None:
    """Let charts and tables keep to these numbers of removed layers; None for all."""
    st.session_state["sizes"] = sizes
    sync_url()


def read_sizes(text: str) -> range | None:
    """A range as the address has it, "3-9" with both ends in it; None where it is not one."""
    found = _SIZES.fullmatch(text)
    first, last = map(int, found.groups()) if found else (0, 0)
    return range(first, last + 1) if first < last else None


def option(name: str) -> str:
    """A further choice that the address holds, one of `_KEPT`; empty where it is the usual one."""
    chosen: dict[str, str] = st.session_state.setdefault("options", {})
    if name not in chosen:
        chosen[name] = st.query_params.get(name, "")[:80]
    return chosen[name]


def option_of(name: str, known: Iterable[str], usual: str) -> str:
    """Return a further choice that must be one of these; another one in the address is reported, and the usual one is taken."""
    chosen = option(name)
    if chosen and chosen not in known:
        cannot_be(
            f"The address of this page asks for the {name} {words.seen(chosen, 40)!r}, which does not exist. Use one "
            f"of {', '.join(known)}. {usual} is shown instead."
        )
        choose_option(name, "")
    return option(name) or usual


def choose_option(name: str, value: str) -> None:
    """Remember a further choice."""
    if option(name) != value:
        st.session_state["options"][name] = value
        sync_url()


def strategy() -> str:
    """How blocks are chosen."""
    if "chosen_strategy" not in st.session_state:
        text = st.query_params.get("strategy", "")
        if text and text not in STRATEGIES:
            cannot_be(
                f"The address of this page asks for the strategy {words.seen(text, 40)!r}, which does not exist. "
                f"Use one of {', '.join(STRATEGIES)}. {USUAL} is shown instead."
            )
        st.session_state["chosen_strategy"] = text if text in STRATEGIES else USUAL
    return st.session_state["chosen_strategy"]


def choose_strategy(strategy: str) -> None:
    """Remember how blocks are chosen; the current cut is again the strategy's choice."""
    st.session_state["chosen_strategy"] = strategy
    choose_cut(None)


def pinned() -> str:
    """The run that others are compared with, as KIND:KEY; "" without one."""
    if "pinned" not in st.session_state:
        text = st.query_params.get("pin", "")
        st.session_state["pinned"] = text if _RUN.fullmatch(text) else ""
        if text and not st.session_state["pinned"]:
            cannot_be(
                f"The address of this page has an invalid reference run: {words.seen(text, 40)!r}. A run is a kind and 20 "
                "digits, "
                "such as sweep:0123456789abcdef0123. No run is the reference."
            )
    return st.session_state["pinned"]


def pin(run: str) -> None:
    """Make this run, KIND:KEY, the reference of all others; "" for none."""
    st.session_state["pinned"] = run
    sync_url()


def presenting() -> bool:
    """Return whether pages are shown to a class: larger, without a sidebar."""
    if "presenting" not in st.session_state:
        st.session_state["presenting"] = st.query_params.get("present") == "1"
    return st.session_state["presenting"]


def present(on: bool) -> None:
    """Begin or end showing pages to a class."""
    st.session_state["presenting"] = on
    sync_url()


def sync_url() -> None:
    """Write the whole choice into the address, so that a reload or a copied link shows the same."""
    model = current_model()
    defaults = {field.name: field.default for field in fields(ModelSpec)}
    wanted = {"model": model.source, "n": str(chosen_n())}
    for name_, field in _IN_URL.items():
        value = getattr(model, field)
        if value and value != defaults[field]:
            wanted[name_] = value
    if strategy() != USUAL:
        wanted["strategy"] = strategy()
    if pinned():
        wanted["pin"] = pinned()
    if presenting():
        wanted["present"] = "1"
    if own := own_cut():
        wanted["block"] = blocks.written(own)
    if kept_to := sizes():
        wanted["range"] = f"{kept_to[0]}-{kept_to[-1]}"
    if kept := protected():
        wanted["keep"] = blocks.written(blocks.removal(kept))
    wanted |= {name_: option(name_) for name_ in _KEPT if option(name_)}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def show_result(kind: str, key: str) -> None:
    """Pick this result by hand: pages show it of its kind, wherever it is among those that can be shown."""
    _remember(kind, key)
    st.session_state.setdefault(f"picked_{kind}", set()).add(key)


def ask_for(kind: str, key: str) -> None:
    """Let pages show the answer to this result's question, by the strongest evidence there is for it."""
    _remember(kind, key)
    st.session_state.setdefault(f"picked_{kind}", set()).discard(key)


def is_picked(kind: str, key: str) -> bool:
    """Return whether this very result was picked by hand."""
    return key in st.session_state.get(f"picked_{kind}", ())


def _remember(kind: str, key: str) -> None:
    chosen: list[str] = st.session_state.setdefault(f"shown_{kind}", [])
    chosen[:] = [key, *[other for other in chosen if other != key]][:_REMEMBERED]


def shown_result(kind: str, keys: list[str] | None = None) -> str | None:
    """Return the result to show of a kind: of these the one that was chosen last, else the first.

    Args:
        kind: of the results; `library.shown` gives the result itself.
        keys: the candidates; None for the one that was chosen last.
    """
    chosen: list[str] = st.session_state.get(f"shown_{kind}", [])
    if keys is None:
        return next(iter(chosen), None)
    return next((key for key in chosen if key in keys), keys[0] if keys else None)


def chosen_results(kind: str) -> list[str]:
    """Return the keys of the results of a kind that were chosen, the last one first."""
    return list(st.session_state.get(f"shown_{kind}", ()))


def pick_result(kind: str, label: words.Markdown, names: dict[str, str], shown: str) -> None:
    """Draw a menu of results by key; the picked one becomes the shown one.

    Streamlit keeps the callback of a menu that is no longer drawn. A busy browser can still send that menu's value when a new
    result has taken over. Each shown result therefore has a menu of its own, and only the one drawn last is heard.
    """
    widget = f"pick-{kind}-{shown}"
    st.session_state[f"drawn_{kind}"] = widget

    def pick() -> None:
        if st.session_state.get(f"drawn_{kind}") == widget:
            show_result(kind, st.session_state[widget])

    st.selectbox(label, list(names), list(names).index(shown), format_func=names.get, key=widget, on_change=pick)


@contextmanager
def showing(key: str, value: object) -> Iterator[None]:
    """Draw a control that stands at this value.

    The value is set only where the control stands elsewhere. Sent with every drawing, it would take back a visitor's change
    from the time of the drawing, such as an arrow key on a slider. A value is sent again after a drawing that was broken off
    before the control came.

    Args:
        key: of the one widget that the body draws.
        value: its value.
    """
    unsent: set[str] = st.session_state.setdefault("unsent", set())
    if st.session_state.get(key) != value or key in unsent:
        unsent.add(key)
        st.session_state[key] = value
    yield
    unsent.discard(key)


def look(group: str, name: str, present: list[str]) -> int:
    """Return the number of the shade of a mark: the lowest free one, kept for as long as the mark is drawn.

    Args:
        group: marks that must differ in shade.
        name: of the mark.
        present: all marks of the group.
    """
    looks: dict[str, int] = st.session_state.setdefault(f"looks-{group}", {})
    for gone in set(looks) - set(present):
        del looks[gone]
    return looks.setdefault(name, next(number for number in range(len(looks) + 1) if number not in looks.values()))


def since(name: str, content: list[str]) -> str:
    """Return the first part of the keys of a form that starts again whenever its starting values have changed."""
    key = generation(name, content)
    return name if key == f"{name}-0" else key


def generation(name: str, content: list[str]) -> str:
    """Return the key of a widget that begins afresh whenever its content has changed."""
    last, count = st.session_state.get(f"generation-{name}", (content, 0))
    count += last != content
    st.session_state[f"generation-{name}"] = (content, count)
    return f"{name}-{count}"
