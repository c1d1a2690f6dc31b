"""The command line: which subcommands there are and what options they take; `commands` answers them."""

import argparse
import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn, cast

from analysis.cli import commands, jobs, prompt_commands, reproduce, requests
from analysis.core.errors import LayerscopeError, SpecError
from analysis.core.record import Spec
from analysis.core.registry import SPECS
from analysis.data.spec import PROTOCOLS, TASKS, BenchmarkSpec
from analysis.experiments.heal import recipes
from analysis.experiments.maps.spec import METRICS, default_damage_corpus
from analysis.experiments.speed.spec import SpeedSpec
from analysis.experiments.strategies import STRATEGIES
from analysis.models.spec import DTYPES, QUANTIZATIONS

BAD_INPUT = 2
"""Exit code when the request cannot be answered as it stands."""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and leave with exit code 2."""
        self.exit(BAD_INPUT, f"{message[0].upper()}{message[1:].rstrip('.')}; see `{self.prog} --help`.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 2 with one sentence on standard error when the input is bad, or 130 when interrupted.
    """
    options = _parser().parse_args(arguments)
    _quiet_libraries()
    try:
        options.command(options)
    except LayerscopeError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; what was finished is kept, and the same command goes on from there.\n")
        return 130
    return 0


def request(arguments: Sequence[str]) -> Spec:
    """What these arguments ask for, without answering it.

    Raises:
        LayerscopeError: when they make no request.
    """
    return cast(Spec, requests.request(_parser().parse_args(arguments)))


def command_line(spec: Spec) -> str:
    """The line to paste into a shell that asks for `spec`: `request` makes the same request of it."""
    return reproduce.command_line(spec, request)


def _quiet_libraries() -> None:
    """Keep libraries' own bars and hints out of ours."""
    warnings.filterwarnings("ignore", module="transformers|peft|torch|bitsandbytes")
    import logging

    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    disable_progress_bars()


def _task(text: str) -> str:
    try:
        return BenchmarkSpec(task=text).task
    except SpecError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"numbers are written 0,5,10, not {text!r}") from error


@functools.cache
def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m analysis", description="Layerscope: how much of a model's depth does real work.")
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, command: Callable[..., None], help: str, *, model: bool = True) -> argparse.ArgumentParser:
        sub = subcommands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=command, subcommand=name, set=[])
        sub.add_argument("--json", metavar="FILE", help="write JSON to FILE, or to standard output for -")
        if model:
            _add_model_options(sub, optional=name == "models")
            sub.add_argument(
                "--set", action="append", metavar="NAME=VALUE", help="any other field of the request: corpus.seed=3"
            )
        return sub

    add("models", commands.models, "what a model is, and whether it fits this machine, before loading it")
    sub = add("distances", commands.distances, "the distance of every pair of depths")
    _add_text_options(sub, texts="c4", samples=32)
    sub.add_argument("--metric", choices=METRICS, default="angular")
    sub = add("damage", commands.damage, "the measured increase of the loss without every block, next to the distance map")
    _add_text_options(sub, texts=None, samples=default_damage_corpus().n_texts, seq_len=default_damage_corpus().seq_len)
    sub.add_argument("--max-size", type=int, metavar="N", help="largest block, in layers (default: half of them)")
    sub.add_argument("--metric", choices=METRICS, default="angular", help="distance that the damage is compared with")
    sub = add("sweep", commands.sweep, "accuracy and loss against the number of removed layers")
    _add_task_options(sub)
    sub.add_argument("--max-n", type=int, help="largest number of removed layers (default: half of them)")
    sub.add_argument("--strategy", choices=STRATEGIES, default="similarity")
    sub.add_argument("--metric", choices=METRICS, default="angular", help="distance that similarity selects by")
    sub.add_argument("--draw", type=int, default=0, help="seed of the blocks that random removes")
    sub.add_argument("--blocks", default="", metavar="CUTS", help="what manual removes: START:SIZE, several joined by commas")
    sub = add("evaluate", commands.evaluate, "accuracy and loss of one model, cut or not, healed or not")
    sub.add_argument("--block", metavar="START:SIZE", help="layers to leave out: 11:5, or 3:1+7:2")
    sub.add_argument("--adapter", metavar="DIR", help="PEFT adapter to put on the cut model")
    _add_task_options(sub)
    sub = add("speed", commands.speed, "seconds of reading a prompt and of writing a token, without n layers for several n")
    sub.add_argument(
        "--ns", type=_numbers, default=(), metavar="N,N", help="removed layers (default: 0,2,5,10 and half of all)"
    )
    sub.add_argument("--prompt-tokens", type=int, default=SpeedSpec.prompt_tokens, metavar="N", help="length of the prompt")
    sub.add_argument("--new-tokens", type=int, default=SpeedSpec.new_tokens, metavar="N", help="tokens written after it")
    sub.add_argument("--repeats", type=int, default=SpeedSpec.repeats, metavar="N", help="how often each n is measured")
    sub = add("heal", commands.heal, "repair a cut model with QLoRA")
    sub.add_argument("--block", metavar="START:SIZE", required=True)
    sub.add_argument("--steps", type=int, help="optimizer steps, instead of the recipe's time or steps")
    sub.add_argument("--minutes", type=float, help="how long all of it may take; as many steps as fit are taken")
    sub.add_argument(
        "--recipe",
        default=recipes.DEFAULT,
        metavar="NAME",
        help="distill, quick, partial, instant, paper, a row of its table, one of yours",
    )
    sub.add_argument("--texts", metavar="wiki|c4|c4-train|FILE", help="healing text instead of the recipe's")
    sub.add_argument("--control", action="store_true", help="train the unpruned model the same way instead")
    sub.add_argument("--generate", action="store_true", help="also let the models write")
    sub.add_argument("--seq-len", type=int, help="tokens of a training row")
    sub.add_argument("--detach", action="store_true", help="run it as a background job")
    sub.set_defaults(quantization=None)  # the recipe's own
    sub = add("compare", prompt_commands.compare, "a prompt through the unpruned, the cut and the healed model")
    _add_prompt_options(sub)
    sub.add_argument("--adapter", metavar="DIR", help="PEFT adapter to put on the cut model")
    sub.add_argument("--tokens", type=int, default=48, metavar="N", help="how many to write at most")
    sub.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 takes the likeliest token each time")
    sub = add("microscope", prompt_commands.microscope, "what every layer does to a prompt, and what it would guess next")
    _add_prompt_options(sub)
    sub.add_argument("--token", type=int, metavar="K", help="whose next token is guessed, from 1 (default: the last one)")
    sub = add("export", commands.export, "save the cut model, or the recipe of the cut")
    sub.add_argument("--block", metavar="START:SIZE", required=True, help="layers to leave out: 11:5, or 3:1+7:2")
    sub.add_argument("--adapter", metavar="DIR", help="PEFT adapter to merge in")
    where = sub.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", metavar="DIR", help="a new folder")
    where.add_argument("--name", help="a new folder under exports/ in the cache, as the Export page makes it")
    sub.add_argument("--format", default="hf", help="hf or mergekit")
    sub = add("report", commands.report, "all results of a model as one HTML page or a Markdown summary")
    sub.add_argument("--block", metavar="START:SIZE", help="the cut to write of (default: the measured one of five layers)")
    sub.add_argument("--out", metavar="FILE", required=True, help="ends in .html or .md")
    sub.set_defaults(command_line=command_line)
    sub = add("run", commands.run_any, "any request by its kind, from --set settings alone", model=False)
    sub.add_argument("kind", choices=SPECS)
    sub.add_argument("--set", action="append", metavar="NAME=VALUE", help="a field of the request: model.source=starter")
    sub = add("jobs", jobs.run, "the background jobs", model=False)
    sub.add_argument("action", nargs="?", choices=jobs.ACTIONS, default="list")
    sub.add_argument("id", nargs="?", help="a job; for auto-resume: on or off")
    sub.add_argument("where", nargs="?", metavar="up|down|first|last", help="where move puts a queued job")
    sub.add_argument("--saved", action="store_true", help="delete, clear: also checkpoints, adapter and results not needed")
    return parser


