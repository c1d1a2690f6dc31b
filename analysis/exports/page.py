"""A document as one HTML file that needs no network: charts stay interactive, light or dark as the reader's system is."""

import json
from html import escape
from typing import Any

from plotly.graph_objs import Figure
from plotly.offline import get_plotlyjs

from analysis.exports.document import Document, Picture, Section, Table

# The policy forbids the file to fetch anything at all, whatever text got into it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; font-src data:"

_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --panel: #f3f5f6; --text: #1c2530; --soft: #55606b; --line: #d5dade;
  --accent: #0f6b66; }
@media (prefers-color-scheme: dark) { :root { --page: #13181d; --panel: #1d242b; --text: #e4e8ec; --soft: #a5b0bb;
  --line: #38424c; --accent: #56c2b8; } }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; border-bottom: 2px solid var(--accent); padding-bottom: .6rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
p { max-width: 78ch; margin: .4rem 0; } .lead p { color: var(--soft); }
nav { margin: 1rem 0; } nav a { margin-right: 1.1rem; } a { color: var(--accent); }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .86rem; }
.scroll { overflow-x: auto; max-height: 30rem; overflow-y: auto; border: 1px solid var(--line); margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { position: sticky; top: 0; background: var(--panel); }
pre { background: var(--panel); padding: .7rem .9rem; overflow-x: auto; font-size: .84rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--accent); }
summary:focus-visible, a:focus-visible, .scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media print { main { max-width: none; padding: 0; } .scroll { max-height: none; overflow: visible; border: 0; }
  nav { display: none; } figure, tr { break-inside: avoid; } h2 { break-after: avoid; } th { position: static; } }
"""

_SCRIPT = """
const charts = JSON.parse(document.getElementById("charts").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw(isDark) {
  charts.forEach((chart, index) => {
    const figure = isDark ? chart.dark : chart.light;
    const layout = {...figure.layout, autosize: true, width: undefined};
    Plotly.react("chart-" + index, figure.data, layout, {responsive: true, displaylogo: false,
      toImageButtonOptions: {format: "svg", filename: "layerscope-" + (index + 1)}});
  });
}
draw(dark.matches);
dark.addEventListener("change", event => draw(event.matches));
addEventListener("beforeprint", () => draw(false));
addEventListener("afterprint", () => draw(dark.matches));
"""


def html(document: Document) -> str:
    """The whole file: plotly.js once, every text escaped, no address that anything is fetched from."""
    charts: list[Picture] = []
    body = [f"<h1>{escape(document.title)}</h1>", f'<div class="lead">{_paragraphs(document.sentences)}</div>']
    links = [f'<a href="#s{number}">{escape(s.title)}</a>' for number, s in enumerate(document.sections)]
    body.append(f"<nav>{''.join(links)}</nav>")
    body += [_section(section, number, charts) for number, section in enumerate(document.sections)]
    data = [{"light": _plain(chart.light, "#1c2530"), "dark": _plain(chart.dark, "#e4e8ec")} for chart in charts]
    # "</script>" in a text would end the element, and "<!--" would hide what follows.
    embedded = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(document.title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>\n{chr(10).join(body)}\n</main>\n"
        f"<script>{get_plotlyjs()}</script>\n"
        f'<script type="application/json" id="charts">{embedded}</script>\n'
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _section(section: Section, number: int, charts: list[Picture]) -> str:
    parts = [f'<h2 id="s{number}">{escape(section.title)}</h2>', _paragraphs(section.sentences)]
    for picture in section.pictures:
        alt = escape(picture.alt)
        height = picture.light.layout.height or 300
        parts.append(
            f'<figure><div id="chart-{len(charts)}" class="chart" role="img" aria-label="{alt}" '
            f'style="height:{int(height)}px"></div><figcaption>{alt}</figcaption></figure>'
        )
        charts.append(picture)
    parts += [_table(table, section.title) for table in section.tables]
    if section.commands:
        parts.append(_folded("Command", "\n".join(section.commands)))
    parts += [_folded(f"Request and versions: {name}", content) for name, content in section.records]
    return f"<section>{''.join(parts)}</section>"


def _paragraphs(sentences: Any) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _table(table: Table, name: str) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(content)}</pre></details>"


def _plain(figure: Figure, colour: str) -> dict[str, Any]:
    """A figure as JSON, in the page's font and without the template that Plotly adds to it."""
    content: dict[str, Any] = json.loads(figure.to_json())
    layout = content["layout"]
    layout.pop("template", None)
    layout["font"] = {"family": "system-ui, sans-serif", "size": 13, "color": colour}
    return {"data": content["data"], "layout": layout}
