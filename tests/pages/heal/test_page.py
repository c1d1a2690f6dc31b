"""Heal in every state: nothing known, ready, queued, running, done, failed, interrupted."""

import json
from dataclasses import replace

from analysis import jobs
from analysis.core import host
from analysis.core.blocks import Block
from analysis.data.decontamination import Overlap
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_result import JunctionReport, Sample, Validation
from analysis.jobs.queue import table as job_table
from analysis.models.source import remote
from analysis.results.compared import durations
from pages.components.shared import access
from tests.support import fakes, own_recipe

FIRST = next(iter(recipes.NAMES))
OF_HEAL = {"block": "11:5"}
"""Opens the page at the cut of `fakes.heal`."""


def texts(at) -> str:
    shown = [*at.markdown, *at.caption, *at.info, *at.error, *at.warning, *at.code]
    return "\n".join(str(element.value) for element in shown)


def axes(at) -> list[str]:
    figures = [json.loads(element.proto.spec) for element in at.get("plotly_chart")]
    return [figure["layout"]["yaxis"]["title"]["text"] for figure in figures]


def started(at) -> jobs.Job:
    """Click the main button, and return the one job."""
    at.button(key="start-heal").click().run()
    assert not at.exception
    (made,) = jobs.active()
    return made


def test_page_of_an_unknown_model_names_the_first_step(app):
    at = app("pages/heal.py")
    assert "This model has no distance map yet. Compute one" in texts(at)
    assert "This model has no healing run yet" in texts(at)


def test_starting_queues_the_recipe_for_the_sliders_block(app, known):
    at = app("pages/heal.py", n="5")
    best = fakes.distances().best[4].block
    assert best.brief() in texts(at)
    name = next(iter(recipes.NAMES))
    at.button_group(key=f"{name}-time").set_value("Own").run()
    at.button_group(key=f"{name}-unit").set_value("steps").run()
    at.number_input(key=f"{name}-steps").set_value(7)
    at.number_input(key=f"{name}-r").set_value(8)
    made = started(at)
    assert (made.spec.block, made.spec.steps, made.spec.r) == (best, 7, 8)
    assert made.spec.model.quantization == "none", "small enough not to be quantized"
    assert made.spec.benchmark.limit == fakes.sweep().spec.benchmark.limit
    assert "Next in the queue" in texts(at)


def test_run_uses_the_questions_of_the_curve_even_a_file(app):
    fakes.distances().save()
    own = access.keep_upload("mine.csv", b"question,A,B,answer\nq,1,2,A\n", ".csv")
    for benchmark in (
        BenchmarkSpec(own, identity="x"),
        BenchmarkSpec("mmlu", subset=("stem",), shots=2, protocol="paper"),
    ):
        measured = fakes.sweep()
        replace(measured, spec=replace(measured.spec, benchmark=benchmark)).save()
        at = app("pages/heal.py", n="5")
        at.button(key="start-heal").click().run()
        assert not at.exception
        assert jobs.active()[-1].spec.benchmark == replace(benchmark, identity="")


def test_an_untouched_form_is_the_preset(app, known):
    at = app("pages/heal.py", n="5")
    made = started(at)
    assert (made.spec.recipe, made.spec.minutes, made.spec.steps) == (
        next(iter(recipes.NAMES)),
        10.0,
        0,
    )


def test_instant_recipe_has_no_time_and_shows_its_duration(app, known, monkeypatch):
    monkeypatch.setattr(host, "processor", lambda: "a test")
    at = app("pages/heal.py", **OF_HEAL)
    at.selectbox(key="recipe").set_value("instant").run()
    assert "Duration unknown: no similar healing run has finished on this machine" in texts(
        at
    ).replace("\\", "")
    assert not [group for group in at.button_group if group.label == "Time, scoring included"]
    instant = replace(fakes.heal_spec().model, quantization="none")
    for n, start, loss in ((3, 13, 3.0), (10, 9, 3.3)):
        made = healed(
            n,
            start,
            recipe="instant",
            steps=0,
            instant=True,
            validation=CorpusSpec("c4"),
            model=instant,
        )
        fit = JunctionReport("model.layers.12.mlp.down_proj", 1.0, 4.0, 3.5, 4096, 20.0)
        made = replace(made, steps=[], versions={"processor": "a test, 2 threads"}, junction=fit)
        replace(made, healed=replace(made.healed, loss=loss)).save()
    assert "until the verdict." in texts(at.run())