def _add_model_options(sub: argparse.ArgumentParser, *, optional: bool) -> None:
    where = "starter, a hub id, a folder or a GGUF file"
    if optional:
        sub.add_argument("model", metavar="MODEL", nargs="?", default="starter", help=where)
    else:
        sub.add_argument("model", metavar="MODEL", help=where)
    sub.add_argument("--revision", help="branch, tag or commit of a hub id")
    sub.add_argument("--dtype", choices=DTYPES, default="auto")
    sub.add_argument("--device", default="auto")
    sub.add_argument("--quantization", choices=QUANTIZATIONS, default="none")
    sub.add_argument("--seed", type=int, default=0)


def _add_prompt_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--prompt", required=True, metavar="TEXT", help="the beginning of a text, taken as it stands")
    sub.add_argument("--block", metavar="START:SIZE", help="layers to leave out: 11:5, or 3:1+7:2")


def _add_text_options(sub: argparse.ArgumentParser, *, texts: str | None, samples: int, seq_len: int = 256) -> None:
    sub.add_argument("--texts", default=texts, metavar="c4|wiki|FILE", help="TXT or JSONL file, or a starter text")
    sub.add_argument("--samples", type=int, default=samples, help="number of texts")
    sub.add_argument("--seq-len", type=int, default=seq_len, help="tokens each text is cut to")


def _add_task_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--task", type=_task, default="arc_easy", metavar="NAME|FILE", help=f"{', '.join(TASKS)}, or a file")
    sub.add_argument("--subset", default="", metavar="NAMES", help="MMLU subjects or categories, joined by commas")
    sub.add_argument("--protocol", choices=PROTOCOLS, default="harness", help="how MMLU and BoolQ are asked")
    sub.add_argument("--limit", type=int, default=100, help="number of questions; 0 for all")
    sub.add_argument("--shots", type=int, help="worked examples before a question")
    sub.add_argument("--generate", action="store_true", help="also let it write: repetition, distinct tokens, small sums")
    sub.add_argument("--per-question", action="store_true", help="add every question's log-likelihoods to the JSON")
    _add_text_options(sub, texts=None, samples=8)
