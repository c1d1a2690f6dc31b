"""The report: its numbers are the results', it fetches nothing, and no name in it can do harm."""

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from huggingface_hub import ModelCard, ModelCardData

from analysis.charts import selected as mark
from analysis.cli import answers, main
from analysis.core import stats, store
from analysis.core.blocks import Block
from analysis.core.errors import BlockRangeError, SpecError
from analysis.data import starter
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.points import Point
from analysis.exports import card as model_card
from analysis.exports import page as one_page
from analysis.exports import report
from analysis.exports.document import Document, Picture, TextTable, code, fenced, text
from analysis.exports.spec import ReloadCheck
from analysis.models.source.model_spec import ModelSpec
from analysis.results import evidence
from analysis.results.words import heals
from tests.support import browser, fakes

EVIL = (
    "<img src=x"
    ' onerror="window.hit=1">](http://evil.example)|`</script><script>window.hit=1</script>'
)
CUT = Block(11, 5)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A cache with a map, curves, a damage map and a heal, and no precomputed results."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")
    results = [
        fakes.rich_distances(),
        fakes.sweep(writes=True, answers=True),
        fakes.sweep(strategy="deepest"),
    ]
    results += [fakes.damage(), fakes.heal(), fakes.speed()]
    for result in results:
        result.save()
    return results


MADE: dict[tuple, Document] = {}
"""Reports by block and stored results: to draw the charts of one takes a second."""


def make(cut=CUT):
    results = sorted(store.cache_dir().rglob("*.json"))
    content = cut, *(file.read_text() for file in results)
    if content not in MADE:
        MADE[content] = report.of(fakes.MODEL, cut, main.command_line)
    return MADE[content]


def table(document: Document, section: str, number: int = 0) -> list[dict[str, str]]:
    found = next(s for s in document.sections if s.title == section).tables[number]
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


