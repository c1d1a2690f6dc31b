"""The command line: the contract's fields, one sentence and exit code 2 on bad input."""

import json
from pathlib import Path

import pytest

from analysis.cli import main
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy.sweep_spec import resolve_evaluation
from analysis.experiments.heal.recipes import saved as saved_recipes
from analysis.experiments.prompt import comparison
from analysis.exports import export as exporting
from tests.support import documents

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def tiny(tiny_folder):
    return str(tiny_folder())


def run(capsys, *arguments):
    code = main.main([str(argument) for argument in arguments])
    return code, capsys.readouterr()


def read(capsys, *arguments):
    code, output = run(capsys, *arguments, "--json", "-")
    assert code == 0, output.err
    return json.loads(output.out)


def test_models(capsys, tiny):
    data = read(capsys, "models", tiny)
    assert data["model"]["n_layers"] == 6
    assert data["fits"] is True
    assert data["dtype"]["reason"].startswith(data["dtype"]["value"])


def test_distances(capsys, tiny, tmp_path):
    data = read(capsys, "distances", tiny, "--samples", 3, "--seq-len", 24)
    assert data["n_layers"] == 6
    assert [len(row) for row in data["mean"]] == [6, 5, 4, 3, 2, 1]
    assert data["best"][1].keys() == {"n", "start", "distance"}
    assert data["spec"]["corpus"]["n_texts"] == 3
    assert {"versions", "wall_s", "n_tokens", "stderr"} <= data.keys()
    code, output = run(
        capsys, "distances", tiny, "--samples", 3, "--seq-len", 24, "--json", tmp_path / "out.json"
    )
    assert code == 0
    assert "most similar block" in output.out
    assert json.loads((tmp_path / "out.json").read_text())["mean"] == data["mean"]


def test_sweep_and_evaluate(capsys, tiny):
    options = ("--limit", 8, "--texts", "wiki", "--samples", 1, "--seq-len", 24)
    data = read(capsys, "sweep", tiny, "--max-n", 2, "--strategy", "deepest", *options)
    assert [point["n"] for point in data["points"]] == [0, 1, 2]
    point = data["points"][2]
    assert {"n", "start", "acc", "acc_stderr", "acc_norm", "loss", "n_samples"} <= point.keys()
    assert "questions" not in data
    alone = read(
        capsys, "evaluate", tiny, "--block", f"{point['start']}:2", "--per-question", *options
    )
    assert alone["points"][0]["acc"] == point["acc"]
    assert len(alone["questions"]) == 8
    assert alone["questions"][0].keys() == {"id", "loglikelihoods", "prediction", "gold"}


def test_speed(capsys, tiny, tmp_path):
    options = ("--ns", "0,2", "--prompt-tokens", 8, "--new-tokens", 2, "--repeats", 2)
    code, output = run(capsys, "speed", tiny, *options, "--json", tmp_path / "speed.json")
    assert code == 0, output.err
    data = json.loads((tmp_path / "speed.json").read_text())
    assert [(point["n"], point["start"]) for point in data["points"]] == [(0, None), (2, 3)]
    assert data["points"][1]["decode"].keys() == {"median_s", "low_s", "high_s", "repeats_s"}
    assert data["decode"].keys() >= {
        "intercept_s",
        "slope_s",
        "slope_stderr_s",
        "r_squared",
        "fixed_share",
    }
    assert {"spec", "versions", "wall_s", "n_tokens", "peak_bytes"} <= data.keys()
    assert "layers 3-4 (2 layers)" in output.out
    assert "ms per remaining layer" in output.out
    code, output = run(capsys, "speed", tiny, "--ns", "0,99")
    assert code == 2
    assert output.err.splitlines()[-1].endswith("Choose numbers in 0..5.")


@pytest.mark.long
def test_sweeps_of_scattered_and_manual_cuts_that_also_write(capsys, tiny):
    options = ("--limit", 4, "--texts", "none", "--generate")
    data = read(capsys, "sweep", tiny, "--strategy", "manual", "--blocks", "1:1+3:1,2:2", *options)
    assert [(point["n"], point["start"], point["layers"]) for point in data["points"]] == [
        (0, None, None),
        (2, 1, [1, 3]),
        (2, 2, None),
    ]
    assert {"repetition_rate", "distinct_rate", "sum_acc"} <= {
        name for name, value in data["points"][1].items() if value is not None
    }
    alone = read(capsys, "evaluate", tiny, "--block", "1:1+3:1", *options)
    assert alone["points"][0] == data["points"][1]
    code, output = run(capsys, "evaluate", tiny, "--block", "1:1+3:1", *options)
    assert code == 0
    assert "layers 1, 3 (2 layers)" in output.out
    assert "arithmetic right" in output.out


