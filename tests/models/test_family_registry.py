"""A family is one row: without it an architecture of other names is refused, with it all is
measured as by brute force.
"""

import math
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from analysis.cli import main
from analysis.core.blocks import Block
from analysis.core.errors import RecipeError, SpecError, UnsupportedModelError
from analysis.data import corpora
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy import evaluation
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.scoring import likelihood
from analysis.models.architecture import families
from analysis.models.architecture.families import Family
from analysis.models.architecture.matrices import feed_forward_matrices
from analysis.models.loading import load
from analysis.models.running.pruning import cut, without_block
from analysis.models.source.model_spec import ModelSpec
from tests.support.asked import questions

N_RUNGS = 5
ROW = '''
"""Ladders: a family of one's own."""

from analysis.models.architecture.families import Family, register

register(
    Family(
        "ladder",
        classes=("ForClimbing",),
        layers=("rungs",),
        norm=("closing",),
        feed_forward=("widening",),
        feed_forward_width=("breadth",),
        row_bound=lambda config: config.counts_from_the_left,
        logits_times=("sharpness",),
        depth=("height",),
        layer_numbers=("slippery",),
    )
)
'''


class LadderConfig(PreTrainedConfig):
    """A decoder whose every name is another one."""

    model_type = "ladder"

    def __init__(self, vocab_size=300, hidden_size=16, num_hidden_layers=N_RUNGS, **settings):
        self.vocab_size, self.hidden_size, self.num_hidden_layers = (
            vocab_size,
            hidden_size,
            num_hidden_layers,
        )
        self.breadth = settings.pop("breadth", 24)
        self.sharpness = settings.pop("sharpness", 2.5)
        self.slippery = settings.pop("slippery", [1, 4])
        self.counts_from_the_left = settings.pop("counts_from_the_left", True)
        super().__init__(**settings)


class Rung(nn.Module):
    """Adds the tokens to the left, on average and upside down on slippery rungs, then a
    feed-forward part.
    """

    def __init__(self, config, height):
        super().__init__()
        self.config, self.height = config, height
        self.looking = nn.Linear(config.hidden_size, config.hidden_size)
        self.widening = nn.Sequential(
            nn.Linear(config.hidden_size, config.breadth),
            nn.GELU(),
            nn.Linear(config.breadth, config.hidden_size),
        )

    def forward(self, stream):
        sign = -1 if self.height in self.config.slippery else 1
        places = torch.arange(1, stream.shape[1] + 1, device=stream.device)[:, None]
        stream = stream + sign * self.looking(stream.cumsum(1) / places)
        return stream + self.widening(stream)


class LadderPreTrained(PreTrainedModel):
    """Common base of both classes."""

    config_class = LadderConfig
    base_model_prefix = "ladder"

    def _init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)


class Ladder(LadderPreTrained):
    """Everything below the head."""

    def __init__(self, config):
        super().__init__(config)
        self.ground = nn.Embedding(config.vocab_size, config.hidden_size)
        self.opening, self.closing = (
            nn.LayerNorm(config.hidden_size),
            nn.LayerNorm(config.hidden_size, bias=False),
        )
        self.rungs = nn.ModuleList(
            Rung(config, height) for height in range(config.num_hidden_layers)
        )
        self.post_init()

    def get_input_embeddings(self):
        return self.ground

    def forward(self, input_ids, **ignored):
        stream = self.opening(self.ground(input_ids))
        for rung in self.rungs:
            stream = rung(stream)
        return BaseModelOutput(self.closing(stream))


class LadderForClimbing(LadderPreTrained):
    """With its head, whose logits are sharpened."""

    def __init__(self, config):
        super().__init__(config)
        self.ladder = Ladder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids, **ignored):
        return CausalLMOutput(
            logits=self.lm_head(self.ladder(input_ids).last_hidden_state) * self.config.sharpness
        )


@pytest.fixture
def architecture():
    """The architecture known to transformers, as that of an installed package would be, and no row
    of it to us.
    """
    AutoConfig.register("ladder", LadderConfig)
    AutoModelForCausalLM.register(LadderConfig, LadderForClimbing)
    yield
    families.FAMILIES.remove("ladder")
    CONFIG_MAPPING._extra_content.pop("ladder")
    MODEL_FOR_CAUSAL_LM_MAPPING._extra_content.pop(LadderConfig)


@pytest.fixture
def ladder(cache, architecture, tmp_path, small_tokenizer, no_trial) -> ModelSpec:
    """A folder with a random ladder in it."""
    torch.manual_seed(0)
    folder = tmp_path / "ladder"
    model = LadderForClimbing(LadderConfig(vocab_size=len(small_tokenizer)))
    nn.init.uniform_(model.ladder.closing.weight, 0.5, 2.0)
    model.save_pretrained(folder)
    small_tokenizer.save_pretrained(folder)
    return ModelSpec(str(folder), dtype="float32", device="cpu")


@pytest.fixture
def row(ladder, tmp_path) -> Family:
    """Its row, registered by one file outside the package."""
    file = tmp_path / "ladders.py"
    file.write_text(ROW)
    exec(compile(file.read_text(), str(file), "exec"), {})
    return families.of(LadderConfig())


def streams(model, ids, removed=()):
    """x[0..L] of one text without some rungs, by hand."""
    body = model.ladder
    found = [body.opening(body.ground(torch.tensor([ids])))]
    for index, rung in enumerate(body.rungs):
        if index not in removed:
            found.append(rung(found[-1]))
    return found


