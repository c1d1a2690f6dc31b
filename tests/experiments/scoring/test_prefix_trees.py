"""Prefix trees: shared tokens once, every token with its own ancestors, harness boundaries between
context and option.
"""

import random
import tracemalloc
from types import SimpleNamespace

import pytest

from analysis.data.tasks import Question
from analysis.experiments.scoring.trees import (
    ROW_TOKENS,
    SHARED_ROW_TOKENS,
    EncodedOption,
    EncodedQuestion,
    TreeRow,
    encode,
    one_row_each,
    pack,
)


def question(*sequences, n_scored=1):
    return EncodedQuestion(
        [EncodedOption(tuple(tokens), n_scored) for tokens in sequences], truncated=False
    )


def test_a_shared_prefix_is_stored_once():
    row = TreeRow()
    row.add(0, EncodedOption((1, 2, 3, 4, 5), 2))
    row.add(1, EncodedOption((1, 2, 3, 6, 7), 2))
    assert row.tokens == [1, 2, 3, 4, 6]  # the last token of a sequence predicts nothing
    assert row.parents == [-1, 0, 1, 2, 2]
    assert row.depths == [0, 1, 2, 3, 3]
    assert row.targets == [(0, 2, 4), (0, 3, 5), (1, 2, 6), (1, 4, 7)]


def test_every_node_sees_its_ancestors_and_nothing_else():
    row = pack([question((1, 2, 3, 4), (1, 2, 5, 6)), question((1, 9, 8), (7, 2, 3))])[0]
    visible = row.visible()
    for node in range(len(row)):
        ancestors, at = set(), node
        while at >= 0:
            ancestors.add(at)
            at = row.parents[at]
        assert set(visible[node].nonzero()[:, 0].tolist()) == ancestors
        assert row.depths[node] == len(ancestors) - 1


def test_cost_predicts_growth():
    row = TreeRow()
    for number, options in enumerate(
        [question((1, 2, 3, 4), (1, 2, 5, 6)), question((1, 2, 3, 9, 9)), question((1, 2, 3, 4))]
    ):
        before, cost = len(row), row.cost(options.options)
        for option in options.options:
            row.add(number, option)
        assert len(row) - before == cost


def test_rows_stay_within_their_budget_and_questions_whole():
    questions = [
        question(tuple(range(n, n + 30)), (*range(n, n + 20), 0, 1, 2)) for n in range(0, 600, 31)
    ]
    rows = pack(questions, row_tokens=100)
    assert all(len(row) <= 100 for row in rows)
    seen = [number for row in rows for number in dict.fromkeys(target[0] for target in row.targets)]
    assert seen == list(range(2 * len(questions)))
    assert len(pack([question(tuple(range(300)))], row_tokens=100)) == 1


def mmlu_like(subjects, n=10, prefix=600, own=70):
    """Questions with single-token answers behind a long prefix of their subject's; tokens differ
    but for the prefix.
    """
    for subject in subjects:
        shared = [(subject, place) for place in range(prefix)]
        for number in range(n):
            context = [*shared, *[(subject, number, place) for place in range(own)]]
            yield question(*([*context, letter] for letter in "ABCD"))


def test_ten_questions_behind_one_prefix_compute_it_once():
    rows = pack(list(mmlu_like(["anatomy"])))
    assert [len(row) for row in rows] == [600 + 10 * 70]


def test_subjects_do_not_share_a_long_row():
    assert [len(row) for row in pack(list(mmlu_like(["anatomy", "law"])))] == [1300, 1300]


def test_a_row_with_a_long_prefix_grows_to_its_limit():
    questions = list(mmlu_like(["history"], n=40, prefix=1500, own=200))
    rows = pack(questions)
    assert all(len(row) <= SHARED_ROW_TOKENS for row in rows)
    assert [len(row) for row in rows] == [1500 + 12 * 200] * 3 + [1500 + 4 * 200]
    assert [len(row) for row in pack(questions, shared_row_tokens=2000)] == [1500 + 2 * 200] * 20


def test_a_few_shared_words_do_not_lengthen_a_row():
    rows = pack(list(mmlu_like(["anatomy"], n=100, prefix=20, own=40)))
    assert all(ROW_TOKENS - 60 < len(row) <= ROW_TOKENS for row in rows[:-1])