def test_damage(capsys, tiny, tmp_path):
    options = ("--samples", 2, "--seq-len", 24, "--max-size", 2)
    data = read(capsys, "damage", tiny, *options)
    assert [len(row) for row in data["increase"]] == [6, 5]
    assert data["best"][1].keys() == {"n", "start", "increase"}
    assert {
        "unpruned_loss",
        "stderr",
        "n_measured",
        "rank_correlation",
        "rank_correlation_by_size",
    } <= data.keys()
    assert data["spec"]["corpus"]["split"] == "validation"
    assert "text_losses" not in data
    code, output = run(
        capsys,
        "damage",
        tiny,
        *options,
        "--metric",
        "cosine-tokens",
        "--json",
        tmp_path / "out.json",
    )
    assert code == 0
    best = data["best"][1]
    assert f"layers {best['start']}-{best['start'] + 1} (2 layers)" in output.out
    assert "most similar block" in output.out
    assert "cosine-tokens distance" in output.out
    assert json.loads((tmp_path / "out.json").read_text())["increase"] == data["increase"]


@pytest.mark.parametrize(
    ("words", "quantization"),
    [
        ("--recipe quick", "none"),
        ("--recipe quick --quantization 4bit", "4bit"),
        ("--recipe paper", "4bit"),
        ("--recipe paper --dtype float32", "none"),
        ("--recipe paper --set model.dtype=float32", "none"),
        ("--recipe paper --dtype float32 --quantization 4bit", "4bit"),
        ("--recipe mine", "4bit"),
    ],
)
def test_a_recipe_brings_its_own_precision_unless_one_is_named(tiny, words, quantization):
    heal = ["heal", tiny, "--block", "2:2"]
    saved_recipes.save("mine", main.request([*heal, "--recipe", "paper"]))
    assert main.request([*heal, *words.split()]).model.quantization == quantization


def test_heal_options_time_steps_control_other_text_or_saved_recipe(tiny):
    heal = ["heal", tiny, "--block", "2:2"]
    quick = main.request([*heal, "--recipe", "quick"])
    assert (quick.steps, quick.minutes) == (0, 10.0)
    timed = main.request([*heal, "--minutes", "3", "--texts", "c4", "--generate"])
    control = main.request([*heal, "--steps", "30", "--recipe", "distill", "--control"])
    assert (timed.minutes, timed.steps, timed.corpus.source, timed.validation.source) == (
        3.0,
        0,
        "c4",
        "wiki",
    )
    assert timed.generation is not None
    assert (control.minutes, control.steps, control.control, control.distill, control.instant) == (
        None,
        30,
        True,
        0.0,
        False,
    )
    saved_recipes.save("mine", timed)
    mine = main.request([*heal, "--recipe", "mine", "--steps", "9", "--quantization", "4bit"])
    assert (mine.recipe, mine.steps, mine.minutes, mine.model.quantization) == (
        "mine",
        9,
        None,
        "4bit",
    )


def test_compare(capsys, tiny):
    options = ("--prompt", "Once upon", "--block", "2:2", "--tokens", 4)
    data = read(capsys, "compare", tiny, *options)
    assert [variant["label"] for variant in data["spec"]["variants"]] == ["unpruned", "pruned"]
    assert [len(text["token_ids"]) for text in data["writings"]] == [4, 4]
    assert {"pieces", "own_surprise", "unpruned_surprise", "prefill_s", "decode_s"} <= data[
        "writings"
    ][0].keys()
    assert {"versions", "wall_s", "n_tokens", "n_prompt_tokens"} <= data.keys()
    code, output = run(capsys, "compare", tiny, *options)
    assert code == 0
    assert "pruned without layers 2-3 (2 layers):\nOnce upon" in output.out
    assert "repeated 4-grams" in output.out
    assert f"Once upon{''.join(data['writings'][1]['pieces'])}" in output.out


def test_microscope(capsys, tiny):
    data = read(capsys, "microscope", tiny, "--prompt", "Once upon", "--block", "2:2")
    assert data["layers"] == [0, 1, 4, 5]
    assert [len(data[name]) for name in ("distances", "guesses", "probabilities")] == [4, 5, 5]
    code, output = run(capsys, "microscope", tiny, "--prompt", "Once upon", "--token", 1)
    assert code == 0
    assert "Predictions after token 1, 'O'" in output.out
    assert output.out.count("The final prediction ranks first from ") == 1


