"""Options that are missing, unknown, twice their maximum, or of a wrong form."""

from collections.abc import Iterator

from tests.corpus import Bad

WHOLE = ("x", "1.5", "", "1e3", "NaN", "0x10", "1_000", "٣", "five", "1,0", "--1", "9" * 5000, "∞", "1 2", "null", "True")
"""No whole numbers."""
REAL = ("x", "", "nan", "inf", "-inf", "1e999", "1,5", "1_0.0", "0x1p3", "half", "1/2", "None")
"""No numbers."""
CUTS = ("x", "1", "1:", ":1", "a:b", "1-2", "1:2:3", "1.5:2", "1:1e2", "[1,2]", "", "1:2,", "none:1", "1;2", "9" * 5000 + ":1")
"""No cuts."""
CHOICES = ("nothing", "", "FLOAT32", "none ", "0", "*", "../..", "\x1b[31m", "a\nb", "x" * 5000)
"""Names that no list has."""
NOT_BLOCK = ("-1:2", "1:0", "1:-3", "-5:-5")
"""Written as a cut is, and none."""
COMMANDS = (
    "models",
    "distances",
    "damage",
    "sweep",
    "evaluate",
    "heal",
    "speed",
    "compare",
    "microscope",
    "export",
    "report",
)
_DTYPE, _DEVICE, _QUANT = "--dtype", "--device", "--quantization"
_TEXTS = ("--samples", "--seq-len", "--seed")
_ASKED = ("--limit", "--shots", "--seed")
_WHOLE = {
    "distances": _TEXTS,
    "damage": (*_TEXTS, "--max-size"),
    "sweep": (*_ASKED, "--samples", "--seq-len", "--max-n", "--draw"),
    "evaluate": (*_ASKED, "--samples", "--seq-len"),
    "heal": ("--steps", "--seed", "--seq-len"),
    "speed": ("--prompt-tokens", "--new-tokens", "--repeats", "--seed"),
    "compare": ("--tokens", "--seed"),
    "microscope": ("--token", "--seed"),
    "export": ("--seed",),
    "report": ("--seed",),
    "models": ("--seed",),
}
"""Options that take a whole number, by subcommand."""
_NEEDED = {
    "heal": ("--block", "1:1"),
    "compare": ("--prompt", "a"),
    "microscope": ("--prompt", "a"),
    "export": ("--block", "1:1", "--name", "a"),
    "report": ("--out", "{here}/r.html"),
}
"""Arguments that a subcommand needs."""
_CHOSEN = {
    "distances": ("--metric", _DTYPE),
    "damage": ("--metric", _QUANT),
    "sweep": ("--strategy", "--protocol", "--metric"),
    "evaluate": ("--protocol", _DTYPE),
    "heal": (_QUANT, _DTYPE),
    "speed": (_DTYPE, _QUANT),
    "compare": (_DTYPE,),
    "microscope": (_QUANT,),
    "export": (_DTYPE, _QUANT),
    "report": (_DTYPE,),
    "models": (_DTYPE, _QUANT),
}
_RANGES = [
    *(
        (("distances", "--memory", amount), "is not an amount of memory. Give a number with its unit")
        for amount in ("", "4", "GB", "4 G B", "1e9GB", "nanGB", "4GB\nx", "9" * 5000 + "GB", "٤GB", "4GB;4GB")
    ),
    (("sweep", "--memory", "4GB", "--detach"), "--memory bounds this process only, but --detach runs the request in another"),
    (("distances", "--samples", "0"), "n_texts must be 1..1,000,000, not 0."),
    (("distances", "--samples", "-3"), "corpus.n_texts must be 1..1,000,000, not -3."),
    (("distances", "--seq-len", "15"), "seq_len must be 16..1,048,576, not 15."),
    (("distances", "--seq-len", "-16"), "seq_len must be 16..1,048,576, not -16."),
    (("distances", "--seq-len", "0"), "seq_len must be 16..1,048,576, not 0."),
    (("damage", "--max-size", "0"), "max_size must be 1..1,000, not 0."),
    (("damage", "--max-size", "-1"), "max_size must be 1..1,000, not -1."),
    (("damage", "--samples", "0"), "n_texts must be 1..1,000,000, not 0."),
    (("sweep", "--max-n", "-1"), "max_n must be 0..1,000, not -1."),
    (("sweep", "--limit", "-1"), "benchmark.limit must be 1..1,000,000, or --limit 0 for all, not -1."),
    (("sweep", "--shots", "6"), "shots must be 0..5, not 6."),
    (("sweep", "--shots", "-1"), "shots must be 0..5, not -1."),
    (("sweep", "--samples", "0"), "n_texts must be 1..1,000,000, not 0."),
    (("sweep", "--strategy", "manual"), "manual needs blocks to remove"),
    (("sweep", "--blocks", "1:1"), "no other strategy takes any"),
    (("sweep", "--strategy", "deepest", "--blocks", "1:1"), "no other strategy takes any"),
    (("evaluate", "--limit", "-5"), "benchmark.limit must be 1..1,000,000, or --limit 0 for all, not -5."),
    (("evaluate", "--shots", "99"), "shots must be 0..5, not 99."),
    (("evaluate", "--seq-len", "1"), "seq_len must be 16..1,048,576, not 1."),
    (("speed", "--prompt-tokens", "0"), "prompt_tokens must be 1..1,048,576, not 0."),
    (("speed", "--new-tokens", "0"), "new_tokens must be 1..1,048,576, not 0."),
    (("speed", "--repeats", "0"), "repeats must be 1..10,000, not 0."),
    (("speed", "--repeats", "-1"), "repeats must be 1..10,000, not -1."),
    (("speed", "--ns=-1"), "ns must be 0..1,000, not -1."),
    (("speed", "--ns", "1,1"), "Each number of removed layers must occur once, not [1, 1]."),
    (("speed", "--ns", "1;2"), "expected a whole number, several joined by commas, not '1;2'"),
    (("compare", "--tokens", "0"), "max_new_tokens must be 1..512, not 0."),
    (("compare", "--tokens", "513"), "max_new_tokens must be 1..512, not 513."),
    (("compare", "--temperature", "-0.1"), "temperature must be 0..5, not -0.1."),
    (("compare", "--temperature", "5.1"), "temperature must be 0..5, not 5.1."),
    (("compare", "--seed", "-1"), "seed must be at least 0, not -1."),
    (("microscope", "--token", "0"), "must be at least 1, not 0"),
    (("microscope", "--token", "-2"), "must be at least 1, not -2"),
    (("heal", "--steps", "-1", "--quantization", "none"), "steps must be 0..1,000,000, not -1."),
    (("heal", "--minutes", "0", "--quantization", "none"), "minutes must be above 0 and at most 525,600, not 0.0."),
    (("heal", "--minutes", "-2", "--quantization", "none"), "minutes must be above 0 and at most 525,600, not -2.0."),
    (("heal", "--recipe", "nosuch", "--quantization", "none"), "There is no recipe 'nosuch'. The recipes are"),
    (("heal", "--recipe", "", "--quantization", "none"), "There is no recipe ''. The recipes are"),
    (("heal", "--recipe", "instant", "--control", "--quantization", "none"), "The recipe instant trains nothing, so it has no"),
    (("export", "--quantization", "4bit"), "A quantized model cannot be exported"),
    (("export", "--quantization", "8bit"), "A quantized model cannot be exported"),
    (
        ("export", "--format", "mergekit"),
        "--name saves one of hf, gguf, not 'mergekit'. Use --out DIR for a recipe.",
    ),
    (("report", "--out", "{here}/r.txt"), "The report must be an .html or .md file, not r.txt."),
    (("report", "--out", "{here}/r"), "The report must be an .html or .md file, not r."),
]
"""Of the right form and yet impossible."""
_NAMES = ("", ".", "..", "../up", "a/b", "-a", "a b", "ä", "a" * 81, "a\n", "\x1b[2J")
"""No names of an export."""
_PROMPTS = {
    "empty": ("", "The prompt is empty"),
    "blank": ("  \n\t ", "The prompt is empty"),
    "long": ("a " * 1001, "The prompt has 2,002 characters, at most 2,000"),
    "surrogate": ("caf\udce9", "The prompt is not valid text. Write it as UTF-8."),
}
_WRONG = [
    ((), "The following arguments are required: COMMAND"),
    (("nosuch",), "Argument COMMAND: invalid choice: 'nosuch'"),
    (("Models", "starter"), "Argument COMMAND: invalid choice: 'Models'"),
    (("inspect", "starter"), "Argument COMMAND: invalid choice: 'inspect'"),
    (("x" * 5000,), "Argument COMMAND: invalid choice: "),
    (("--nosuch",), "The following arguments are required: COMMAND"),
    (("distances",), "The following arguments are required: MODEL"),
    (("models", "starter", "more"), "Unrecognized arguments: more"),
    (("distances", "starter", "--nosuch"), "Unrecognized arguments: --nosuch"),
    (("distances", "starter", "--samples"), "Argument --samples: expected one argument"),
    (("distances", "starter", "--dtype"), "Argument --dtype: expected one argument"),
    (("distances", "starter", "--detach", "--run-on", "nowhere"), "nowhere"),
    (("heal", "starter"), "The following arguments are required: --block"),
    (("compare", "starter"), "The following arguments are required: --prompt"),
    (("microscope", "starter"), "The following arguments are required: --prompt"),
    (("export", "starter", "--block", "1:1"), "One of the arguments --name --out is required"),
    (("export", "starter", "--name", "a"), "The following arguments are required: --block"),
    (("export", "starter", "--block", "1:1", "--name", "a", "--out", "b"), "not allowed with argument --name"),
    (("report", "starter"), "The following arguments are required: --out"),
    (("run",), "The following arguments are required: kind"),
    (("run", "nosuch"), "Argument kind: invalid choice: 'nosuch'"),
    (("run", "jobs"), "Argument kind: invalid choice: 'jobs'"),
    (("models", "starter", "--seed"), "Argument --seed: expected one argument"),
    (("sweep", "starter", "--generate=yes"), "Argument --generate: ignored explicit argument 'yes'"),
    (("sweep", "starter", "--per-question=1"), "Argument --per-question: ignored explicit argument '1'"),
    (("sweep", "starter", "--s", "1"), "Ambiguous option: --s could match"),
]


