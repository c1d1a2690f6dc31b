"""Contents of a page that a test has opened, as a visitor sees them."""

import json

STRIP = "layerscope_layer_strip"


def texts(at) -> str:
    """Everything that is written on the page, controls and charts aside."""
    shown = [
        *at.markdown,
        *at.caption,
        *at.info,
        *at.error,
        *at.warning,
        *at.sidebar.markdown,
        *at.sidebar.caption,
    ]
    return "\n".join(str(element.value) for element in shown)


def read(markdown: str) -> str:
    """Markdown that passed `words.plain` as a visitor reads it."""
    return markdown.replace("\\", "").replace("\u2060", "")


def opened(at, tab: str):
    """Return the page with another tab of Explore open, by its name in the address."""
    at.session_state["address"]["tab"] = tab
    return at.run()


def figures(at) -> dict[str, dict]:
    """Figures on the page by their key."""
    return {
        element.proto.id.split("-", 2)[2]: json.loads(element.proto.spec)
        for element in at.get("plotly_chart")
    }


def strip(at) -> dict:
    """Return the data of the strip of layers: removed layers, protected ones, and the measurements
    of every block.
    """
    told = json.loads(
        next(
            item.proto for item in at.get("bidi_component") if item.proto.component_name == STRIP
        ).json
    )
    return {**json.loads(told.pop("values")), **told}


def selected(at) -> dict:
    """Data of the marker of the selected block: the block, the charts and the places of all blocks
    on them.
    """
    return _data_of(at, "layerscope_cut_marks")


def readout(at) -> dict:
    """Data of gauges and generated texts: the selected block, and the scores and the text of every
    measured block.
    """
    return _data_of(at, "layerscope_readout")


def score(at, quantity: str) -> float | None:
    """The accuracy or loss of the selected block on its gauge; None where it is not measured."""
    told = readout(at)
    return told["gauges"].get(quantity, {}).get(told["cut"], [None])[0]


def _data_of(at, component: str) -> dict:
    return json.loads(
        next(
            item.proto
            for item in at.get("bidi_component")
            if item.proto.component_name == component
        ).json
    )


def marks(at) -> dict[str, dict]:
    """Where blocks are marked on the charts of the open tab, by their key."""
    return selected(at)["marks"]


def marked(at, key: str) -> list[tuple[float, float]]:
    """Places of the selected block on a chart of values, as x and y; empty where it is not
    measured.
    """
    return [tuple(place) for place in marks(at)[key]["points"].get(selected(at)["cut"], [])]


def ringed(at, key: str = "map") -> list[tuple[int, int]]:
    """The blocks that are ringed on the map of this key, as start and size."""
    assert marks(at)[key]["points"] is None
    return [tuple(block) for block in selected(at)["blocks"]]


def charts(at) -> dict[str, dict]:
    """Figures on the page by the title of their vertical axis."""
    found = {}
    for figure in figures(at).values():
        axis = figure["layout"].get("yaxis", {}).get("title", {})
        found[axis.get("text")] = figure
    return found


def metric(at, label: str):
    """The number with this label."""
    return next(item for item in at.metric if item.label == label)


def trace(figure: dict, name: str) -> dict:
    """Return the trace with this name."""
    return next(item for item in figure["data"] if item["name"] == name)


def names(at, chart: str) -> list[str]:
    """Names of the traces of a chart."""
    return [trace["name"] for trace in charts(at)[chart]["data"]]


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours, "#rrggbb", by WCAG 2."""
    darker, lighter = sorted(map(_luminance, (first, second)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
