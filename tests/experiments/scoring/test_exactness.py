"""The same prompts, tokens, log-likelihoods and verdicts as lm-evaluation-harness, whole and cut,
on the same items.
"""

import copy

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from analysis.core.blocks import Block
from analysis.data.tasks import TASKS, Question
from analysis.experiments.accuracy import points, scores
from analysis.experiments.scoring import likelihood
from analysis.experiments.scoring.trees import encode
from analysis.models.architecture import decoder as architecture
from analysis.models.loading.load import load
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support.families import build
from tests.support.levels import few

harness = pytest.importorskip(
    "tests.support.harness",
    reason="lm-eval is not installed: it is in requirements-dev.txt",
    exc_type=ImportError,
)

TOLERANCE = 1e-3
"""Nats; options closer than this may change places."""
SAMPLES = {
    "arc_easy": 2,
    "piqa": 2,
    "mmlu": 1,
    "boolq": 1,
    "hellaswag": 2,
    "winogrande": 1,
    "copa": 1,
}
"""Questions of each set, the shortest of a seeded draw: every option costs the harness a row of its
own."""


@pytest.mark.parametrize("name", TASKS)
def test_prompts_and_right_answers_are_the_harness_own(name):
    for shots in (0, 5) if name == "mmlu" else (0,):
        for question in harness.sample(name, 10, shots=shots):
            assert question.pairs() == [
                tuple(request.args) for request in harness.requests(name, question, shots)
            ]
            best = [-1.0 - (place != question.gold) for place in range(len(question.options))]
            assert harness.verdicts(name, question, best)["acc"] == 1.0


@pytest.mark.parametrize("name", [name for name in TASKS if name != "mmlu"])
def test_acc_norm_divides_by_the_same_lengths(name):
    generator = torch.Generator().manual_seed(0)
    for question in harness.sample(name, 40):
        values = (-20 * torch.rand(len(question.options), generator=generator)).tolist()
        theirs = harness.verdicts(name, question, values)
        answered = scores.answer(question, values)
        assert float(answered.prediction == answered.gold) == theirs["acc"]
        if "acc_norm" in theirs:
            assert float(points.is_right_normalised(question, answered)) == theirs["acc_norm"]


def test_mmlu_categories_are_the_harness_own():
    found = harness.manager().all_subtasks
    assert {
        f"mmlu_{subject}" for subjects in TASKS["mmlu"].groups.values() for subject in subjects
    } <= set(found)
    for category, subjects in TASKS["mmlu"].groups.items():
        listed = harness.manager().task_index[f"mmlu_{category}_tasks"].tags
        assert sorted(listed) == sorted(f"mmlu_{subject}" for subject in subjects)


def with_bos(tokenizer):
    """A copy of the tokenizer that puts a BOS token before every text."""
    changed = copy.deepcopy(tokenizer)
    token = changed.bos_token
    changed.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{token} $A",
        pair=f"{token} $A $B",
        special_tokens=[(token, changed.convert_tokens_to_ids(token))],
    )
    assert changed("x").input_ids[0] == changed.bos_token_id
    return changed


def made_up(tokenizer):
    """Questions that are hard to cut into tokens: merging boundaries, odd spaces, a BOS in the
    text, unequal lengths.
    """
    long = "the cat sat on the mat and looked at the dog " * 12
    return [
        Question("merge", "The un", ["believable", "derstanding it", "happily so"], 0),
        Question(
            "newline", "Question: why\nAnswer:\n", [" because", "\nbecause it is so", " no"], 0
        ),
        Question("spaces", "Once upon  ", ["a time", " a   time", "x"], 0),
        Question("bos", f"{tokenizer.bos_token}Once upon", [" a time", " b"], 0),
        Question("empty", "", ["yes it is", "no"], 0),
        Question("long", long, [" runs", " runs away and never comes back"], 0),
        Question("contexts", "shown", [" fell"] * 2, 0, contexts=("The cat", "The very big dog")),
    ]


def test_some_boundaries_merge_tokens(tokenizer):
    whole, context = (tokenizer(text).input_ids for text in ("The understanding it", "The un"))
    assert len(whole) > len(context)
    assert whole[: len(context)] != context


def as_requests(question):
    return [request(*pair) for pair in question.pairs()]


def request(context, continuation):
    return harness.Instance("loglikelihood", {}, (context, continuation), 0)


@pytest.mark.starter
@pytest.mark.parametrize("bos", [False, True], ids=["plain", "bos"])
def test_boundaries_bos_and_windows_of_a_tiny_model(small_tokenizer, bos):
    tokenizer = with_bos(small_tokenizer) if bos else small_tokenizer
    model = build("llama", vocab_size=len(tokenizer))
    model.config.max_position_embeddings = 64
    lm = harness.HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4)
    assert lm.max_length == 64
    asked = made_up(tokenizer)
    theirs = harness.loglikelihoods(lm, [as_requests(question) for question in asked])
    encoded = [encode(question, tokenizer, 64) for question in asked]
    assert [
        question.id for question, tokens in zip(asked, encoded, strict=True) if tokens.truncated
    ] == ["long"]
    decoder = architecture.find_decoder(model)
    for packed in (True, False):
        ours = likelihood.option_loglikelihoods(decoder, encoded, [None], packed=packed)[0]
        for question, mine, reference in zip(asked, ours, theirs, strict=True):
            assert mine == pytest.approx(reference, abs=TOLERANCE), question.id


@pytest.fixture(scope="module")
def asked():
    drawn = {
        name: sorted(harness.sample(name, 40), key=lambda question: len(str(question.pairs())))
        for name in SAMPLES
    }
    return {name: questions[: SAMPLES[name]] for name, questions in drawn.items()}


@pytest.mark.starter
@pytest.mark.parametrize("block", few([None, Block(11, 5), Block(2, 12)], Block(11, 5)), ids=str)
def test_loglikelihoods_of_the_really_cut_starter_model(block, asked, starter):
    loaded = load(ModelSpec(dtype="float32"))
    if block is not None:
        pruning.cut(loaded.decoder, block)
    lm = harness.model(loaded, batch_size=4)
    for name, questions in asked.items():
        shots = 5 if name == "mmlu" else 0
        theirs = harness.loglikelihoods(
            lm, [harness.requests(name, question, shots) for question in questions]
        )
        encoded = [
            encode(question, starter.tokenizer, starter.facts.max_positions)
            for question in questions
        ]
        (mine,) = likelihood.option_loglikelihoods(starter.decoder, encoded, [block], packed=True)
        largest = max(
            abs(a - b) for x, y in zip(mine, theirs, strict=True) for a, b in zip(x, y, strict=True)
        )
        print(f"{name}: largest difference {largest:.1e} nats")
        assert largest <= TOLERANCE, name
        for question, values, reference in zip(questions, mine, theirs, strict=True):
            chosen = scores.answer(question, values).prediction
            tied = max(reference) - reference[chosen] <= TOLERANCE
            assert tied or harness.verdicts(name, question, reference)["acc"] == float(
                chosen == question.gold
            )