def test_random_questions_keep_targets_and_predict_them_from_their_prefix():
    draw = random.Random(0)
    for _ in range(30):
        prefixes = [[draw.randrange(4) for _ in range(draw.randrange(1, 60))] for _ in range(3)]
        asked = []
        for prefix in sorted(prefixes * 5):
            ends = [[draw.randrange(4) for _ in range(draw.randrange(1, 8))] for _ in range(4)]
            asked.append(
                EncodedQuestion(
                    [EncodedOption((*prefix, *end), len(end)) for end in ends], truncated=False
                )
            )
        rows = pack(asked, row_tokens=40, shared_row_tokens=90)
        assert all(
            len(row) <= 90 or len({target[0] // 4 for target in row.targets}) == 1 for row in rows
        )
        options = [option for one in asked for option in one.options]
        found = {number: [] for number in range(len(options))}
        for row in rows:
            for number, node, token in row.targets:
                path = [token]
                while node >= 0:
                    path.append(row.tokens[node])
                    node = row.parents[node]
                found[number].append(tuple(reversed(path)))
        for number, option in enumerate(options):
            first = len(option.tokens) - option.n_scored
            assert found[number] == [
                option.tokens[: end + 1] for end in range(first, len(option.tokens))
            ]


def test_single_letter_answers_cost_no_token_beyond_the_context():
    assert len(pack([question((1, 2, 3, 10), (1, 2, 3, 11), (1, 2, 3, 12), (1, 2, 3, 13))])[0]) == 3


def test_one_row_each_holds_every_option_alone():
    rows = one_row_each([question((1, 2, 3), (1, 2, 4)), question((5, 6))])
    assert [row.tokens for row in rows] == [[1, 2], [1, 2], [5]]
    assert [row.targets[0][0] for row in rows] == [0, 1, 2]


class Words:
    """A toy tokenizer: one id per word with its leading space; "ab" and "c" merge into one token
    "abc".
    """

    bos_token, bos_token_id = None, None
    eos_token, eos_token_id = "</s>", 99

    def __init__(self, bos=False):
        if bos:
            self.bos_token, self.bos_token_id = "<s>", 1
        self.ids = {"<s>": 1}

    def __call__(self, text, add_special_tokens=True):
        import re

        pieces = re.findall(r"<s>|abc| ?[^ <]+| +", text)
        ids = [self.ids.setdefault(piece, len(self.ids) + 100) for piece in pieces]
        return type(
            "Encoded",
            (),
            {"input_ids": [1, *ids] if self.bos_token and add_special_tokens else ids},
        )


def encoded(context, *options, tokenizer=None, window=None):
    return encode(Question("q", context, list(options), 0), tokenizer or Words(), window)


def test_the_continuation_is_the_text_after_the_context():
    short, long = encoded("Question: why Answer:", " because", " because it is").options
    assert short.n_scored == 1
    assert long.n_scored == 3
    assert short.tokens[:-1] == long.tokens[:-3]


@pytest.mark.parametrize(("window", "truncated"), [(50, False), (7, False), (6, True), (3, True)])
def test_a_prompt_beyond_the_window_loses_tokens_on_the_left(window, truncated):
    result = encoded("a b c d e f", " g h", window=window)
    option = result.options[0]
    assert result.truncated is truncated
    assert len(option.tokens) == min(8, window + 1)
    assert option.n_scored == 2


class Letters:
    """A tokenizer whose tokens are characters, each id a number of its own in memory as those of a
    large vocabulary are.
    """

    bos_token, bos_token_id, eos_token, eos_token_id = "", 0, "", 0

    def __call__(self, text, **options):
        return SimpleNamespace(input_ids=[1000 + ord(letter) for letter in text])


def test_a_question_takes_little_memory_however_many_there_are():
    """A set of 14,000 questions behind five worked examples took half a gigabyte."""
    shown = "".join(chr(97 + number * number % 26) for number in range(600))
    asked = [
        Question(str(n), f"{shown} {n}?", [" yes", " no", " maybe", " never"], 0)
        for n in range(100)
    ]
    tracemalloc.start()
    try:
        encoded = [encode(one, Letters(), None) for one in asked]
        rows = pack(encoded)
        each = tracemalloc.get_traced_memory()[0] / len(asked)
    finally:
        tracemalloc.stop()
    n_tokens = sum(len(option.tokens) for option in encoded[0].options)
    n_nodes = sum(map(len, rows)) / len(asked)
    assert each < 4 * n_tokens + 300 * n_nodes + 1000
