"""The public face for scripts and notebooks: README's lines run, keywords set the same values as
options, errors are sentences."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import analysis as layerscope
from analysis.api import bar
from analysis.cli import main as cli
from analysis.cli import requests
from analysis.core.blocks import Block, LayerSet
from analysis.core.errors import LayerscopeError, ModelNotFoundError, SpecError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.progress import Progress
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.prompt.comparison_spec import Variant

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("cache", "short_texts")
SMALL = {"task": "arc_easy", "limit": 4, "samples": 2, "seq_len": 32, "progress": False}


@pytest.fixture
def model(tiny_folder):
    return layerscope.model(tiny_folder(), dtype="float32", device="cpu")


@pytest.mark.long
@pytest.mark.starter
@pytest.mark.timeout(900)
def test_the_lines_of_the_readme_run(monkeypatch, tmp_path):
    """As they stand there, each as a notebook would run it."""
    code = re.search(
        r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL
    ).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) == 6
    shown = []
    monkeypatch.setattr("plotly.graph_objs.Figure.show", lambda figure: shown.append(figure))
    monkeypatch.setattr(
        "analysis.experiments.heal.healing_run.CALIBRATION_TEXTS", 12
    )  # an eighth of the time
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert len(shown) == 1
    assert [point.n for point in names["curve"].result.points] == [0, 1, 2, 3, 4, 5]
    assert names["healed"].result.spec.block == Block(11, 5)
    assert list(names["healed"].table()["model"]) == ["unpruned", "pruned", "healed"]
    assert names["healed"].table()["loss"][2] < names["healed"].table()["loss"][1]


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"torch", "transformers", "plotly", "pandas"}
    code = f"import sys, analysis; print(analysis.__version__, *({heavy!r} & {{*sys.modules}}))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    ).stdout
    assert said.split() == [layerscope.__version__]


def test_the_names_of_the_public_face_are_there():
    assert sorted(layerscope.__all__) == dir(layerscope)
    for name in layerscope.__all__:
        assert getattr(layerscope, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'modle'"):
        _ = layerscope.modle


def test_every_result_says_which_layerscope_made_it(model):
    found = model.distances(samples=2, seq_len=32, progress=False)
    assert found.result.versions["layerscope"] == layerscope.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", layerscope.__version__)
    assert f"## [{layerscope.__version__}]" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_a_model_is_checked_before_anything_is_loaded(model, monkeypatch):
    monkeypatch.setattr(
        "analysis.models.loading.load.load", lambda *args, **how: pytest.fail("loaded")
    )
    assert (model.facts.n_layers, model.facts.family, model.fits) == (6, "llama", True)
    assert "6 layers" in repr(model)
    with pytest.raises(ModelNotFoundError):
        layerscope.model("/no/such/folder")


def test_a_curve_has_its_charts_and_its_table(model):
    curve = model.sweep(max_n=2, **SMALL)
    assert isinstance(curve.result, SweepResult)
    assert curve.figures == ("accuracy", "loss", "writing")
    assert curve.figure().layout.yaxis.title.text == "accuracy"
    assert curve.figure("loss", dark=True).layout.yaxis.title.text.startswith("loss")
    table = curve.table()
    assert list(table["n"]) == [0, 1, 2]
    assert list(table["acc"]) == [point.acc for point in curve.result.points]
    assert table["removed"][0] == "nothing"
    assert table["removed"][2].startswith("layers 0-1")
    assert list(table["start"][1:]) == [point.block.start for point in curve.result.points[1:]]
    assert list(table["size"]) == [0, 1, 2]
    assert re.match(r"<sweep of .*: float32 .*questions.*>$", repr(curve))
    assert "<table" in curve._repr_html_()
    with pytest.raises(
        SpecError,
        match="the kind 'sweep' has no chart 'los'. Choose one of accuracy, loss, writing",
    ):
        curve.figure("los")


def test_a_stored_result_is_read_again(model):
    curve = model.sweep(max_n=1, **SMALL)
    [again] = model.stored("sweep")
    assert again.result.points == curve.result.points
    assert layerscope.stored("sweep", model=model.spec.source)[0].result == again.result
    assert (
        layerscope.stored("sweep")[0].result.model.name != curve.result.model.name
    )  # the starter's, precomputed
    with pytest.raises(SpecError, match="'sweeps' is no kind of result. Choose one of .*distances"):
        layerscope.stored("sweeps")


def test_one_model_stays_loaded_between_calls(model, monkeypatch):
    from analysis.models.loading import load

    layerscope.clear()
    loads, real = [], load.load
    monkeypatch.setattr(load, "load", lambda *args, **how: loads.append(args) or real(*args, **how))
    model.distances(samples=2, seq_len=32, progress=False)
    model.evaluate("1:2", **SMALL)
    model.evaluate("3:1", **SMALL)
    assert len(loads) == 1
    layerscope.clear()


def test_every_kind_has_a_table_and_charted_kinds_a_figure(model):
    text = {"samples": 2, "seq_len": 32, "progress": False}
    found = [
        model.distances(**text),
        model.damage(max_size=2, **text),
        model.evaluate("1:2", **SMALL),
        model.speed(ns=(0, 2), prompt_tokens=16, new_tokens=2, repeats=1, progress=False),
        model.compare("One two", block="1:2", tokens=3, progress=False),
        model.microscope("One two three", progress=False),
        model.heal(
            "1:2",
            recipe="instant",
            limit=4,
            seq_len=32,
            progress=False,
            generation=None,
            **{"corpus.n_texts": 40},
        ),
    ]
    for one in found:
        table = one.table()
        assert len(table) > 0, one
        assert not table.columns[table.isna().all()].size, one
        for name in one.figures:
            assert one.figure(name).data, (one, name)
    assert [len(one.figures) for one in found] == [2, 2, 0, 2, 1, 2, 3]
    distances, damage, evaluation, speed, comparison, microscope, heal = (
        one.table() for one in found
    )
    assert len(distances) == 6 + 5 + 4 + 3 + 2 + 1
    assert len(damage) == 6 + 5
    assert list(evaluation["removed"]) == ["layers 1-2 (2 layers)"]
    assert list(speed["n"]) == [0, 2]
    assert {*comparison["model"]} == {"unpruned", "pruned"}
    assert len(microscope) == 6 * len(found[5].result.pieces)
    assert list(heal["model"]) == ["unpruned", "pruned", "healed"]
    with pytest.raises(
        SpecError, match="the kind 'evaluate' has no chart. Its table has the numbers"
    ):
        found[2].figure()


def asked(model, kind, **keywords):
    return requests.request_of_values(EXPERIMENTS[kind].spec, {"model": model.spec}, keywords)


SAME = [
    (
        "distances",
        {"texts": "wiki", "samples": 3, "seq_len": 64, "metric": "relative-l2", "seed": 4},
        None,
    ),
    (
        "sweep",
        {
            "task": "mmlu",
            "limit": 7,
            "shots": 2,
            "subset": ("stem",),
            "protocol": "paper",
            "seed": 3,
        },
        None,
    ),
    (
        "sweep",
        {"strategy": "manual", "blocks": ["1:2", "0:1+3:1"]},
        ["--strategy", "manual", "--blocks", "1:2,0:1+3:1"],
    ),
    (
        "sweep",
        {"limit": None, "generate": True, "seed": 2},
        ["--limit", "0", "--generate", "--seed", "2"],
    ),
    ("sweep", {"loss_corpus": None}, ["--texts", "none"]),
    ("speed", {"ns": (0, 2), "prompt_tokens": 8, "new_tokens": 2, "repeats": 1, "seed": 1}, None),
    (
        "heal",
        {"block": "1:2", "recipe": "quick", "steps": 9, "texts": "c4-train", "generate": True},
        None,
    ),
    (
        "heal",
        {"block": "1:2", "r": 4, "learning_rate": 0.01, "limit": 5},
        [
            "--block",
            "1:2",
            "--set",
            "r=4",
            "--set",
            "learning_rate=0.01",
            "--set",
            "benchmark.limit=5",
        ],
    ),
    (
        "compare",
        {
            "prompt": "-One",
            "block": "1:2",
            "adapter": "a",
            "tokens": 5,
            "temperature": 0.5,
            "seed": 3,
        },
        None,
    ),
    ("export", {"block": "1:2", "name": "small"}, None),
]


@pytest.mark.parametrize(("kind", "keywords", "words"), SAME)
def test_keywords_make_the_same_request_as_command_line_options(model, kind, keywords, words):
    if words is None:
        words = [
            f"--{name.replace('_', '-')}={said(value)}"
            for name, value in keywords.items()
            if value is not True
        ]
        words += [f"--{name}" for name, value in keywords.items() if value is True]
    words = [kind, model.spec.source, "--dtype", "float32", "--device", "cpu", *words]
    assert asked(model, kind, **keywords) == cli.request(words)


def said(value) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_fields_and_parts_are_taken_as_they_are(model):
    spec = asked(
        model,
        "sweep",
        benchmark=BenchmarkSpec("boolq", limit=9),
        **{"benchmark.limit": 5, "loss_corpus.seed": 8},
    )
    assert spec.benchmark == BenchmarkSpec("boolq", limit=5)
    assert (spec.loss_corpus.seed, spec.benchmark.seed, spec.distances.model) == (8, 0, model.spec)
    assert asked(
        model, "evaluate", block=LayerSet((1, 3)), benchmark=None, loss_corpus=CorpusSpec()
    ).block == LayerSet((1, 3))
    assert asked(model, "compare", prompt="a", variants=[Variant()]).variants == (Variant(),)
    assert asked(model, "sweep", loss_corpus=None, seed=3).benchmark.seed == 3


@pytest.mark.parametrize(
    ("kind", "keywords", "sentence"),
    [
        ("sweep", {"tsak": "boolq"}, r"Sweep has no setting 'tsak'\. It has .*task"),
        ("sweep", {"limit": "many"}, "limit must be a whole number, not .many."),
        ("sweep", {"strategy": object()}, "A value for SweepSpec has the wrong type|strategy"),
        ("evaluate", {"block": "eleven"}, "A block is written START:SIZE"),
        ("heal", {}, "Heal needs block"),
        ("heal", {"block": "1:2", "texts": 3}, "^texts must be text, not 3"),
        ("evaluate", {"task": "bolq"}, "^task must be one of"),
        ("heal", {"block": "1:2", "recipe": "slow"}, "There is no recipe 'slow'"),
    ],
)
def test_an_impossible_request_is_refused_in_a_sentence(model, kind, keywords, sentence):
    with pytest.raises(LayerscopeError, match=sentence):
        asked(model, kind, **keywords)


def test_a_kind_of_one_file_is_reached_without_changes_here(model, letters):
    found = model.letters(word="abba", progress=False)
    assert found.result.spec == letters.LettersSpec(model.spec, "abba")
    assert layerscope.run(found.result.spec, progress=False).result.rows == found.result.rows
    assert list(found.table()["letter"]) == ["a", "b"]
    assert "letters" in dir(model)
    with pytest.raises(AttributeError, match="has no experiment 'echo'. It has .*distances"):
        _ = model.echo


def test_notebook_has_a_bar_for_each_phase(capsys):
    shown = bar.NotebookBar()
    for progress in (Progress("one", 1, 4), Progress("one", 3, 5)):
        shown(progress)
    assert (shown._bar.n, shown._bar.total) == (3, 5)
    shown(Progress("two", 0, 2, "A sentence."))
    shown.close()
    output = capsys.readouterr()
    assert "one:" in output.err
    assert "1/4" in output.err
    assert "two:" in output.err
    assert "A sentence." in output.out
