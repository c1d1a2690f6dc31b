"""Choices of a session, kept through page changes and in the address."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import streamlit as st

from analysis.core.blocks import Removal
from analysis.core.errors import BlockRangeError, LayerscopeError
from analysis.data import gallery
from analysis.models.source.model_spec import ModelSpec
from pages.components.shared import access, address, words
from pages.components.shared.address import AddressError, Field

T = TypeVar("T")

_MAX_REMEMBERED = 20
"""Maximum number of choices kept per kind: one for each strategy, so that going back to a strategy
shows its curve again."""


def current_model() -> ModelSpec:
    """Return the current model: at first the one in the address, else the starter model."""
    if "model" not in st.session_state:
        query = st.query_params
        parts = {
            field.part: query[field.name]
            for field in address.FIELDS
            if field.part and field.name in query
        }
        try:
            named = ModelSpec(**parts)
            access.check_shown(named)
            st.session_state["model"] = named
        except LayerscopeError as error:
            st.session_state["model"] = ModelSpec()
            _cannot_be(
                f"names an invalid model: {words.seen(str(error), 300)} The starter model is shown"
                " instead."
            )
    return st.session_state["model"]


def _cannot_be(fault: str) -> None:
    """Keep a fault of the address until it has been read; the run that finds it may not be the one
    that is seen.
    """
    address_faults().append(f"The address of this page {fault}")


def address_faults() -> list[str]:
    """Return the faults of the address and the values shown in their place, one sentence each."""
    faults: list[str] = st.session_state.setdefault("address_faults", [])
    return faults


def value(field: Field[T]) -> T:
    """Return the chosen value of a field; at first the one in the address, else the usual one."""
    chosen = _chosen()
    if field.name not in chosen:
        try:
            chosen[field.name] = field.opened(st.query_params.get(field.name, ""))
        except AddressError as error:
            chosen[field.name] = field.usual
            _cannot_be(str(error))
    chosen_value: T = chosen[field.name]
    return chosen_value


def choose(field: Field[T], value: T) -> None:
    """Remember the value of a field on all pages."""
    _chosen()[field.name] = value
    sync_url()


def _chosen() -> dict[str, Any]:
    chosen: dict[str, Any] = st.session_state.setdefault("address", {})
    return chosen


def sync_url() -> None:
    """Write the whole choice into the address, so that a reload or a copied link shows the same."""
    model = current_model()
    chosen_n()  # which a block in the address decides
    written = {
        field.name: field.written(getattr(model, field.part) if field.part else value(field))
        for field in address.FIELDS
    }
    wanted = {name: text for name, text in written.items() if text}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def use_model(model: ModelSpec) -> None:
    """Make this the model of all pages."""
    st.session_state["model"] = model.request
    _chosen().update(
        {
            field.name: field.usual
            for field in (
                address.BLOCK,
                address.PROTECTED,
                address.SIZES,
                address.OPTIONS["source"],
            )
        }
    )
    sync_url()


def name(model: ModelSpec) -> str:
    """Return the model's short name: of a gallery model its title, else the last part of its
    source.
    """
    return gallery.name_of(model.source, model.source.rstrip("/").rsplit("/", 1)[-1])


def chosen_n() -> int:
    """Return the selected n: of the slider, the address, or the block in the address."""
    if address.N.name not in _chosen() and (removed := own_cut()):
        _chosen()[address.N.name] = removed.size
    return value(address.N)


def choose_n(n: int) -> None:
    """Remember the slider's n; which layers go is again for the strategy to say."""
    _chosen()[address.N.name] = n
    choose_cut(None)


def own_cut(n_layers: int | None = None) -> Removal | None:
    """Return the layers that the user selected in place of the strategy's choice; None if there are
    none.

    Args:
        n_layers: layers of the model; a cut that it cannot have is reported and forgotten.
    """
    removed = value(address.BLOCK)
    if removed is not None and n_layers is not None and not _fits(removed, n_layers):
        _chosen()[address.BLOCK.name] = None
        _cannot_be(
            f"names {words.seen(removed.brief(), 80)}, but this model has layers 0-{n_layers - 1}."
            " The block of the strategy is shown instead."
        )
        return None
    return removed


def fit_n(n_layers: int) -> None:
    """Report a selected n that a model cannot have, and select the largest one instead.

    Args:
        n_layers: layers of the model; one of them must stay.
    """
    if (n := chosen_n()) >= n_layers:
        _chosen()[address.N.name] = n_layers - 1
        _cannot_be(
            f"has n = {n}, but this model has {n_layers} layers. n = {n_layers - 1} is shown"
            " instead."
        )


def choose_cut(cut: Removal | None) -> None:
    """Make this the current cut on all pages; None goes back to the strategy's choice."""
    if cut is not None:
        _chosen()[address.N.name] = cut.size
    choose(address.BLOCK, cut)


def protected(n_layers: int | None = None) -> frozenset[int]:
    """Return the protected layers.

    Args:
        n_layers: layers of the model; those that it does not have are left out.
    """
    return frozenset(
        layer for layer in value(address.PROTECTED) if n_layers is None or layer < n_layers
    )


def protect(layers: Iterable[int]) -> None:
    """Let no cut take these layers from now on, and all others again."""
    choose(address.PROTECTED, frozenset(layers))


def _fits(cut: Removal, n_layers: int) -> bool:
    try:
        cut.check_depth(n_layers)
    except BlockRangeError:
        return False
    return True


