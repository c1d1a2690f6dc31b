"""The subcommands about a prompt: variants of a model that go on with it, and the microscope."""

import argparse

from analysis.cli.requests import request
from analysis.cli.terminal import run, write
from analysis.core.errors import SpecError
from analysis.experiments.prompt.spec import CompareResult, MicroscopeResult, Writing, mean_surprise


def compare(options: argparse.Namespace) -> None:
    """The same prompt through the unpruned model, the cut one and the healed one."""
    from analysis.experiments.prompt import comparison

    result = run(comparison.run, request(options))
    write(
        options, result.to_json(), [line for index in range(len(result.spec.variants)) for line in _text_lines(result, index)]
    )


def _text_lines(result: CompareResult, index: int) -> list[str]:
    variant, text = result.written[index]
    removed = f" without {variant.block.describe()}" if variant.block else ""
    return [f"{variant.label}{removed}: {_numbers(result, index, text)}", f"{result.spec.prompt}{text.text}", ""]


def _numbers(result: CompareResult, index: int, text: Writing) -> str:
    said = [f"{len(text.token_ids)} tokens{' and the end' if text.ended else ''}"]
    prefill = text.prefill_rate(result.n_prompt_tokens)
    if prefill is not None:
        said.append(f"prefill {prefill:.0f} tokens/s")
    if text.decode_rate is not None:
        said.append(f"decode {text.decode_rate:.1f} tokens/s")
    for name, surprise in (("the unpruned model", text.unpruned_surprise), ("itself", text.own_surprise)):
        mean = mean_surprise(surprise)
        if mean is not None:
            said.append(f"surprise to {name} {mean:.2f} nats per token")
    parting = result.parts_at(index)
    if parting is not None:
        said.append(f"departs from the unpruned text at token {parting + 1}")
    return ", ".join(said)


def microscope(options: argparse.Namespace) -> None:
    """What every layer does to the tokens of a prompt, and the next token that the model would guess after it."""
    from analysis.experiments.prompt import microscope as prompt_microscope

    result = run(prompt_microscope.run, request(options))
    position = options.token - 1 if options.token else len(result.pieces) - 1
    if not 0 <= position < len(result.pieces):
        raise SpecError(f"Token {options.token} was asked for, but 1..{len(result.pieces)} were read; choose one of these.")
    write(options, result.to_json(), _layer_lines(result, position))


def _layer_lines(result: MicroscopeResult, position: int) -> list[str]:
    settled = result.settled[position]
    lines = [
        f"{result.model_name}: {len(result.pieces)} tokens, {result.n_left_out} more not read; guesses after token "
        f"{position + 1}, {result.pieces[position]!r}",
        "  after layer  distance  mean of all tokens  guess  probability",
    ]
    for depth, layer in enumerate(["none", *result.layers]):
        row = result.distances[depth - 1] if depth else None
        moved = f"{row[position]:8.4f}  {sum(row) / len(row):18.4f}" if row else f"{'-':>8}  {'-':>18}"
        mark = "   the final guess is on top from here on" if depth == settled else ""
        guess = result.guess(depth, position)
        lines.append(f"  {layer:>11}  {moved}  {guess!r} {result.probabilities[depth][position][0]:.3f}{mark}")
    return lines