class Cells(HTMLParser):
    """All table rows of a page, its tags with their attributes, those that could fetch something,
    and the charts' data.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows, self.fetches, self._in_cell = [], [], False
        self.tags, self.attributes, self.charts = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.fetches += [
            (tag, value)
            for name, value in attrs
            if name in ("src", "href", "srcset", "action", "data")
        ]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        if (
            ("id", "charts") in self.attributes
            and self.tags[-1] == "script"
            and data.startswith("[")
        ):
            self.charts = json.loads(data)
        if self._in_cell:
            self.rows[-1][-1] += data


def said(value: float, ends: tuple[float, float]) -> str:
    """A number with its interval, as people read it."""
    return f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


def test_the_numbers_are_those_of_the_results(stored):
    maps, sweep, deepest, damage, heal, speed = stored
    document = make()
    rows = table(document, "Distance of every block")
    ends = [
        stats.mean_interval(best.distance, maps.stderr[best.n - 1][best.start], maps.n_texts)
        for best in maps.best
    ]
    assert [row["distance"] for row in rows] == [
        f"{best.distance:.4f} ({low:.4f} to {high:.4f})"
        for best, (low, high) in zip(maps.best, ends, strict=True)
    ]
    rows = table(document, "Accuracy and loss")
    for curve, name in ((sweep, "similarity"), (deepest, "deepest")):
        mine = [row for row in rows if row["strategy"] == name]
        assert [row["accuracy"] for row in mine] == [said(p.acc, p.interval) for p in curve.points]
        assert [row["loss"] for row in mine] == [
            said(p.loss, p.loss_interval) for p in curve.points
        ]
        assert {row["questions"] for row in mine} == {"100"}
    rows = table(document, "Loss increase of each block")
    least = damage.best[4]
    low, high = stats.mean_interval(least.increase, 0.05, damage.n_measured[4][least.start])
    assert rows[4]["loss increase, nats/token"] == f"{least.increase:.4f} ({low:.4f} to {high:.4f})"
    rows = table(document, "Healing runs")
    assert [row["model"] for row in rows] == 2 * ["unpruned", "pruned", "healed"]
    assert [row["loss on"] for row in rows] == 3 * ["C4"] + 3 * ["Wikipedia, trained on"]
    for row, point in ((rows[2], heal.healed), (rows[5], heal.same_kind["healed"])):
        assert row["loss, nats/token"] == said(point.loss, point.loss_interval)
    rows = table(document, "Speed")
    assert [row["decode of a token, median ms"] for row in rows] == [
        f"{1e3 * p.decode.median_s:.2f}" for p in speed.points
    ]
    assert rows[0]["decode of a token, tokens/s"] == f"{1 / speed.points[0].decode.median_s:,.1f}"
    assert [row["left out"] for row in rows][:2] == ["none", speed.points[1].block.describe()]
    assert [row["model"] for row in table(document, f"Removed: {CUT.brief()}", 1)][
        -1
    ] == "healed, quick"


def test_report_card_and_command_line_agree_on_a_heal(stored):
    """The recovery on another kind of text comes first, then its own; a loss below unpruned only
    with the reason.
    """
    below = Point(5, 11, loss=2.10, loss_stderr=0.07, n_texts=32)
    heal = replace(stored[4], same_kind={**stored[4].same_kind, "healed": below})
    heal.save()
    wanted = heals.sentences(heal)
    assert any("below the unpruned model's does not mean" in said for said in wanted)
    report = next(
        section for section in make().sections if section.title == "Healing runs"
    ).sentences[0]
    card = written(CUT, heal=heal, adapter=heal.adapter, check=CHECK)
    lines = answers.PRINTERS["heal"].lines(heal, None)
    for said in wanted:
        assert said in report
        assert text(said) in card
        assert said in lines
    assert lines[0] == heal.measured_on()


OTHER = Block(14, 5)
"""Not the block of five layers of any strategy."""


def chart(document: Document, section: str, alt: str) -> Picture:
    found = next(s for s in document.sections if s.title == section).pictures
    return next(picture for picture in found if picture.alt.startswith(alt))


def ringed(picture: Picture) -> list[tuple[float, float]]:
    """Places of the rings, the same on the light and the dark chart; without any the chart and its
    text say so.
    """
    light, dark = (
        [
            point
            for trace in figure.data
            if trace.name == mark.NAME
            for point in zip(trace.x, trace.y, strict=True)
        ]
        for figure in (picture.light, picture.dark)
    )
    assert light == dark
    assert (mark.UNMEASURED in picture.alt) == (not light)
    assert ("Ring" in picture.alt) == bool(light)
    return light


def test_charts_of_the_report_ring_the_selected_block(stored):
    curve = stored[1]
    fakes.evaluate(OTHER, curve=curve).save()
    document = make(OTHER)
    assert ringed(chart(document, "Accuracy and loss", "Accuracy against")) == [(5, 0.37)]
    assert ringed(chart(document, "Accuracy and loss", "Loss against")) == [(5, 3.3)]
    assert ringed(chart(document, "Accuracy and loss", "Generated text")) == []
    assert ringed(chart(document, "Loss increase of each block", "Heat map")) == [(14, 5)]
    own = next(point for point in curve.points if point.n == 5)
    assert ringed(chart(make(own.block), "Accuracy and loss", "Accuracy against")) == [(5, own.acc)]


def test_both_files_hold_the_same_numbers_and_every_request(stored):
    document = make()
    page, summary = one_page.html(document), document.markdown()
    cells = Cells(page)
    for section in document.sections:
        for one in section.tables:
            assert all(row in cells.rows for row in one.rows)
            assert all(all(text(cell) in summary for cell in row) for row in one.rows)
    for result in stored:
        assert result.spec.fingerprint() in page
        assert result.spec.fingerprint() in summary
        assert main.command_line(result.spec) in html.unescape(page)
        assert main.command_line(result.spec) in summary
    assert '"layerscope": "0"' in html.unescape(page), "versions"
    assert "seed 0" in page


def test_the_page_has_plotly_once_and_fetches_nothing(stored):
    page = one_page.html(make())
    assert page.count("plotly.js v") == 1
    cells = Cells(page)
    assert all(value.startswith("#") for _, value in cells.fetches), cells.fetches
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


@pytest.mark.long
@pytest.mark.browser
@pytest.mark.timeout(600)
def test_charts_work_in_chromium_offline_and_nothing_harmful_runs(stored, tmp_path):
    maps, sweep = stored[:2]
    named = ModelSpec(EVIL, dtype="float32", device="cpu")
    facts = replace(fakes.FACTS, name=EVIL, family=EVIL)
    asked = BenchmarkSpec(f"/data/{EVIL.replace('/', '_')}.csv", identity="x")
    maps = replace(
        maps, spec=replace(maps.spec, model=named), model=facts, versions={"processor": EVIL}
    )
    maps.save()
    replace(sweep, spec=replace(sweep.spec, model=named, benchmark=asked), model=facts).save()
    file = tmp_path / "report.html"
    document = report.of(named, CUT, main.command_line)
    file.write_text(one_page.html(document), encoding="utf-8")
    seen, wrong = [], []
    with browser.chromium() as chromium:
        for scheme, ink in (("light", "rgb(28, 37, 48)"), ("dark", "rgb(228, 232, 236)")):
            page = chromium.new_context(offline=True, color_scheme=scheme).new_page()
            page.set_default_timeout(180_000)
            page.on("request", lambda request: seen.append(request.url))
            page.on(
                "console",
                lambda message: wrong.append(message.text) if message.type == "error" else None,
            )
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(file.as_uri())
            charts = sum(len(section.pictures) for section in document.sections)
            page.wait_for_function(
                f"document.querySelectorAll('.chart .main-svg').length >= {charts}"
            )
            assert page.locator(".chart.js-plotly-plot").count() == charts == 5
            assert page.evaluate("window.hit") is None
            assert page.locator("main img").count() == 0
            assert page.title() == f"Layerscope report: {EVIL}"
            style = "getComputedStyle(document.querySelector('.chart .xtitle')).fill"
            assert page.evaluate(style) == ink
            assert page.evaluate("getComputedStyle(document.body).color") == ink
            page.context.close()
    assert {url.partition(":")[0] for url in seen} <= {"file", "data", "blob"}
    assert not wrong


A4_PX, LETTER_PX = (round((width_mm - 2 * 11) * 96 / 25.4) for width_mm in (210, 215.9))
"""Widths of the printed pages without their margins of 11 mm."""


@pytest.mark.parametrize("width", [A4_PX, LETTER_PX], ids=["A4", "Letter"])
def test_printed_charts_and_tables_end_at_the_edge_of_the_page(stored, tmp_path, width):
    """A printed page is narrower than the window, and no resize event says so."""
    file = tmp_path / "report.html"
    file.write_text(one_page.html(make()), encoding="utf-8")
    drawn = "Array.from(document.querySelectorAll('.chart')).every(each => each.layout)"
    boxes = """query => Array.from(document.querySelectorAll(query)).map(each => {
        const {left, right, width} = each.getBoundingClientRect();
        return {left, right, width, text: each.textContent};
    })"""
    with browser.chromium() as chromium:
        page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.goto(file.as_uri())
        page.wait_for_function(drawn)
        on_screen = page.evaluate(boxes, ".chart .main-svg")
        # As in Chromium: the event comes first, and then the page has its printed width.
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        page.add_style_tag(content=f"main {{ width: {width}px; margin: 0 !important; }}")
        charts = page.evaluate(boxes, ".chart .main-svg")
        texts = page.evaluate(boxes, ".chart text, .chart .cbfill, .chart .cbaxis")
        tables = page.evaluate(boxes, "table")
        page.emulate_media(media="screen")
        page.add_style_tag(content="main { width: auto; margin: 0 auto !important; }")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        afterwards = page.evaluate(boxes, ".chart .main-svg")
    assert charts
    assert {(round(box["left"]), round(box["right"])) for box in charts} == {(0, width)}
    labels = {box["text"] for box in texts}
    assert labels >= {str(layer) for layer in range(fakes.FACTS.n_layers)}
    # A letter's box is a fraction of a pixel larger than the letter.
    assert not [box for box in texts if box["left"] < -1 or box["right"] > width + 1]
    assert max(box["right"] for box in tables) <= width
    assert afterwards == on_screen


def test_text_code_and_fences_hold_anything():
    assert text("a|b\n# c") == r"a\|b \# c"
    assert code("a`b") == "`` a`b ``"
    assert fenced("x\n````\ny").startswith("`````\n")
    assert fenced("a ` b", "sh") == "```sh\na ` b\n```"
    assert TextTable(["a"], [["x|y"], ["<b>"]]).markdown().splitlines()[2:] == [
        r"| x\|y |",
        r"| \<b\> |",
    ]


def test_an_impossible_report_is_one_sentence(stored):
    with pytest.raises(SpecError, match="other/model has no stored results"):
        report.of(ModelSpec("other/model"), None, main.command_line)
    with pytest.raises(BlockRangeError, match="Layers 28-32"):
        make(Block(28, 5))


def test_the_chosen_result_comes_first(stored):
    deepest = stored[2]
    document = report.of(
        fakes.MODEL, None, main.command_line, {"sweep": deepest.spec.fingerprint()}
    )
    assert table(document, "Accuracy and loss")[0]["strategy"] == "deepest"
    assert table(make(), "Accuracy and loss")[0]["strategy"] == "similarity"


def test_the_command_line_writes_both(stored, tmp_path, capsys):
    for name in ("r.html", "r.md"):
        assert (
            main.main(["report", "starter", "--block", "11:5", "--out", str(tmp_path / name)]) == 0
        )
        assert "SmolLM2-135M-Instruct" in (tmp_path / name).read_text()
    assert main.main(["report", "starter", "--out", str(tmp_path / "r.pdf")]) == 2
    assert "--out must end in .html or .md, not" in capsys.readouterr().err


@pytest.mark.parametrize("keeps_checksum", [True, False])
def test_the_command_line_names_an_edited_result_and_leaves_it_out(
    stored, tmp_path, caplog, keeps_checksum
):
    heal = fakes.heal()
    file = store.result_dir("heal", heal.spec.fingerprint()) / "result.json"
    edited = json.loads(file.read_bytes())
    edited["data"]["healed"]["loss"] = 0.001
    if not keeps_checksum:
        del edited["sha256"]
    file.write_text(json.dumps(edited, indent=1))
    path = tmp_path / "report.md"
    assert main.main(["report", "starter", "--block", "11:5", "--out", str(path)]) == 0
    assert "0.001" not in path.read_text()
    assert "Healing runs" not in path.read_text()
    reason = "does not match its checksum" if keeps_checksum else "has no checksum"
    assert f"{file} {reason}" in caplog.text


def test_the_command_line_judges_the_healing_run_of_a_recipe(stored, tmp_path, capsys):
    words = ["report", "starter", "--healed-by", fakes.heal().spec.recipe]
    path = tmp_path / "healed.md"
    assert main.main([*words, "--block", "11:5", "--out", str(path)]) == 0
    assert "remove layers 11-15 of SmolLM2-135M-Instruct and heal it?" in path.read_text()
    assert main.main([*words, "--out", str(tmp_path / "none.md")]) == 2
    assert "Add --block START:SIZE" in capsys.readouterr().err


CHECK = ReloadCheck("bfloat16", 256, 0.0625, 0.0123, 0.1, 0.996, True)


def written(cut, *, model=fakes.MODEL, facts=fakes.FACTS, heal=None, **options) -> str:
    """Return the card of an export, with the scores of its healed model if that is measured."""
    judged = heal if heal is not None and heal.healed is not None else None
    return model_card.of(
        model, evidence.stored(cut, model, heal=judged, facts=facts), heal=heal, **options
    )


def test_a_model_card_names_its_making_and_missing_measurements(stored):
    heal = stored[4]
    card = written(CUT, heal=heal, adapter=heal.adapter, check=CHECK)
    front = card.split("---")[1]
    assert "library_name: transformers" in front
    assert "license: apache-2.0" in front
    assert "base's licence applies" not in card
    other = written(CUT, model=replace(fakes.MODEL, source="me/model"))
    assert "license" not in other.split("---")[1]
    assert "does not know that licence" in other
    for name, point in (
        ("unpruned", heal.unpruned),
        ("pruned", heal.pruned),
        ("healed", heal.healed),
    ):
        assert f"| {name} | {point.n} | {said(point.acc, point.interval)} | 100 |" in card
    assert "seed 0" in card
    assert "0.0625" in card
    assert "layers 11-15 (5 layers)" in card
    assert "learning\\_rate 0.0003" in card


def test_a_card_of_an_unhealed_cut_has_the_curves_numbers(stored):
    sweep = stored[1]
    point = sweep.points[5]
    card = written(point.block)
    assert f"| pruned | 5 | {point.acc:.3f}" in card
    assert "It was not healed" in card
    assert "Checked" not in card
    assert "was not measured" in written(Block(1, 2))


@pytest.mark.parametrize(
    "name",
    [
        EVIL,
        "a: b\n---\nlicense: mit\n# title",
        "# no",
        "- [x",
        "!!python/name:os.system",
        "\x1b[2J",
        "42",
    ],
)
def test_no_name_breaks_the_metadata_of_a_card(stored, tmp_path, name):
    saved = read_back(
        tmp_path,
        written(
            Block(1, 2),
            model=replace(fakes.MODEL, source=name),
            facts=replace(fakes.FACTS, name=name),
        ),
    )
    told = saved.data.to_dict()
    assert told.keys() - {"base_model"} == {"library_name", "pipeline_tag", "tags", "model_name"}
    assert told["model_name"].startswith(name)
    assert saved.text.startswith("\n# ")


def read_back(folder: Path, card: str) -> ModelCard:
    (folder / "README.md").write_text(card, encoding="utf-8")
    return ModelCard.load(folder / "README.md")


def test_a_card_is_read_back_with_its_models_scores(stored, tmp_path):
    heal = stored[4]
    data = read_back(tmp_path, written(CUT, heal=heal, adapter=heal.adapter)).data
    assert (data.library_name, data.base_model, data.tags) == (
        "transformers",
        starter.HUB_ID,
        ["layer-pruning"],
    )
    assert (data.license, data.pipeline_tag) == ("apache-2.0", "text-generation")
    assert data.model_name == f"{fakes.FACTS.name} without {CUT.describe()}"
    accuracy, loss = data.eval_results
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", heal.healed.acc)
    assert (accuracy.dataset_type, accuracy.dataset_config, accuracy.dataset_split) == (
        "allenai/ai2_arc",
        "ARC-Easy",
        "validation",
    )
    assert accuracy.dataset_args["seed"] == 0
    held = {"dtype": "bfloat16", "quantization": "4bit", "weights": "Q4_1"}
    assert (
        accuracy.metric_args
        == {
            "n": 100,
            **dict(zip(("low", "high"), heal.healed.interval, strict=True)),
        }
        | held
    )
    assert (loss.metric_type, loss.metric_value, loss.metric_args["n"]) == (
        "loss",
        heal.healed.loss,
        heal.healed.n_texts,
    )

    point = stored[1].points[5]
    bare = read_back(tmp_path, written(point.block)).data
    assert [result.metric_value for result in bare.eval_results] == [point.acc, point.loss]
    assert bare.eval_results[0].metric_args["quantization"] == "none"


def test_a_card_is_one_that_the_hub_takes(stored, tmp_path, loopback, monkeypatch):
    """As `huggingface_hub` has it judged: it names the hub itself, whose place a small one takes
    here.
    """
    from huggingface_hub import get_session, repocard

    def post(address, **given):
        return get_session().post(f"{loopback.endpoint}{urlsplit(address).path}", **given)

    monkeypatch.setattr(repocard, "get_session", lambda: SimpleNamespace(post=post))
    heal = stored[4]
    made = written(CUT, heal=heal, adapter=heal.adapter, check=CHECK, file="m-BF16.gguf")
    card = read_back(tmp_path, made)
    card.validate()
    assert [one.path for one in loopback.asked] == ["/api/validate-yaml"]
    again = ModelCardData(**card.data.to_dict())
    assert again.to_yaml() == card.data.to_yaml()
    assert card.data.library_name == "gguf"
    for wrong in ("license: mine", "base_model: /home/me/model", "pipeline_tag: writing"):
        name = wrong.partition(":")[0]
        with pytest.raises(ValueError, match=name):
            ModelCard(re.sub(rf"^{name}: .*$", wrong, made, count=1, flags=re.MULTILINE)).validate()
    with pytest.raises(ValueError, match="model_index"):
        ModelCard(made.replace("      type: allenai/ai2_arc\n", "")).validate()


def test_a_card_claims_no_score_of_another_model(stored, tmp_path):
    point = stored[1].points[5]
    unknown_heal = written(point.block, adapter="adapters/of-unknown-training")
    stopped = written(CUT, heal=replace(stored[4], healed=None), adapter="adapters/abc")
    for card in (unknown_heal, stopped):
        assert "| pruned | 5 |" in card
        assert read_back(tmp_path, card).data.eval_results is None


def test_a_heal_in_nf4_stands_below_its_own_unpruned_model(stored):
    rows = table(make(), f"Removed: {CUT.brief()}", 1)
    named = {row["model"]: row["measured on"] for row in rows}
    alike = "100 ARC-Easy questions and 8 texts of C4, bfloat16 from Q4_1 weights"
    in_nf4 = "100 ARC-Easy questions and 8 texts of C4, NF4, bfloat16 from Q4_1 weights"
    assert named == {"unpruned": in_nf4, "pruned": in_nf4, "healed, quick": in_nf4}
    fakes.evaluate(CUT).save()
    assert table(make(), "Single evaluations")[0]["measured on"] == alike


def test_the_report_of_each_model_holds_their_common_grid(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")
    fakes.grid().save()
    fakes.distances().save()
    document = report.of(fakes.MODEL, None, main.command_line)
    section = document.sections[-1]
    assert section.title == "Grid"
    assert [len(table.rows) for table in section.tables] == [64, 4]
    assert section.commands == [main.command_line(fakes.grid().spec)]