def sizes(n_layers: int | None = None) -> range | None:
    """Return the numbers of removed layers that charts and tables keep to; None for all.

    Args:
        n_layers: layers of the model. Numbers that it cannot lose are left out, and at least two
            numbers must remain.
    """
    chosen = value(address.SIZES)
    if chosen is None or n_layers is None:
        return chosen
    inside = range(chosen.start, min(chosen.stop, n_layers))
    return inside if len(inside) > 1 else None


def choose_sizes(sizes: range | None) -> None:
    """Let charts and tables keep to these numbers of removed layers; None for all."""
    choose(address.SIZES, sizes)


def option(name: str) -> str:
    """Return the text of one of `address.OPTIONS`; empty if it is the usual one."""
    return value(address.OPTIONS[name])


def option_of(name: str, names: Iterable[str], usual: str) -> str:
    """Return a further choice that must be one of these; another one in the address is reported,
    and the usual one is taken.
    """
    chosen = option(name)
    allowed = list(names)
    if chosen and chosen not in allowed:
        _cannot_be(str(address.no_such(name, chosen, allowed, usual)))
        choose_option(name, "")
    return option(name) or usual


def choose_option(name: str, value: str) -> None:
    """Remember a further choice."""
    if option(name) != value:
        choose(address.OPTIONS[name], value)


def strategy() -> str:
    """Return the selected strategy."""
    return value(address.STRATEGY)


def choose_strategy(strategy: str) -> None:
    """Remember how blocks are chosen; the current cut is again the strategy's choice."""
    _chosen()[address.STRATEGY.name] = strategy
    choose_cut(None)


def pinned() -> str:
    """Return the run that others are compared with, as KIND:KEY; "" if there is none."""
    return value(address.PINNED)


def pin(run: str) -> None:
    """Make this run, KIND:KEY, the reference of all others; "" for none."""
    choose(address.PINNED, run)


def presenting() -> bool:
    """Return whether pages are shown to a class: larger, without a sidebar."""
    return value(address.PRESENTING)


def present(on: bool) -> None:
    """Begin or end showing pages to a class."""
    choose(address.PRESENTING, on)


def show_result(kind: str, key: str) -> None:
    """Pick this result by hand: pages show it of its kind, wherever it is among those that can be
    shown.
    """
    _remember(kind, key)
    st.session_state.setdefault(f"picked_{kind}", set()).add(key)


def ask_for(kind: str, key: str) -> None:
    """Let pages show the answer to this result's question, by the strongest evidence there is for
    it.
    """
    _remember(kind, key)
    st.session_state.setdefault(f"picked_{kind}", set()).discard(key)


def is_picked(kind: str, key: str) -> bool:
    """Return whether this very result was picked by hand."""
    return key in st.session_state.get(f"picked_{kind}", ())


def _remember(kind: str, key: str) -> None:
    chosen: list[str] = st.session_state.setdefault(f"shown_{kind}", [])
    chosen[:] = [key, *[earlier for earlier in chosen if earlier != key]][:_MAX_REMEMBERED]


def shown_result(kind: str, keys: list[str] | None = None) -> str | None:
    """Return the result to show of a kind: of these the one that was chosen last, else the first.

    Args:
        kind: of the results; `stored_results.shown` gives the result itself.
        keys: the candidates; None for the one that was chosen last.
    """
    chosen: list[str] = st.session_state.get(f"shown_{kind}", [])
    if keys is None:
        return next(iter(chosen), None)
    return next((key for key in chosen if key in keys), keys[0] if keys else None)


def chosen_results(kind: str) -> list[str]:
    """Return the keys of the results of a kind that were chosen, the last one first."""
    return list(st.session_state.get(f"shown_{kind}", ()))


def pick_result(kind: str, label: words.Markdown, names: dict[str, str], current: str) -> None:
    """Draw a menu of results by key; the picked one becomes the shown one.

    Streamlit keeps the callback of a menu that is no longer drawn. A busy browser can still send
    that menu's value when a new result has taken over. Each shown result therefore has a menu of
    its own, and only the one drawn last is heard.
    """
    widget = f"pick-{kind}-{current}"
    st.session_state[f"drawn_{kind}"] = widget

    def pick() -> None:
        if st.session_state.get(f"drawn_{kind}") == widget:
            show_result(kind, st.session_state[widget])

    st.selectbox(
        label,
        list(names),
        list(names).index(current),
        format_func=names.__getitem__,
        key=widget,
        on_change=pick,
    )


@contextmanager
def showing(key: str, value: object) -> Iterator[None]:
    """Draw a control that stands at this value.

    The value is set only if the control has another one. Sent with every drawing, it would take
    back a visitor's change from the time of the drawing, such as an arrow key on a slider. A value
    is sent again after a drawing that was broken off before the control came.

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
    """Return the number of the shade of a mark: the lowest free one, kept for as long as the mark
    is drawn.

    Args:
        group: marks that must differ in shade.
        name: of the mark.
        present: all marks of the group.
    """
    looks: dict[str, int] = st.session_state.setdefault(f"looks-{group}", {})
    for gone in set(looks) - set(present):
        del looks[gone]
    return looks.setdefault(
        name, next(number for number in range(len(looks) + 1) if number not in looks.values())
    )


def since(name: str, content: list[str]) -> str:
    """Return the first part of the keys of a form that starts again whenever its starting values
    have changed.
    """
    key = generation(name, content)
    return name if key == f"{name}-0" else key


def generation(name: str, content: list[str]) -> str:
    """Return the key of a widget that begins afresh whenever its content has changed."""
    last, count = st.session_state.get(f"generation-{name}", (content, 0))
    count += last != content
    st.session_state[f"generation-{name}"] = (content, count)
    return f"{name}-{count}"
