"""The decision sheet: the answer on one page, no request to any address, no foreign markup, and
first in the report.
"""

import re
from dataclasses import replace

import pytest

from analysis.cli import main
from analysis.core import store
from analysis.core.blocks import Block, PartSet
from analysis.core.errors import BlockRangeError, SpecError
from analysis.exports import page, report, sheet, sheet_pdf
from tests.exports.test_report import EVIL, Cells
from tests.support import browser, fakes

CUT = Block(11, 5)
PAGES = re.compile(rb"/Type\s*/Page\b")


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A cache with curves, a loss-increase map, a heal and the speed of one model."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")
    curve, heal = (
        fakes.with_losses(fakes.sweep(answers=True)),
        fakes.with_losses(fakes.alike_heal()),
    )
    for result in (fakes.distances(), curve, fakes.damage(), heal, fakes.speed()):
        result.save()
    return tmp_path


def make(cut=CUT, **options) -> sheet.Sheet:
    return sheet.of(fakes.MODEL, cut, main.command_line, **options)


def healed_by(heal) -> sheet.Sheet:
    evidence = sheet.evidence_of(fakes.MODEL, CUT, {})
    return sheet.from_evidence(replace(evidence, heal=heal), main.command_line)


def hostile() -> sheet.Sheet:
    """A sheet whose model name is markup, whose texts are long, and which has many risks."""
    made = make()
    long = (
        f"{EVIL} a risk with a long explanation that goes over two lines of a column on paper, with"
        " its numbers."
    )
    found = replace(
        made.decision,
        risks=(long,) * 6,
        unknowns=(long,) * 6,
        reasons=(EVIL, EVIL),
        summary=f"{made.decision.summary} {EVIL}",
    )
    return replace(
        made,
        model=f"日本語 ẞ {EVIL}",
        decision=found,
        commands=(*made.commands, f"python {EVIL}" * 3),
    )


def test_html_states_recommendation_rule_and_every_number(stored):
    made = make()
    said = sheet.html(made)
    plain = (
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", said))
        .replace("&#39;", "'")
        .replace("&gt;", ">")
    )
    assert made.recommendation in plain
    for text in (
        made.decision.rule,
        *made.decision.reasons,
        *made.decision.next_steps,
        *made.decision.risks,
    ):
        assert text in plain
    for number in made.decision.numbers:
        assert number.value in plain
        assert number.interval.removeprefix("95 % CI ") in plain
        assert number.on in plain
    assert all(text in plain for text in made.decision.unknowns)
    assert "python -m analysis heal starter" in plain, "the run that scored this block"
    assert (
        "python -m analysis sheet starter --block 11:5 --dtype bfloat16 --accept-points 3"
        " --accept-nats 0.1 --out sheet.html" in plain
    )


def test_the_sheet_of_a_gguf_model_offers_the_file_with_its_size(stored):
    answer = make().sections[0]
    assert dict(answer.lists)["GGUF file for llama.cpp and Ollama"] == [
        "87.3 MB instead of 98.4 MB."
    ]
    assert [line.split()[0] for line in answer.commands] == [
        "python",
        "llama-cli",
        "ollama",
        "ollama",
    ]
    assert not make(PartSet(attention=(3,))).sections[0].commands


def test_a_healed_model_offers_its_file_only_with_its_adapter(stored):
    healed = fakes.alike_heal()
    assert not healed_by(replace(healed, adapter=None)).file
    assert f"--adapter {healed.adapter} " in healed_by(healed).file[0]
    assert healed_by(healed).title.endswith(" and heal it?"), (
        "its numbers are those of the healed model"
    )


def test_hostile_names_stay_text_in_html_and_markdown(stored):
    made = hostile()
    said = Cells(sheet.html(made))
    assert not {"img", "script", "a"} & set(said.tags)
    assert not said.fetches
    assert not any(name.startswith("on") for name, _ in said.attributes)
    assert "default-src 'none'" in sheet.html(made)
    plain = re.split("`{3,}sh", sheet.markdown(made))[0]
    assert "<img" not in re.sub(r"\\<", "", plain)
    assert "<script" not in re.sub(r"\\<", "", plain)


@pytest.mark.parametrize("which", [make, hostile], ids=["usual", "hostile"])
def test_pdf_has_two_pages_and_its_fonts(stored, which):
    content, n_most = sheet_pdf.pdf(which()), 2 if which is make else 3
    assert content.startswith(b"%PDF-")
    assert 2 <= len(PAGES.findall(content)) <= n_most
    assert b"/FontFile2" in content
    assert b"/URI" not in content
    assert content == sheet_pdf.pdf(which()), "equal sheets give equal files"


@pytest.mark.browser
@pytest.mark.parametrize("which", [make, hostile], ids=["usual", "hostile"])
def test_html_prints_its_answer_on_one_page_and_fits_a_phone(stored, which):
    with browser.chromium() as chromium:
        tab = chromium.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.set_content(sheet.html(which()))
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert len(PAGES.findall(tab.pdf(prefer_css_page_size=True, page_ranges="2-"))) >= 1
        tab.add_style_tag(content="section ~ section { display: none; }")
        assert len(PAGES.findall(tab.pdf(prefer_css_page_size=True))) == 1
        assert tab.evaluate("window.hit") is None
    assert asked == []


def test_the_report_begins_with_the_sheet(stored):
    document = report.of(fakes.MODEL, CUT, main.command_line)
    answer, method = document.sections[:2]
    assert answer.title == f"{make().title} {make().recommendation}"
    assert [section.is_page for section in document.sections[:3]] == [True, True, False]
    assert dict(method.lists)["Further risks"] == (
        make().decision.risks or ["None in the stored results."]
    )
    assert '<section class="page">' in page.html(document)
    assert "### Unknown" in document.markdown()
    assert not any(
        section.is_page for section in report.of(fakes.MODEL, None, main.command_line).sections
    )


def test_the_picture_shows_each_interval_next_to_the_accepted_change(stored):
    made = make()
    accuracy, loss = made.decision.judged
    shapes = made.sections[0].drawing.shapes
    assert [shape.tone for shape in shapes if shape.tone in ("removed", "layer")] == [
        "removed" if layer in CUT.layers else "layer" for layer in range(fakes.FACTS.n_layers)
    ]
    accepted = [shape for shape in shapes if shape.tone == "accepted"]
    assert len(accepted) == sum(judged.quantity.change is not None for judged in (accuracy, loss))
    bar = next(shape for shape in shapes[shapes.index(accepted[-1]) :] if shape.tone == "ink")
    per_nat = accepted[-1].width / loss.bound
    assert bar.width == pytest.approx(
        per_nat * (loss.quantity.change.high - loss.quantity.change.low)
    )
    assert bar.x - accepted[-1].x == pytest.approx(per_nat * loss.quantity.change.low)


def test_the_heal_of_a_recipe_is_judged(stored):
    made = make(recipe="quick")
    assert made.judged.endswith("healed by recipe quick")
    assert "--healed-by quick" in made.commands[-1]
    with pytest.raises(SpecError, match="uses the recipe 'paper'. Stored recipes: quick"):
        make(recipe="paper")


def test_nothing_stored_and_blocks_outside_are_refused(stored):
    with pytest.raises(BlockRangeError):
        make(Block(28, 5))
    with pytest.raises(SpecError, match="Measure the block first"):
        sheet.of(
            replace(fakes.MODEL, source="/no/model", identity="sha256:none"), CUT, main.command_line
        )
