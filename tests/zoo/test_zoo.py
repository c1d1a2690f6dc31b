"""Architectures that stand for a mechanism each, through every check of the zoo: right, or refused
as it is known here.
"""

import pytest

from tests.support.levels import few
from tests.zoo import checks, models, table
from tests.zoo.__main__ import tried
from tests.zoo.checks import Outcome

_NOT_REBUILT = "more differ): it counts layers by attn_layer_period 3, expert_layer_period 2"
_TABLES = "keeps a part for each layer in shared tables"
REPRESENTATIVE = {
    "llama-tied": ("rotary positions, a tied head", {}),
    "mpt": ("ALiBi", {}),
    "gpt2": ("learned positions", {}),
    "gptj": ("attention and feed-forward side by side", {}),
    "olmo": ("norms without weights", {}),
    "gemma2": ("norms behind, capped logits, windows in turn with full attention", {}),
    "granite": ("a scaled residual", {}),
    "qwen3_moe": ("experts", {}),
    "jamba": (
        "recurrent layers, by a period that the configuration computes",
        {"export": _NOT_REBUILT, "healed export": _NOT_REBUILT},
    ),
    "gemma4_text-plain": ("settings of single layers", {}),
    "gemma4_text": (
        "embeddings by layer",
        dict.fromkeys(
            ["layer by layer", "generation", "speed", "heal", "export", "healed export"], _TABLES
        ),
    ),
    "zaya": (
        "more than the stream is handed on",
        dict.fromkeys(
            ["scores", "loss increase", "generation", "speed", "heal", "export", "healed export"],
            "pass on more than the residual stream",
        )
        | {"layer by layer": "does more between its layers"},
    ),
}
"""By architecture its mechanism, and the refused checks, with a part of the sentence."""


@pytest.mark.parametrize("name", few(REPRESENTATIVE, "qwen3_moe"))
def test_all_is_exactly_right_or_refused(name, tmp_path, monkeypatch, no_trial):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    _, refused = REPRESENTATIVE[name]
    animal = checks.Animal(name, tmp_path)
    for check, run in checks.CHECKS.items():
        found = checks.outcome(run, animal)
        assert found.kind == ("refused" if check in refused else "right"), f"{check}: {found.said}"
        assert refused.get(check, "") in found.said


def test_wrong_and_crashed_checks_differ_from_refused_ones(tmp_path, monkeypatch, no_trial):
    """The checks see a layer that does nothing, and a crash is none of a model's own code when it
    is ours.
    """
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    animal = checks.Animal("llama", tmp_path)
    with animal.truth.without([5]):
        found = checks.outcome(checks.distances, animal)
        assert found.kind == "wrong"
        assert found.said.startswith("the distance of 0 and 6 is ")
        assert checks.outcome(checks.layer_by_layer, animal).kind == "wrong"
    monkeypatch.setattr(checks.exports, "run", lambda spec: {}["nowhere"])
    assert checks.outcome(checks.export, animal) == Outcome("crash", "KeyError: 'nowhere'")


def test_architecture_without_a_small_build_says_why(monkeypatch):
    with pytest.raises(models.NotBuiltError, match="dropout"):
        models.build("musicgen")
    monkeypatch.setattr(models, "_MOST_WEIGHTS", 10_000)
    with pytest.raises(models.NotBuiltError, match="weights, too many for a test"):
        models.build("llama")


def test_the_page_counts_and_gives_the_reasons():
    right, refused = ("right", ""), ("refused", "This llama model has no layers.")
    page = table.page(
        {
            "b": {"distances": right, "heal": refused},
            "a": {"distances": right, "heal": ("wrong", "3, not 4")},
            "c": {"built": ("not built", "too large")},
            "d": {"distances": refused, "heal": refused},
        },
        ["distances", "heal"],
    )
    assert "3 architectures: 2 checks correct, 3 refused" in page
    assert "1 wrong" in page
    assert "| a | ✓ | wrong |\n| b | ✓ | – |\n\n" in page
    assert "- heal: This model has no layers. (`b`)" in page
    assert "- This model has no layers. (`d`)" in page
    assert "- c: `too large`" in page


def test_page_reads_back_as_written_to_renew_single_rows():
    text, of = table.PAGE.read_text(encoding="utf-8"), list(checks.CHECKS)
    found = table.read_page(text, of)
    assert table.page(found, of) == text
    wrong = table.page(found | {"llama": dict.fromkeys(of, ("wrong", "3, not 4"))}, of)
    assert f", {len(of)} wrong, " in wrong
    assert f"| llama | {' | '.join(['wrong'] * len(of))} |" in wrong


def test_architecture_is_tried_in_a_process_with_a_deadline(monkeypatch):
    def slow(animal):
        while True:
            pass

    monkeypatch.setattr(checks, "CHECKS", {"distances": checks.distances, "scores": slow})
    found = tried("gpt2", 2)
    assert found == {"distances": ("right", ""), "scores": ("late", "not done after 2 s")}