def test_too_few_minutes_are_named_with_the_least_time(app, known, monkeypatch):
    monkeypatch.setattr(durations, "expected", lambda *_: durations.Duration(300, 400, 2))
    at = app("pages/heal.py", **OF_HEAL)
    assert "too short" not in texts(at)
    at.button_group(key=f"{FIRST}-time").set_value("Own").run()
    at.number_input(key=f"{FIRST}-minutes").set_value(2.0).run()
    said = texts(at).replace("\\", "")
    assert "2 min are too short here: fit and scoring alone take about 5-7 min. Choose" in said
    at.number_input(key=f"{FIRST}-minutes").set_value(4.0).run()
    said = texts(at).replace("\\", "")
    assert "take about 5-7 min. The run is extended by itself to at most 6 min." in said
    assert "4 min, at most 6 min until the verdict." in said.lower()


def test_minutes_and_another_text(app, known):
    at = app("pages/heal.py", n="5")
    at.selectbox(key=f"{FIRST}-text").set_value("c4").run()
    at.button_group(key=f"{FIRST}-time").set_value("Own").run()
    at.number_input(key=f"{FIRST}-minutes").set_value(3.0)
    at.checkbox(key=f"{FIRST}-writes").set_value(True)
    healed = started(at).spec
    assert (healed.minutes, healed.corpus.source, healed.validation.source) == (3.0, "c4", "wiki")
    assert (healed.recipe, healed.instant, healed.control) == (f"{FIRST}, changed", True, False)
    assert healed.generation is not None


def test_a_saved_recipe_and_an_older_run_bring_their_numbers(app, known, job):
    at = app("pages/heal.py", n="5")
    at.number_input(key=f"{FIRST}-r").set_value(5)
    at.text_input(key=f"{FIRST}-save-as").set_value("mine")
    at.button(key="save-recipe").click().run()
    assert not at.exception
    assert not jobs.active()
    assert at.selectbox(key="recipe").value == "saved:mine"
    assert at.number_input(key="saved-mine-r").value == 5
    made = started(at)
    assert (made.spec.recipe, made.spec.r) == ("mine", 5)
    at = app("pages/heal.py", n="3")
    at.selectbox(key="recipe").set_value(f"run:{made.id}").run()
    assert at.number_input(key=f"{made.id}-r").value == 5
    at.text_input(key=f"{made.id}-save-as").set_value("../bad")
    at.button(key="save-recipe").click().run()
    assert "is not valid" in at.error[0].value


def test_recipe_from_a_file_is_on_the_menu_and_starts(app, known, tmp_path):
    with own_recipe.registered(tmp_path) as recipe:
        at = app("pages/heal.py", n="5")
        assert [option for option in at.selectbox(key="recipe").options if "gentle" in option] == [
            recipe.label
        ]
        at.selectbox(key="recipe").set_value("gentle").run()
        assert recipe.why in texts(at)
        assert at.number_input(key="gentle-r").value == 2
        made = started(at)
        assert (made.spec.recipe, made.spec.r, made.spec.steps, made.spec.separate_documents) == (
            "gentle",
            2,
            2,
            False,
        )


def test_no_other_block_stands_for_unmeasured_layers(app, known):
    """Explore does not know greedy's layers, so the most similar block is not healed in their place
    unasked.
    """
    at = app("pages/heal.py", n="4", strategy="greedy")
    assert (
        "The layers that greedy removes are not measured. Click **Run a sweep** on Explore."
        in texts(at)
    )
    assert not [button for button in at.button if button.key == "start-heal"]
    at.selectbox(key="cut-strategy").set_value("similarity").run()
    assert "**layers " in texts(at)
    assert started(at).spec.block.size == 4