def test_export(capsys, tiny, tmp_path):
    data = read(capsys, "export", tiny, "--block", "1:2", "--out", tmp_path / "cut")
    assert (tmp_path / "cut" / "model.safetensors").exists()
    assert data["out"] == str(tmp_path / "cut")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("distances", "some/unknown-model"), "HF_HUB_OFFLINE blocks requests to the Hub"),
        (("distances", "TINY", "--seq-len", 999), "exceeds the context window"),
        (("sweep", "TINY", "--strategy", "manual"), "needs blocks to remove"),
        (("sweep", "TINY", "--blocks", "1:2"), "no other strategy"),
        (("evaluate", "TINY", "--block", "1:2+2:1"), "names a layer twice"),
        (("export", "TINY", "--block", "1:1", "--out", "TINY"), "not empty"),
        (("compare", "TINY", "--prompt", " "), "The prompt is empty"),
        (("compare", "TINY", "--prompt", "a" * 2001), "at most 2,000"),
        (("microscope", "TINY", "--prompt", "a", "--token", "7"), "Choose 1..1."),
        (("jobs", "show"), "needs a job id"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    capsys, tiny, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    code, output = run(
        capsys, *(tiny if argument == "TINY" else argument for argument in arguments)
    )
    assert code == 2
    assert output.out == ""
    *_, last = output.err.strip().splitlines()
    assert sentence in last
    assert "Traceback" not in output.err


def test_the_adapter_a_heal_prints_works_in_every_command(capsys, tiny, tmp_path, monkeypatch):
    texts, others = documents.two_kinds(tmp_path)
    block = ("--block", "2:2", "--dtype", "float32", "--device", "cpu")
    judged = CorpusSpec(others, n_texts=3, seq_len=32).to_json()
    settings = {
        "benchmark": None,
        "generation": None,
        "validation": judged,
        "batch_size": 2,
        "r": 4,
    }
    options = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
    heal = (
        "heal",
        tiny,
        *block,
        "--recipe",
        "quick",
        "--steps",
        1,
        "--texts",
        texts,
        "--seq-len",
        32,
    )
    code, output = run(capsys, *heal, *options, "--json", tmp_path / "heal.json")
    assert code == 0, output.err
    printed = next(
        line.split(maxsplit=1)[1] for line in output.out.splitlines() if line.startswith("adapter ")
    )
    stored = json.loads((tmp_path / "heal.json").read_text())["adapter"]
    assert stored.startswith("adapters/")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    read(capsys, "export", tiny, *block, "--adapter", printed, "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "layerscope.json").read_text())["adapter"] == stored
    for named in (printed, stored):
        for command in (
            ("evaluate", "--task", "none"),
            ("compare", "--prompt", "a b"),
            ("export", "--name", "kept"),
        ):
            asked = main.request([command[0], tiny, *block, "--adapter", named, *command[1:]])
            spec = {
                "evaluate": resolve_evaluation,
                "compare": comparison.resolve,
                "export": exporting.resolve,
            }[command[0]](asked)
            assert getattr(spec, "variants", [spec])[-1].adapter == stored


def test_an_adapter_missing_from_the_cache_is_refused_by_name(capsys, tiny, tmp_path):
    for name in ("adapters/0123456789abcdef", "adapters/..", "adapters/../../x", "."):
        code, output = run(
            capsys, "export", tiny, "--block", "2:2", "--adapter", name, "--out", tmp_path / "out"
        )
        assert code == 2
        assert "has no adapter_config.json" in output.err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("heal --steps=-3", "--steps must be"),
        ("heal --task boolq --limit=-1", "--limit must be"),
        ("heal --task bolq", "--task must be one of"),
        ("evaluate --limit x", "--limit must be"),
        ("evaluate --task x", "--task must be one of"),
        ("evaluate --set benchmark.limit=x", "benchmark.limit must be"),
        ("export --format onnx", "--format must be one of hf, gguf, mergekit"),
        ("export --format onnx --out x", "--format must be one of"),
        ("export --format mergekit --name x", "Use --out DIR"),
    ],
)
def test_an_error_names_what_was_given(words, name, capsys, tiny):
    command, *options = words.split()
    code, output = run(capsys, command, tiny, "--block", "2:1", *options)
    assert code == 2
    assert name in output.err
    assert len(output.err.strip().splitlines()) == 1


def test_healing_takes_questions_and_leaves_the_recipe_its_name(tiny):
    heal = ["heal", tiny, "--block", "1:1"]
    asked = main.request([*heal, "--task", "boolq", "--limit", "7"])
    assert (asked.benchmark.task, asked.benchmark.limit) == ("boolq", 7)
    assert asked.recipe == "distill"
    assert main.request([*heal, "--task", "none"]).benchmark is None


def test_a_mergekit_recipe_is_written_to_a_folder(capsys, tiny, tmp_path):
    options = ("--block", "2:1", "--format", "mergekit", "--out", tmp_path / "recipe")
    code, output = run(capsys, "export", tiny, *options)
    assert code == 0, output.err
    assert (tmp_path / "recipe" / "mergekit.yaml").is_file()
