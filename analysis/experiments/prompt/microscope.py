"""The experiment that measures the effect of each layer on each token of a prompt, and the
prediction after it.

The prediction after a layer is the logit lens: final norm and head are applied to the residual
stream after the layer. Source: nostalgebraist, "interpreting GPT: the logit lens", 2020.
"""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from analysis.core.progress import OnProgress, Progress, ignore
from analysis.experiments.maps.depths import angular_distance
from analysis.experiments.prompt.microscope_spec import MicroscopeResult, MicroscopeSpec
from analysis.models.architecture.decoder import Decoder
from analysis.models.loading import load as models
from analysis.models.loading.load import Loader
from analysis.models.running import generation, pruning
from analysis.models.running.hidden_states import token_streams
from analysis.models.source.resolving import resolve

MOST_TOKENS = 128
"""Maximum number of tokens of a prompt. Later tokens do not affect earlier ones."""
N_GUESSES = 5


def run(
    spec: MicroscopeSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> MicroscopeResult:
    """Measure the layers on the prompt, or return the stored result.

    Raises:
        LayerscopeError: For each problem that the user can fix, in one sentence.
    """
    resolved = resolve(spec)
    stored = MicroscopeResult.load(resolved, on_progress)
    if stored is not None:
        return stored
    loaded = load(resolved.model, on_progress)
    started = time.perf_counter()
    ids = generation.encode(loaded.tokenizer, resolved.prompt)
    read = ids[: min(MOST_TOKENS, loaded.facts.max_positions or MOST_TOKENS)]
    removed = set() if resolved.block is None else set(resolved.block.layers)
    with pruning.without_block(loaded.decoder, resolved.block) as decoder:
        on_progress(Progress("reading the prompt", 0, decoder.n_layers + 1))
        streams = token_streams(decoder, [read])
        guesses, probabilities, final = _lens(decoder, streams, on_progress)
    tokens = {token for depth in guesses for position in depth for token in position}
    result = MicroscopeResult(
        spec=resolved,
        versions=loaded.versions(),
        wall_s=time.perf_counter() - started,
        n_tokens=len(read),
        complete=True,
        model_name=loaded.facts.name,
        n_layers=loaded.facts.n_layers,
        layers=[layer for layer in range(loaded.facts.n_layers) if layer not in removed],
        pieces=generation.token_texts(loaded.tokenizer, read),
        n_left_out=len(ids) - len(read),
        distances=layer_distances(streams),
        guesses=guesses,
        probabilities=probabilities,
        final_probability=final,
        settled=settled_at(guesses),
        vocabulary={
            str(token): generation.token_text(loaded.tokenizer, token) for token in sorted(tokens)
        },
    )
    result.save()
    return result


def layer_distances(streams: Sequence[Tensor]) -> list[list[float]]:
    """Return the angular distance d(x[l], x[l+1]) of every token.

    Args:
        streams: x[0..L], each (n_tokens, hidden_size).

    Returns:
        L rows with an entry per token, in [0, 1].
    """
    pairs = zip(streams, streams[1:], strict=False)
    return [
        angular_distance(before, after.to(before.device)).cpu().tolist() for before, after in pairs
    ]


@torch.inference_mode()
def next_token_probabilities(decoder: Decoder, stream: Tensor) -> Tensor:
    """Return the next-token probabilities of a residual stream by the logit lens.

    Args:
        decoder: The model.
        stream: x[l] before the final norm, (n, hidden_size).

    Returns:
        Probabilities, float32, (n, vocabulary), on the device of the head.
    """
    return decoder.logits(decoder.norm(stream)).softmax(-1)


def _lens(
    decoder: Decoder, streams: Sequence[Tensor], on_progress: OnProgress
) -> tuple[list[list[list[int]]], list[list[list[float]]], list[list[float]]]:
    """Return the predicted next tokens after every layer.

    Returns:
        Per depth and token, the most likely next tokens, their probabilities, and the probability
        of the final prediction.
    """
    final = next_token_probabilities(decoder, streams[-1]).argmax(-1, keepdim=True)
    guesses = []
    probabilities = []
    of_final = []
    for depth, stream in enumerate(streams):
        distribution = next_token_probabilities(decoder, stream)
        values, tokens = distribution.topk(min(N_GUESSES, distribution.shape[-1]), -1)
        guesses.append(tokens.tolist())
        probabilities.append(values.tolist())
        of_final.append(distribution.gather(1, final)[:, 0].tolist())
        on_progress(Progress("reading the prompt", depth + 1, len(streams)))
    return guesses, probabilities, of_final


def settled_at(guesses: Sequence[Sequence[Sequence[int]]]) -> list[int]:
    """Return the first depth of each token from which the final prediction is always the most
    likely one.

    Args:
        guesses: Token ids by depth and token, most likely first.
    """
    depths = []
    for position, final in enumerate(guesses[-1]):
        depth = len(guesses) - 1
        while depth > 0 and guesses[depth - 1][position][0] == final[0]:
            depth -= 1
        depths.append(depth)
    return depths