def test_scattered_cut_is_healed_and_another_can_be_chosen(app, known):
    swept = fakes.sweep(strategy="block-influence")
    swept.save()
    cut = next(point.block for point in swept.points if point.n == 5)
    at = app("pages/heal.py", n="5", strategy="block-influence")
    assert f"**{cut.brief()}**" in texts(at)
    made = started(at)
    assert (made.spec.block, made.label.startswith(f"Heal {cut.brief()}")) == (cut, True)
    at.selectbox(key="cut-strategy").set_value("deepest").run()
    assert f"**{Block(24, 5).brief()}**" in texts(at)


def running(job, steps_done: int = 20):
    """Return a job of a running healing run, with its published values."""
    heal = fakes.heal(steps_done)
    heal.save()
    values = {
        "step": steps_done,
        "loss": 3.21,
        "learning_rate": 2e-4,
        "tokens_per_s": 440.0,
        "memory_bytes": 1.3e9,
    }
    return job(
        fakes.heal_spec(),
        jobs.RUNNING,
        "Heal",
        phase="healing",
        done=steps_done,
        total=50,
        result_key=heal.spec.fingerprint(),
        values=job_table.to_json(values),
    )


def test_running_heal_shows_numbers_and_curve_and_can_be_cancelled(app, known, job):
    made = running(job)
    at = app("pages/heal.py", **OF_HEAL)
    shown = {item.label: item.value for item in at.metric}
    assert shown["Step"] == "20 of 50"
    assert shown["Training loss"] == "3.21"
    assert shown["Speed"] == "440 tokens/s"
    assert shown["Peak memory"] == "1.3 GB"
    assert axes(at)[-1] == "loss, nats per token"
    at.button(key=f"heal-cancel-{made.id}").click().run()
    assert jobs.get(made.id).cancel_requested


def test_a_done_heal_shows_verdict_models_and_adapter(app, known, ui_cache):
    fakes.heal().save()
    (ui_cache / "adapters" / "abc").mkdir(parents=True)
    at = app("pages/heal.py", **OF_HEAL)
    assert "Healing recovers" in texts(at)
    table = at.table[0].value
    assert list(table["model"]) == ["unpruned", "pruned", "healed"]
    assert list(table["accuracy"]) == ["48.0% (38‑58)", "41.0% (32‑51)", "46.0% (37‑56)"]
    assert list(table["loss, C4"]) == ["2.41 (2.22‑2.60)", "4.45 (4.24‑4.66)", "3.10 (2.91‑3.29)"]
    assert list(table["loss, Wikipedia (as trained on)"]) == [
        "2.30 (2.16‑2.44)",
        "4.60 (4.42‑4.78)",
        "2.75 (2.61‑2.89)",
    ]
    assert "tokens/s" not in table, "no speed was measured"
    assert axes(at) == ["loss, nats per token"]
    assert str(ui_cache / "adapters" / "abc") in texts(at)


def test_a_failed_heal_shows_the_sentence_and_the_log(app, known, job, ui_cache):
    made = job(fakes.heal_spec(), jobs.FAILED, "Heal", error="The disk is full.")
    (made.folder / "log.txt").write_text("step 1\nNo space left on device\n")
    at = app("pages/heal.py", **OF_HEAL)
    assert "The disk is full." in [item.value for item in at.error]
    at.session_state[f"heal-log-{made.id}"] = True
    at.run()
    assert "No space left on device" in at.main.code[0].value
    at.button(key=f"heal-resume-{made.id}").click().run()
    assert jobs.get(made.id).state == jobs.QUEUED


