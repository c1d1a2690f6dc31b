"""Compare in every state: nothing yet, queued, growing, done, failed; and nothing that anyone wrote
becomes markup.
"""

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from analysis import jobs
from analysis.core.blocks import Block
from analysis.experiments.prompt.comparison_spec import CompareResult, CompareSpec, Variant, Writing
from analysis.models.source import remote
from tests.support import fakes
from tests.support.seen import figures, read, texts, trace

PAGE = "pages/compare.py"
BLOCK = Block(13, 5)
"""The block that the made-up map chooses at n = 5."""
NASTY = (
    "<script>alert(1)</script> <img src=x onerror=y> **bold** [link](http://evil) $x$ www.evil.com"
)
VARIANTS = (
    Variant(),
    Variant("pruned", BLOCK),
    Variant("instant", BLOCK, "adapters/a"),
    Variant("healed", BLOCK, "adapters/b"),
)


def writing(tokens, *, complete=True, layers=25) -> Writing:
    n = len(tokens)
    own, unpruned = (
        [0.5 + 0.1 * index for index in range(n)],
        [1.0 + 0.2 * index for index in range(n)],
    )
    return Writing(
        tokens,
        [f" t{token}" for token in tokens],
        own,
        unpruned * complete,
        layers,
        0.1,
        0.5,
        False,
        complete,
    )


def comparison(*writings, prompt=NASTY, complete=True) -> CompareResult:
    spec = CompareSpec(fakes.MODEL, prompt, VARIANTS, 6)
    whole = [1, 2, 3, 4, 5, 6]
    written = [writing(tokens) for tokens in (whole, [1, 2, 9, 9, 9, 9], [1, 2, 3, 4, 7, 8], whole)]
    given = list(writings) or [replace(written[0], n_layers=30), *written[1:]]
    return CompareResult(
        spec, fakes.VERSIONS, 3.0, 40, complete, "SmolLM2-135M-Instruct", fakes.L, 12, given
    )


def asked_for(at: AppTest, prompt=NASTY, tokens=6) -> AppTest:
    """Return the page with a form that has the stored request."""
    at.text_area(key="prompt-text").set_value(prompt)
    if tokens is not None:
        at.number_input(key="compare-tokens").set_value(tokens)
    at.run()
    assert not at.exception
    return at


def html_of(at: AppTest) -> str:
    """Return the HTML of all texts; the style sheet of the page is none of them."""
    bodies = [element.proto.body for element in at.get("html")]
    return "".join(body for body in bodies if not body.startswith("<style>"))


@pytest.fixture
def known(ui_cache):
    """A model with a map, and two healing runs of its cut with adapters on disk."""
    fakes.distances().save()
    for name, recipe in (("a", "instant"), ("b", "quick")):
        heal = fakes.heal()
        spec = replace(heal.spec, block=BLOCK, recipe=recipe)
        replace(heal, spec=spec, adapter=f"adapters/{name}").save()
        (ui_cache / "adapters" / name).mkdir(parents=True)


def test_of_an_unknown_model_only_the_unpruned_one_can_write(app):
    at = app(PAGE)
    assert "no distance map yet" in texts(at)
    assert (
        "Not generated yet for this prompt and block (nothing removed). Click **Generate**"
        in texts(at)
    )
    at.button(key="compare-go").click().run()
    (made,) = jobs.active()
    assert made.spec.variants == (Variant(),)


def test_four_variants_of_the_cut_are_requested_with_one_click(app, known):
    at = app(PAGE, n="5")
    assert BLOCK.brief() in texts(at)
    at.button(key="compare-go").click().run()
    (made,) = jobs.active()
    assert {variant.label for variant in made.spec.variants} == {
        "unpruned",
        "pruned",
        "instant",
        "healed",
    }
    assert {(variant.block, variant.adapter) for variant in made.spec.variants[2:]} == {
        (BLOCK, "adapters/a"),
        (BLOCK, "adapters/b"),
    }
    assert (made.spec.prompt, made.spec.temperature, made.spec.model.source) == (
        "The capital of France is",
        0.0,
        "starter",
    )
    assert "Next in the queue" in texts(at)
    assert "capital" not in made.label


def test_the_slider_chooses_another_cut_here_and_on_explore(app, known):
    at = app(PAGE, n="5")
    at.slider(key="compare-n").set_value(3).run()
    assert fakes.distances().best[2].block.brief() in texts(at)
    assert "3" in at.query_params["n"]
    at.slider(key="compare-n").set_value(0).run()
    at.button(key="compare-go").click().run()
    assert jobs.active()[0].spec.variants == (Variant(),)


def test_without_a_healing_run_the_instant_heal_is_offered(app, ui_cache):
    fakes.distances().save()
    replace(
        fakes.heal(), spec=replace(fakes.heal().spec, block=BLOCK), adapter="adapters/gone"
    ).save()
    control = replace(fakes.heal().spec, block=BLOCK, control=True)
    replace(fakes.heal(), spec=control, adapter="adapters/control").save()
    (ui_cache / "adapters" / "control").mkdir(parents=True)
    at = app(PAGE, n="5")
    assert "No healed model of these layers is on this machine" in texts(at)
    at.button(key="instant").click().run()
    (made,) = jobs.active()
    assert (made.kind, made.spec.block, made.spec.recipe) == ("heal", BLOCK, "instant")


