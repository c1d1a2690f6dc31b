"""`make bench-gpu` without a GPU: its message, and a run of its measurements on the CPU; no GPU ran."""

import importlib.util
from types import SimpleNamespace

import pytest

from analysis.data.tasks import Question
from analysis.experiments.scoring import likelihood, trees
from analysis.models.architecture import decoder as architecture
from analysis.models.loading import cuda
from benchmarks import card, work
from tests.support.families import build


class Letters:
    """A tokenizer whose tokens are characters."""

    bos_token, bos_token_id, eos_token, eos_token_id = "", 0, "", 0

    def __call__(self, text, **options):
        return SimpleNamespace(input_ids=[*map(ord, text)])


def test_without_a_gpu_it_says_so_and_ends_with_2(monkeypatch, capsys):
    monkeypatch.setattr(cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["card.py"])
    assert card.main() == 2
    assert capsys.readouterr() == (
        "",
        "There is no CUDA GPU that torch can use on this machine, so nothing was measured.\n",
    )


def test_every_row_of_the_table_is_measured(capsys):
    made = work.Made(architecture.find_decoder(build("llama")), Letters())
    asked = [Question(str(n), f"What is {n}?", [" yes", " no"], 0) for n in range(3)]
    found = card.rows(made, asked, n_texts=2, seq_len=16, device="cpu", repeats=1)
    assert [row.what for row in found] == ["bare forward pass", "distance map", "loss, unpruned", "curve, n = 0..3"]
    by_name = {row.what: row for row in found}
    assert all(row.seconds > 0 and row.peak_bytes > 0 for row in found)
    assert by_name["distance map"].flop > by_name["bare forward pass"].flop
    assert by_name["loss, unpruned"].flop > by_name["bare forward pass"].flop
    card.tell("a model", made, found, peak=1e12)
    assert "x the bare forward pass" in capsys.readouterr().out
    assert card.apart(made, made, asked) == 0


def test_peers_run_at_the_first_and_last_n(monkeypatch):
    """A peer whose time is its layers: 6 of the whole model, 3 without half of them, so 18 for n = 0..3."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "vllm" else name)
    monkeypatch.setattr(card, "requests_of", lambda chosen: [[question] for question in chosen])
    clock = [0.0]
    monkeypatch.setattr(card.time, "perf_counter", lambda: clock[0])

    class Peer:
        def __init__(self, loaded: work.Made, dtype: str) -> None:
            self._layers = len(loaded.decoder.layers)

        def loglikelihood(self, requests, **_) -> None:
            clock[0] += self._layers * len(requests)

    monkeypatch.setattr(card, "harness_model", Peer)
    ours = card.Row("curve", 2.0, 1, 1, 1.0)
    asked = [Question("0", "What is it?", [" yes", " no"], 0)]
    found = card.against_peers(
        ours, 6, lambda: work.Made(architecture.find_decoder(build("llama")), Letters()), "float32", asked
    )
    assert found[0].split(None, 2)[2] == "18.000 s for all n (2 measured, the others on the line through these), 9.00 x ours"
    assert found[1].split(None, 2)[2] == "not measured, not installed: vllm"


@pytest.mark.slow
def test_the_harness_of_the_table_scores_the_very_questions(tokenizer):
    pytest.importorskip("lm_eval")
    made = work.Made(architecture.find_decoder(build("llama", vocab_size=len(tokenizer))), tokenizer)
    asked = [Question(str(n), f"What is {n}?", [" yes", " no, it is not"], 0) for n in range(3)]
    flat = [request for question in card.requests_of(asked) for request in question]
    values = [value for value, _ in card.harness_model(made, "float32", 2).loglikelihood(flat, disable_tqdm=True)]
    encoded = [trees.encode(question, tokenizer, None) for question in asked]
    packed = likelihood.can_pack(made.decoder)
    ours = likelihood.option_loglikelihoods(made.decoder, encoded, [None], packed=packed)[0]
    assert values == pytest.approx([value for question in ours for value in question], abs=1e-4)
