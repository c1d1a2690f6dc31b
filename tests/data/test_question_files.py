"""Questions of one's own: every layout that is about, every trap, and nothing dropped without a
word.
"""

import json

import pandas
import pytest

from analysis.core.errors import BenchmarkError
from analysis.data import files
from analysis.data import questions as benchmarks
from analysis.data.spec import BenchmarkSpec


@pytest.fixture
def write(tmp_path):
    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def lines(*rows):
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n"


def row(answer, choices=("red", "green", "blue", "grey"), question="Which?"):
    return {"question": question, "choices": list(choices), "answer": answer}


def golds(file):
    return [question.gold for question in file.questions]


def test_json_lines_with_index_letter_and_text_in_one_file(write):
    file = files.read(write("q.jsonl", lines(row(2), row("B"), row("blue"), row(" d "), row("0"))))
    assert golds(file) == [2, 1, 2, 3, 0]
    assert not file.errors
    assert file.questions[0].context == "Question: Which?\nAnswer:"
    assert file.questions[0].options == [" red", " green", " blue", " grey"]


def test_every_bad_row_is_named_with_its_line_and_reason(write):
    rows = [
        row("A"),
        "{broken",
        "",
        row("A", choices=["one"]),
        row(None),
        row("maroon"),
        row(4),
        row("A", question=" "),
    ]
    rows += ["[1, 2]", row("A", choices=["x", ""]), {"question": "Q", "answer": "A"}, row("D")]
    content = lines(*rows)
    file = files.read(write("q.jsonl", content))
    assert golds(file) == [0, 3]
    assert file.n_rows == 11
    reasons = {error.row: error.reason for error in file.errors}
    assert list(reasons) == [2, 4, 5, 6, 7, 8, 9, 10, 11]
    for line, part in {
        2: "JSON",
        4: "at least 2",
        5: "no answer",
        6: "'maroon'",
        7: "a number 0..3",
        8: "no question",
        9: "not a JSON object",
        10: "choice 1 is empty",
        11: "no choices",
    }.items():
        assert part in reasons[line]
    assert file.errors[0].in_words().startswith("row 2: ")


def test_arc_rows_with_digit_labels_and_other_numbers_of_options(write):
    def arc(labels, answer):
        return {
            "question": "Q",
            "choices": {"text": [f"t{label}" for label in labels], "label": list(labels)},
            "answerKey": answer,
        }

    file = files.read(
        write("q.jsonl", lines(arc("ABCD", "B"), arc("1234", "1"), arc("1234", 4), arc("ABC", "C")))
    )
    assert golds(file) == [1, 0, 3, 2]


@pytest.mark.parametrize(
    ("choices", "answers", "expected"),
    [
        (
            ["4", "3", "2", "1"],
            [0, 3, 1, 2],
            [0, 3, 1, 2],
        ),  # numbers as choices, answers are places
        (["1", "2", "3", "4"], ["4", "1", "2", "4"], [3, 0, 1, 3]),  # no place 4: answers are texts
        (
            ["B", "A", "AB", "O"],
            ["A", "B", "C", "D"],
            [0, 1, 2, 3],
        ),  # letters as choices, answers are places
        (
            ["B", "A", "AB", "O"],
            ["A", "AB", "O", "B"],
            [1, 2, 3, 0],
        ),  # letters as choices, answers are texts
    ],
)
def test_the_whole_column_says_how_answers_are_meant(write, choices, answers, expected):
    file = files.read(write("q.jsonl", lines(*(row(answer, choices) for answer in answers))))
    assert golds(file) == expected


def test_answers_that_count_from_one_are_seen(write):
    answers = [1, 4, 2, 3, 4, 1, 2, 2, 3, 4, 1, 4]
    file = files.read(write("q.jsonl", lines(*map(row, answers))))
    assert golds(file) == [answer - 1 for answer in answers]
    assert file.answers_as == "numbers from 1"


HENDRYCKS = (
    'What is 2, and 2?,1,2,3,4,D\n"Quoted, with\na line break",a,b,c,d,A\nOdd,a,b,c,B\nStray,'
    " comma,a,b,c,d,C\nLast,w,x,y,z,B\n"
)