def logprobs(model, ids, removed=()):
    states = model.ladder.closing(streams(model, ids, removed)[-1])
    return (model.lm_head(states) * 2.5).double().log_softmax(-1)[0]


def told(capsys, ladder):
    code = main.main(["models", ladder.source, "--json", "-"])
    return code, capsys.readouterr()


def test_without_a_row_it_is_refused(ladder, capsys):
    code, said = told(capsys, ladder)
    assert (code, said.out) == (2, "")
    assert "(LadderForClimbing) is not a causal language model" in said.err
    families.FAMILIES.remove("ladder")
    families.register(Family("ladder", classes=("ForClimbing",)))
    code, said = told(capsys, ladder)
    assert (code, said.out) == (2, "")
    assert f"Layerscope does not find {N_RUNGS} decoder layers" in said.err
    with pytest.raises(UnsupportedModelError, match="in LadderForClimbing \\(it looks in"):
        load.load(ladder)


def test_wrong_row_is_refused_as_not_adding_up(ladder, row):
    for wrong in (replace(row, norm=("opening",)), replace(row, logits_times=("logit_scale",))):
        families.FAMILIES.remove("ladder")
        families.register(wrong)
        with pytest.raises(
            UnsupportedModelError,
            match=r"parts of LadderForClimbing \(model_type ladder\) do not add up",
        ):
            load.load(ladder)


@pytest.mark.usefixtures("row")
@torch.inference_mode()
def test_distances_equal_brute_force(ladder):
    corpus = CorpusSpec("wiki", n_texts=3, seq_len=24)
    result = distance_map.run(DistanceSpec(ladder, corpus))
    loaded = load.load(ladder)
    texts = [
        streams(loaded.model, ids)
        for ids in corpora.tokenize(result.spec.corpus, loaded.tokenizer).token_ids
    ]
    for n in range(1, N_RUNGS + 1):
        for start in range(N_RUNGS - n + 1):
            pairs = [
                (found[start][0, -1].double(), found[start + n][0, -1].double()) for found in texts
            ]
            angles = [
                math.acos((a @ b / a.norm() / b.norm()).clamp(-1, 1).item()) / math.pi
                for a, b in pairs
            ]
            assert result.mean[n - 1][start] == pytest.approx(fmean(angles), abs=1e-5)


@pytest.mark.usefixtures("row")
@torch.inference_mode()
@pytest.mark.parametrize("block", [None, Block(1, 3)])
def test_losses_and_scores_of_a_cut_equal_brute_force(ladder, block):
    removed = () if block is None else block.layers
    found = evaluation.run(
        EvaluateSpec(ladder, block, None, None, CorpusSpec("wiki", n_texts=3, seq_len=24))
    )
    loaded = load.load(ladder)
    texts = corpora.tokenize(found.spec.loss_corpus, loaded.tokenizer).token_ids
    for ids, loss in zip(texts, found.text_losses, strict=True):
        own = [
            -logprobs(loaded.model, ids, removed)[at, token].item()
            for at, token in enumerate(ids[1:])
        ]
        assert loss == pytest.approx(fmean(own), abs=1e-4)
    assert not likelihood.can_pack(loaded.decoder)
    asked = questions(3)
    (scored,) = likelihood.option_loglikelihoods(loaded.decoder, asked, [block], packed=False)
    for question, values in zip(asked, scored, strict=True):
        for option, value in zip(question.options, values, strict=True):
            found_here, n = logprobs(loaded.model, option.tokens, removed), len(option.tokens)
            own = sum(
                found_here[at - 1, option.tokens[at]].item() for at in range(n - option.n_scored, n)
            )
            assert value == pytest.approx(own, abs=1e-3)


@pytest.mark.usefixtures("row")
@torch.inference_mode()
def test_cut_renumbers_and_restores_the_names_of_the_row(ladder, tmp_path):
    loaded = load.load(ladder)
    decoder, model, ids = loaded.decoder, loaded.model, [5, 9, 33, 7, 8]
    expected = logprobs(model, ids, (2, 3))
    with without_block(decoder, Block(2, 2)):
        assert (model.config.slippery, [rung.height for rung in decoder.layers]) == (
            [1, 2],
            [0, 1, 2],
        )
        torch.testing.assert_close(
            model(torch.tensor([ids])).logits.double().log_softmax(-1)[0], expected
        )
    assert (model.config.slippery, [rung.height for rung in decoder.layers]) == (
        [1, 4],
        [0, 1, 2, 3, 4],
    )
    cut(decoder, Block(2, 2))
    model.save_pretrained(tmp_path / "cut")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "cut")
    # Read by transformers, its matrices multiply by another library on some processors
    # (`products`).
    values = again(torch.tensor([ids])).logits.double().log_softmax(-1)[0]
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=0)


def test_row_defines_feed_forward_parts_and_width(ladder, row):
    decoder = load.load(ladder).decoder
    assert decoder.feed_forward_width == 24
    assert feed_forward_matrices(decoder).modules == [
        f"ladder.rungs.{n}.widening.{part}" for n in range(N_RUNGS) for part in (0, 2)
    ]
    families.FAMILIES.remove("ladder")
    families.register(replace(row, feed_forward=("mlp",)))
    with pytest.raises(RecipeError, match=r"no known feed-forward part \(mlp, fc1, fc2\)"):
        feed_forward_matrices(decoder)


def test_unnamed_parts_are_looked_up_generically():
    config = LadderConfig()
    assert families.of(config) == Family("ladder")
    with pytest.raises(
        SpecError, match="layers of the family ladder must be a tuple of names, not 'rungs'"
    ):
        Family("ladder", layers="rungs")
