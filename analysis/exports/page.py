"""A document as one HTML file that needs no network: charts stay interactive, light or dark as the
reader's system is.
"""

import json
from pathlib import Path
from typing import Any

from plotly.graph_objs import Figure
from plotly.offline import get_plotlyjs

from analysis.exports.document import Document, templates

_TEMPLATE = Path(__file__).with_name("report_page.html.jinja")
_INK = {"light": "#1c2530", "dark": "#e4e8ec"}


def html(document: Document) -> str:
    """Return the complete file: plotly.js once, all text escaped, and no request to any address."""
    environment = templates()
    # A browser's JSON has no NaN; and `tojson` escapes characters that would end the script.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    pictures = [picture for section in document.sections for picture in section.pictures]
    charts = [
        {shade: _plain(getattr(picture, shade), ink) for shade, ink in _INK.items()}
        for picture in pictures
    ]
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        document=document, charts=charts, plotly_js=get_plotlyjs() if charts else ""
    )


def _plain(figure: Figure, ink: str) -> dict[str, Any]:
    """Return a figure as JSON in the font of the page, without the template of Plotly."""
    content: dict[str, Any] = json.loads(figure.to_json())
    layout = content["layout"]
    layout.pop("template", None)
    for name in ("xaxis", "yaxis"):  # the usual titles are too long for a phone
        if "text" in layout.get(name, {}).get("title", {}):
            layout[name]["title"]["font"] = {"size": 12}
    layout["font"] = {"family": "system-ui, sans-serif", "size": 13, "color": ink}
    return {"data": content["data"], "layout": layout}
