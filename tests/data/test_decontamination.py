"""Questions that a text quotes: known answers, and a slow reference on random words."""

import random
import re

from analysis.data.decontamination import shared_questions
from analysis.data.tasks import Question


def question(name: str, text: str, right: str = "yes", context: str = "") -> Question:
    return Question(name, f"{context}Question: {text}\nAnswer:", [" no", f" {right}"], 1)


def test_eight_consecutive_words_flag_a_question_despite_case_and_punctuation():
    asked = [
        question("seen", "Which gas do green plants take in from the air by day?"),
        question("fresh", "Which metal is drawn to a bar magnet at room temperature?"),
    ]
    text = (
        "… it is known WHICH gas do green -- plants, take in! from the air. Metal is drawn to a"
        " bar."
    )
    found = shared_questions(asked, ["nothing", text])
    assert (found.n_words, found.n_questions, found.ids) == (8, 2, ["seen"])


def test_seven_words_do_not_suffice_and_runs_stay_in_documents():
    asked = [question("one", "alpha beta gamma delta epsilon zeta eta theta iota kappa")]
    assert shared_questions(asked, ["beta gamma delta epsilon zeta eta theta"]).ids == []
    assert (
        shared_questions(asked, ["alpha beta gamma delta", "epsilon zeta eta theta iota"]).ids == []
    )
    assert shared_questions(asked, ["alpha beta gamma delta epsilon zeta eta theta"]).ids == ["one"]


def test_worked_examples_do_not_count_and_short_questions_match_whole():
    shots = "Question: one two three four five six seven eight nine ten?\nAnswer: yes\n\n"
    asked = [
        question("own", "which material floats best?", "wood", shots),
        question("tiny", "ice?", "no"),
    ]
    assert shared_questions(asked, ["one two three four five six seven eight nine ten"]).ids == []
    assert shared_questions(asked, ["question which material floats best answer wood"]).ids == [
        "own"
    ]
    assert (
        shared_questions(
            asked, ["which material floats best answer stone", "question ice answer no"]
        ).ids
        == []
    )


def test_like_a_slow_reference_on_random_words():
    draw = random.Random(0)
    words = [draw.choice("abc") for _ in range(400)]
    asked = [
        question(str(n), " ".join(draw.choice("abc") for _ in range(9)), "c") for n in range(60)
    ]
    text = " ".join(words)

    def seen(one: Question) -> bool:
        own = re.findall(r"\w+", f"{one.context} {one.options[1]}".lower())
        runs = [" ".join(own[start : start + 8]) for start in range(len(own) - 7)]
        return any(f" {run} " in f" {text} " for run in runs)

    expected = [one.id for one in asked if seen(one)]
    assert shared_questions(asked, [text]).ids == expected
    assert 0 < len(expected) < 60