def _line(command: str, *words: str) -> tuple[str, ...]:
    usual = _NEEDED.get(command, ())
    needed = [word for pair in zip(usual[::2], usual[1::2], strict=True) if pair[0] not in words for word in pair]
    return (command, "starter", *needed, *words)


def _rotated() -> Iterator[Bad]:
    """Every option with some of the values that it cannot take, so that every value is tried somewhere."""
    turn = 0
    for command, options in _WHOLE.items():
        for option in options:
            for value in (WHOLE[turn % len(WHOLE)], WHOLE[(turn + 5) % len(WHOLE)]):
                yield Bad(
                    f"{command} {option}={value[:8]!r}",
                    _line(command, f"{option}={value}"),
                    f"Argument {option}: expected a whole number, not {value[:20]!r}".rstrip("'"),
                )
            turn += 1
    for command, options in _CHOSEN.items():
        for option in options:
            for value in (CHOICES[turn % len(CHOICES)], CHOICES[(turn + 3) % len(CHOICES)]):
                yield Bad(
                    f"{command} {option}={value[:8]!r}",
                    _line(command, f"{option}={value}"),
                    f"Argument {option}: invalid choice: ",
                )
            turn += 1


def entries() -> Iterator[Bad]:
    """All of this file."""
    yield from _rotated()
    for words, says in _WRONG:
        yield Bad(f"wrong: {' '.join(words)[:50]}", words, says)
    for (command, *words), says in _RANGES:
        yield Bad(f"range: {command} {' '.join(words)}", _line(command, *words), says)
    for value in REAL:
        name = f"heal --minutes={value!r}"
        yield Bad(name, _line("heal", f"--minutes={value}"), f"Argument --minutes: expected a number, not {value!r}")
    for value in REAL[:6]:
        name = f"compare --temperature={value!r}"
        yield Bad(name, _line("compare", f"--temperature={value}"), f"Argument --temperature: expected a number, not {value!r}")
    for command in ("heal", "evaluate", "export", "compare", "microscope", "report"):
        for value in CUTS[:: 1 if command == "heal" else 3]:
            yield Bad(f"{command} --block={value[:8]!r}", _line(command, f"--block={value}"), "A block is written START:SIZE")
        for value in NOT_BLOCK[:: 1 if command == "heal" else 2]:
            name = f"{command} --block={value!r}"
            yield Bad(name, _line(command, f"--block={value}"), "A block needs a start of at least 0 and a size of at least 1")
    for value in ("1:2+2:1", "3:1+3:1", "0:5+1:1"):
        yield Bad(
            f"evaluate --block={value}", _line("evaluate", f"--block={value}"), "names a layer twice. Name every layer once."
        )
        name = f"sweep --blocks={value}"
        yield Bad(name, _line("sweep", "--strategy=manual", f"--blocks={value}"), "names a layer twice. Name every layer once.")
    for value in ("a1+1:1", "a1:2+a2", "m3+m3"):
        yield Bad(
            f"evaluate --block={value}", _line("evaluate", f"--block={value}"), "names a layer twice. Name every layer once."
        )
    for value in ("+", "1:1+", "+1:1", "1:1++2:1", "a", "m:", "a1:b", "am1", "A1"):
        yield Bad(f"evaluate --block={value}", _line("evaluate", f"--block={value}"), "A block is written START:SIZE")
    for value in _NAMES:
        yield Bad(
            f"export --name={value[:8]!r}",
            _line("export", f"--name={value}"),
            "is not the name of an export. Use up to 80 letters",
        )
    for command in ("compare", "microscope"):
        for name, (prompt, says) in _PROMPTS.items():
            yield Bad(f"{command}: {name} prompt", _line(command, f"--prompt={prompt}"), says)
    for command in ("distances", "models", "heal", "sweep"):
        for model in ("", "  "):
            yield Bad(f"{command} model {model!r}", (command, model, *_NEEDED.get(command, ())), "No model is given")
    for value in ("x.exe", "mmlu ", "ARC_EASY", "arc easy", "questions", ".txt", "a.jsonl.gz", ""):
        yield Bad(f"sweep --task={value!r}", _line("sweep", f"--task={value}"), "task must be one of arc_easy")
    yield from _jobs()


def _jobs() -> Iterator[Bad]:
    for action in ("show", "pause", "cancel", "resume", "move", "delete"):
        yield Bad(f"jobs {action}", ("jobs", action), f"`jobs {action}` needs a job id. `jobs list` shows them.")
        rest = ("first",) if action == "move" else ()
        for id in ("nosuch", "../../etc", "0123456789", "a\0b", "", "x" * 5000, "%00"):
            yield Bad(f"jobs {action} {id[:10]!r}", ("jobs", action, id, *rest), "There is no job ")
    yield Bad("jobs nosuch", ("jobs", "nosuch"), "invalid choice: 'nosuch'")
    for where in ((), ("sideways",), ("1",)):
        yield Bad(
            f"jobs move x {where}", ("jobs", "move", "0123456789", *where), "`jobs move 0123456789` needs up, down, first"
        )
    for choice in ((), ("maybe",), ("ON",), ("1",)):
        yield Bad(
            f"jobs auto-resume {choice}", ("jobs", "auto-resume", *choice), "`jobs auto-resume` needs on or off after it."
        )