def test_a_heal_stopped_before_its_first_step_draws_no_chart(app, known, job):
    heal = replace(fakes.heal(0), validations=[], unpruned=None, pruned=None, healed=None)
    heal.save()
    job(
        fakes.heal_spec(),
        jobs.CANCELLED,
        "Heal",
        error="It was cancelled.",
        result_key=heal.spec.fingerprint(),
    )
    at = app("pages/heal.py", **OF_HEAL)
    assert "It was cancelled." in [item.value for item in at.warning]
    assert not [*axes(at), *at.table]


def test_a_heal_stopped_in_training_shows_what_it_measured(app, known, job):
    heal = replace(fakes.heal(20), healed=None, unpruned_check=Validation(0, 2.5, 0.1))
    heal.save()
    replace(
        fakes.heal(), spec=replace(heal.spec, control=True, recipe="quick"), pruned=None
    ).save()  # nothing to compare yet
    paused = job(fakes.heal_spec(), jobs.PAUSED, "Heal", result_key=heal.spec.fingerprint())
    at = app("pages/heal.py", **OF_HEAL)
    next(menu for menu in at.selectbox if menu.label == "Run").set_value(paused.id).run()
    assert len(at.get("plotly_chart")) == 2, "the gap and the loss"
    assert list(at.table[0].value["model"]) == ["unpruned", "pruned"]
    assert "loss, nats per token" in axes(at)


def test_outcome_compares_each_text_and_each_question(app, known):
    answers = {
        name: [
            QuestionScore(f"q{index}", [0.0, 0.0], int(index >= right), 0) for index in range(40)
        ]
        for name, right in (("unpruned", 27), ("pruned", 10), ("healed", 25))
    }
    losses = {
        "unpruned": [2.4, 2.6, 2.5, 2.7],
        "pruned": [4.4, 4.6, 4.5, 4.7],
        "healed": [3.4, 3.6, 3.5, 3.7],
    }
    replace(fakes.heal(), text_losses=losses, text_tokens=[10] * 4, questions=answers).save()
    shown = texts(app("pages/heal.py", **OF_HEAL)).replace("\\", "")
    assert "Accuracy: 38 points higher than the pruned model (95 % CI +" in shown
    assert "Accuracy: not significantly different from the unpruned model (95 % CI -" in shown
    assert "Healed against unpruned: +1.00 nats/token (95 % CI" in shown


def test_a_control_stands_beside_the_heal_it_belongs_to(app, known):
    heal = fakes.heal()
    spec = replace(heal.spec, control=True, recipe="quick")
    replace(heal, spec=spec, pruned=None, healed=replace(heal.unpruned, loss=2.2)).save()
    heal.save()
    at = app("pages/heal.py", **OF_HEAL)
    assert list(at.table[0].value["model"]) == ["unpruned", "pruned", "healed", "unpruned, trained"]
    assert list(at.table[0].value["layers"]) == [30, 25, 25, 30]
    assert "the effect of the healing text alone" in texts(at)


def test_overlap_of_healing_text_and_questions_is_shown(app, known):
    replace(fakes.heal(), overlap=Overlap(8, 100, ["a", "b"]), documents_apart=True).save()
    assert "The healing text contains 2 of 100 questions" in texts(app("pages/heal.py", **OF_HEAL))


def test_continuations_are_shown_as_plain_text(app, known):
    samples = [
        Sample("unpruned", 0, "a"),
        Sample("pruned", 0, "b"),
        Sample("healed", 0, "c"),
        Sample("healed", 4, "**d**"),
    ]
    replace(fakes.heal(), samples=samples).save()
    shown = app("pages/heal.py", **OF_HEAL).table[1].value
    assert list(shown["model"]) == ["unpruned", "pruned", "after step 4"]
    assert list(shown.iloc[:, 1]) == ["a", "b", r"\*\*d\*\*"]


def test_continuation_after_the_instant_heal_is_not_that_of_a_healed_model(app, known):
    samples = [Sample("unpruned", 0, "a"), Sample("pruned", 0, "b"), Sample("healed", 0, "c")]
    replace(fakes.heal(), samples=samples).save()
    assert list(app("pages/heal.py", **OF_HEAL).table[1].value["model"]) == [
        "unpruned",
        "pruned",
        "after the instant heal",
    ]