def test_a_growing_comparison_is_shown_as_far_as_it_is(app, known, job):
    lengths = ([1, 2, 3, 4], [1, 2, 9, 4], [1, 2, 3], [1, 2, 3])
    growing = comparison(*(writing(tokens, complete=False) for tokens in lengths), complete=False)
    growing.save()
    made = job(
        growing.spec,
        jobs.RUNNING,
        "Comparison",
        phase="writing",
        done=8,
        total=24,
        result_key=growing.spec.fingerprint(),
    )
    at = asked_for(app(PAGE, n="5"))
    shown = html_of(at)
    assert shown.count("▍") == 4, "all of them grow"
    assert (
        shown.count("text-decoration:underline") == shown.count("the first token that differs") == 1
    )
    at.button(key=f"compare-cancel-{made.id}").click().run()
    assert jobs.get(made.id).cancel_requested


def test_done_comparison_shows_texts_surprisal_and_first_difference(app, known):
    comparison().save()
    at = asked_for(app(PAGE, n="5"))
    table = at.table[0].value
    assert list(table["model"]) == ["unpruned", "pruned", "instant heal", "healed"]
    assert list(table["differs from token"]) == ["–", "3", "5", "–"]
    assert list(table["surprisal to unpruned, nats"]) == ["1.50"] * 4
    assert list(table["repeated 4-grams"]) == ["0 %"] * 4
    assert html_of(at).count("the first token that differs") == 2
    assert html_of(at).count("text-decoration:underline") == 4 + 2
    assert BLOCK.brief() in texts(at)
    curve = figures(at)["surprise"]
    assert trace(curve, "pruned")["y"] == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8, 2.0])
    assert trace(curve, "unpruned")["line"]["dash"] == "dash"
    assert trace(curve, "pruned parts")["x"] == [3]
    at.button_group(key="surprise-of").set_value("own").run()
    assert trace(figures(at)["surprise"], "pruned")["y"][0] == 0.5
    at.button_group(key="surprise-of").set_value("off").run()
    assert "nats" not in html_of(at)
    assert "python -m analysis compare starter" in at.code[0].value


def test_texts_of_models_and_visitors_are_never_markup(app, known):
    done = comparison()
    texts_ = [replace(text, pieces=[NASTY, *text.pieces[1:]]) for text in done.writings]
    replace(done, writings=texts_).save()
    at = asked_for(app(PAGE, n="5"))
    shown = html_of(at)
    assert "&lt;script&gt;alert(1)" in shown
    assert not [tag for tag in ("<script", "<img", "<a ") if tag in shown]
    assert not [element for element in at.markdown if "evil" in element.value]


def test_a_failed_comparison_says_why_and_can_be_resumed(app, known, job):
    made = job(comparison().spec, jobs.FAILED, "Comparison", error="The disk is full.")
    at = app(PAGE, n="5")
    at.session_state["compare-job"] = made.id
    asked_for(at)
    assert "The disk is full." in [item.value for item in at.error]
    at.button(key=f"compare-resume-{made.id}").click().run()
    assert jobs.get(made.id).state == jobs.QUEUED


def stored(at: AppTest):
    return next(box for box in at.selectbox if box.label == "Stored results")


def test_a_stored_comparison_fills_the_form_it_belongs_to(app, known):
    comparison(prompt="Older").save()
    comparison(prompt="Newer").save()
    at = app(PAGE, n="3")
    assert not html_of(at), "no text of another prompt or block stands below the form"
    assert "Not generated yet for this prompt and block (" in texts(at)
    menu = stored(at)
    place, older = next(
        (place, option) for place, option in enumerate(menu.options) if "Older" in option
    )
    assert f"without {BLOCK.brief()} · 4 models · greedy · 6 tokens" in older
    menu.select_index(place).run()
    assert not at.exception
    assert at.text_area(key="prompt-text").value == "Older"
    assert at.number_input(key="compare-tokens").value == 6
    assert BLOCK.brief() in texts(at)
    assert "Older" in html_of(at)
    assert "Newer" not in html_of(at)
    assert "Not generated yet" not in texts(at)


def test_columns_belong_to_the_prompt_and_block_of_the_form(app, known):
    comparison().save()
    at = asked_for(app(PAGE, n="5"))
    assert at.table
    assert at.button(key="compare-go").disabled, "it is written already"
    condition = next(caption.value for caption in at.markdown if "gray-badge" in caption.value)
    for part in (f"without {BLOCK.brief()}", "greedy", "bfloat16"):
        assert part in read(condition), part
    asked_for(at, prompt="Something else")
    assert not at.table
    assert not html_of(at)
    assert not at.button(key="compare-go").disabled
    asked_for(at)
    assert at.table
    at.slider(key="compare-n").set_value(3).run()
    assert not at.table, "another block"
    at.slider(key="compare-n").set_value(5).run()
    at.number_input(key="compare-tokens").set_value(7).run()
    assert not at.table, "another length"


def test_runs_are_one_click_away_and_first_where_pinned(app, known):
    at = app(PAGE)
    assert at.button_group(key="compare-view").value == "Prompt"
    at.button_group(key="compare-view").set_value("Runs").run()
    assert not at.exception
    assert at.get("arrow_data_frame") or at.dataframe
    key = fakes.distances().spec.fingerprint()
    assert app(PAGE, pin=f"distances:{key}").button_group(key="compare-view").value == "Runs"


@pytest.mark.parametrize(
    ("view", "key"), [("Prompt", "compare-go"), ("Microscope", "microscope-go")]
)
def test_weights_that_are_not_here_generate_nothing(compare, known, monkeypatch, view, key):
    monkeypatch.setattr(
        remote,
        "reason_unavailable",
        lambda source, revision: "The weights are not on this machine.",
    )
    at = compare(view)
    assert at.button(key=key).disabled
    assert "The weights are not on this machine." in read(texts(at))