def test_hendrycks_csv_has_no_header_and_letters(write):
    file = files.read(write("q.csv", HENDRYCKS.replace("2, and", "2 and")))
    assert golds(file) == [3, 0, 1]
    assert file.questions[0].context == "What is 2 and 2?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    assert file.questions[0].options == [" A", " B", " C", " D"]
    assert [(error.row, "columns, 6 are expected" in error.reason) for error in file.errors] == [
        (4, True),
        (5, True),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "question,A,B,C,D,answer\nQ1,a,b,c,d,C\nQ2,a,b,c,d,A\n",
        "question,A,B,C,D,answer\nQ1,a,b,c,d,2\nQ2,a,b,c,d,0\n",
        ",prompt,A,B,C,D,answer\n0,Q1,a,b,c,d,C\n1,Q2,a,b,c,d,A\n",
        "Q1,a,b,c,d,2\nQ2,a,b,c,d,0\n",
        (
            "question,subject,choices,answer\nQ1,virology,\"['a', 'b', 'c',"
            " 'd']\",2\nQ2,virology,\"['a', 'b', 'c', 'd']\",0\n"
        ),
        (
            "question,subject,choices,answer\nQ1,virology,\"['a' 'b' 'c'\n"
            " 'd']\",2\nQ2,virology,\"['a' 'b' 'c' 'd']\",0\n"
        ),
    ],
    ids=["letters", "numbers", "row numbers", "no header, numbers", "hub", "hub, numpy"],
)
def test_csv_with_or_without_header_with_letters_or_numbers(write, content):
    file = files.read(write("q.csv", content))
    assert golds(file) == [2, 0]
    assert not file.errors
    assert file.questions[0].context == "Q1\nA. a\nB. b\nC. c\nD. d\nAnswer:"


def test_invalid_utf8_byte_costs_only_its_own_row(write):
    file = files.read(
        write("q.csv", "Q1,a,b,c,d,A\nQ2,caf\xe9,b,c,d,B\nQ3,a,b,c,d,C\n".encode("latin-1"))
    )
    assert golds(file) == [0, 2]
    assert [error.in_words() for error in file.errors] == ["row 2: not UTF-8 text (byte 0xe9)"]


def test_utf16_is_refused_but_a_byte_order_mark_is_accepted(write):
    with pytest.raises(BenchmarkError, match="Save it as UTF-8"):
        files.read(write("q.csv", "Q1,a,b,c,d,A\n".encode("utf-16")))
    assert golds(
        files.read(write("r.csv", "question,A,B,answer\nQ,a,b,B\n".encode("utf-8-sig")))
    ) == [1]


def test_a_quote_that_is_never_closed_swallows_nothing_silently(write):
    file = files.read(write("q.csv", 'Q1,a,b,c,d,A\n"Q2,a,b,c,d,A\nQ3,a,b,c,d,A\n'))
    assert golds(file) == [0]
    assert "lines 2 to 3" in file.errors[0].reason


def test_parquet_from_the_hub_with_a_gap(tmp_path):
    frame = pandas.DataFrame(
        {
            "question": ["Q1", "Q2", "Q3"],
            "subject": "virology",
            "choices": [["a", "b", "c", "d"]] * 3,
            "answer": [3, None, 0],
        }
    )
    frame.to_parquet(tmp_path / "q.parquet")
    file = files.read(tmp_path / "q.parquet")
    assert golds(file) == [3, 0]
    assert [error.in_words() for error in file.errors] == ["row 2: no answer"]
    assert file.questions[0].group == "virology"


def test_file_is_a_task_identified_by_its_content(write):
    path = write("q.jsonl", lines(*[row("A", question=f"Q{index}") for index in range(9)], "{"))
    spec = BenchmarkSpec(str(path), limit=5)
    assert [question.id for question in benchmarks.load(spec)] == [
        question.id for question in benchmarks.load(spec)
    ]
    assert len(benchmarks.load(spec)) == 5
    assert benchmarks.skipped_rows(spec)[0].startswith("row 10: not valid JSON")
    assert benchmarks.title(spec) == "q.jsonl"
    before = benchmarks.resolve(spec)
    assert before.identity == files.identity(path)
    path.write_text(lines(row("B")))
    assert benchmarks.resolve(spec).fingerprint() != before.fingerprint()
    path.write_text("{\n")
    with pytest.raises(BenchmarkError, match="row 1: not valid JSON"):
        benchmarks.load(spec)
    with pytest.raises(BenchmarkError, match="shots must be 0"):
        benchmarks.load(BenchmarkSpec(str(path), shots=2))