def healed(n: int, start: int, **changes):
    """A finished heal of another cut or by another recipe, stored."""
    found = fakes.heal()
    spec = replace(found.spec, block=Block(start, n), **changes)
    cut = {name: replace(getattr(found, name), n=n, start=start) for name in ("pruned", "healed")}
    made = replace(found, spec=spec, **cut)
    made.save()
    return made


def test_the_shown_heal_is_always_of_the_selected_block(app, known):
    other, own = healed(5, 11), healed(8, 12)
    at = app("pages/heal.py", block="12:8")
    assert list(at.table[0].value["layers"]) == [30, 22, 22]
    assert len(at.selectbox(key=f"pick-heal-{own.spec.fingerprint()}-done").options) == 1
    at.selectbox(key="heals-elsewhere").set_value(other.spec.fingerprint()).run()
    assert not at.exception
    assert Block(11, 5).brief() in texts(at), "its block is selected with it"
    assert list(at.table[0].value["layers"]) == [30, 25, 25]
    made = started(at)
    assert (made.spec.block, made.spec.steps) == (Block(11, 5), 50)


def test_first_run_of_a_block_is_short(app, known):
    healed(5, 11)
    at = app("pages/heal.py", block="14:5")
    assert "No healing run of layers 14-18 yet" in texts(at).replace("\\", "")
    assert not at.table
    at.selectbox(key="recipe").set_value("first").run()
    made = started(at)
    assert (made.spec.recipe, made.spec.block, made.spec.minutes) == ("first", Block(14, 5), 2.5)
    assert (made.spec.benchmark.limit, made.spec.validation.n_texts, made.spec.judging_texts) == (
        50,
        8,
        32,
    )
    assert "Next in the queue" in texts(at)


def test_without_weights_the_reason_replaces_the_first_step(app, known, monkeypatch):
    monkeypatch.setattr(
        remote,
        "reason_unavailable",
        lambda source, revision: "The weights are not on this machine.",
    )
    at = app("pages/heal.py", block="14:5")
    assert at.button(key="start-heal").disabled
    assert "The weights are not on this machine." in texts(at)
    assert "Choose a time and click" not in texts(at)


def test_a_first_heal_offers_its_refinement_with_the_same_training(app, known, job):
    heal = fakes.heal()
    few = replace(heal.spec.validation, n_texts=8)
    spec = replace(
        heal.spec,
        recipe="first",
        validation=few,
        judging_texts=32,
        benchmark=BenchmarkSpec(limit=50),
    )
    replace(heal, spec=spec).save()
    asked = replace(spec, model=replace(spec.model, identity="", device="auto"))
    job(asked, jobs.DONE, "First heal", result_key=spec.fingerprint())
    at = app("pages/heal.py", **OF_HEAL)
    assert at.button(key="refine-heal").label.startswith("Refine to 200 questions and 32 texts")
    at.button(key="refine-heal").click().run()
    (made,) = jobs.active()
    assert (made.spec.benchmark.limit, made.spec.validation.n_texts) == (200, 32)
    assert at.table, "the first verdict stays on screen"
    assert at.button(key=f"refine-heal-cancel-{made.id}")
    assert not [button for button in at.button if button.key == "refine-heal"]


def test_run_with_the_settings_of_the_form_comes_first(app, known):
    worse = healed(5, 11, recipe="worse")
    replace(worse, healed=replace(worse.healed, loss=4.0)).save()
    better = healed(5, 11, recipe="better")
    at = app("pages/heal.py", block="11:5")
    assert at.selectbox(key=f"pick-heal-{better.spec.fingerprint()}-done")
    timed = healed(5, 11, recipe="distill", steps=0, minutes=10.0)
    replace(timed, healed=replace(timed.healed, loss=4.4)).save()
    at = app("pages/heal.py", block="11:5")
    assert at.selectbox(key=f"pick-heal-{timed.spec.fingerprint()}-done")
