"""`make bench-gpu` without a GPU: its message, and a run of its measurements on the CPU; no GPU ran."""

from types import SimpleNamespace

import torch

from analysis.data.tasks import Question
from analysis.models.architecture import decoder as architecture
from benchmarks import card, work
from tests.support.families import build


class Letters:
    """A tokenizer whose tokens are characters."""

    bos_token, bos_token_id, eos_token, eos_token_id = "", 0, "", 0

    def __call__(self, text, **options):
        return SimpleNamespace(input_ids=[*map(ord, text)])


def test_without_a_gpu_it_says_so_and_ends_with_2(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
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
