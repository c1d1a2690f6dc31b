"""`--set`: names that no request has, and values of another type or outside their range."""

from collections.abc import Iterator

from tests.corpus import Bad

_DEEP = "[" * 100_000
_LONG = "9" * 5000
NO_WHOLE = (
    "NaN",
    "null",
    "[]",
    "[1]",
    "{}",
    "Infinity",
    "-Infinity",
    "1.5",
    "1e3",
    "true",
    '"1"',
    "four",
    "",
    "1e999",
    _LONG,
    _DEEP,
)
"""Values, as they are written, that are no whole number."""
NO_NUMBER = ("NaN", "null", "[]", "Infinity", "-Infinity", "false", '"0.1"', "much", "", "1e999", _LONG)
NO_TEXT = ("null", "1", "1.5", "[]", '["a"]', "true", "NaN")
NO_SWITCH = ("null", "1", "0", "yes", '"true"', "[]", "NaN")
NO_PART = ("1", "[]", "text", "true", "NaN", '"{}"')
_FIELDS = {
    "distances": {
        "corpus.seed": NO_WHOLE,
        "corpus.n_texts": NO_WHOLE[:8],
        "corpus.split": NO_TEXT,
        "corpus.source": NO_TEXT[:5],
    },
    "sweep": {"benchmark.seed": NO_WHOLE[:6], "draw": NO_WHOLE[:9], "benchmark.protocol": NO_TEXT[:4]},
    "speed": {"batch_size": NO_WHOLE[:12], "repeats": NO_WHOLE[6:12]},
    "compare": {"temperature": NO_NUMBER, "seed": NO_WHOLE[:6], "prompt": NO_TEXT[1:4]},
    "heal": {
        "r": NO_WHOLE,
        "steps": NO_WHOLE[:8],
        "minutes": (NO_NUMBER[0], *NO_NUMBER[2:]),
        "learning_rate": (NO_NUMBER[0], *NO_NUMBER[2:]),
        "lora_dropout": NO_NUMBER[:6],
        "batch_size": NO_WHOLE[:6],
        "eval_every": NO_WHOLE[:5],
        "distill": NO_NUMBER[:4],
        "lora_on": NO_TEXT[1:4],
        "separate_documents": NO_SWITCH[:3],
        "seed": NO_WHOLE[:6],
    },
    "models": {"load": NO_SWITCH},
}
"""Fields by subcommand, with values that they cannot take."""
_KINDS = ((NO_WHOLE, "a whole number"), (NO_NUMBER, "a number"), (NO_TEXT, "text"), (NO_SWITCH, "true or false"))
_USUAL = {
    "heal": ("--block", "1:1", "--quantization", "none"),
    "compare": ("--prompt", "a"),
}
_RANGES = {
    "heal": {
        "r=0": "r must be 1..4,096, not 0.",
        "r=-1": "r must be 1..4,096, not -1.",
        "batch_size=0": "batch_size must be 1..4,096, not 0.",
        "gradient_accumulation=0": "gradient_accumulation must be 1..4,096, not 0.",
        "eval_every=0": "eval_every must be 1..1,000,000, not 0.",
        "learning_rate=0": "learning_rate must be above 0 and at most 10, not 0.",
        "learning_rate=-1": "learning_rate must be above 0 and at most 10, not -1.",
        "lora_dropout=1": "lora_dropout must be at least 0 and below 1, not 1.",
        "lora_dropout=-0.1": "lora_dropout must be at least 0 and below 1, not -0.1.",
        "distill=1.1": "distill must be 0..1, not 1.1.",
        "distill=-1": "distill must be 0..1, not -1.",
        "check_questions=-1": "check_questions must be 0..1,000,000, not -1.",
        "warmup_steps=-1": "warmup_steps must be 0..1,000,000, not -1.",
        "lora_on=all": "lora_on must be one of feed_forward, attention, both, not 'all'.",
        "steps=100000000000000000000": "steps must be 0..1,000,000, not 100,000,000,000,000,000,000.",
        "seed=100000000000000000000": "seed must be at least 0, not 100,000,000,000,000,000,000.",
        'minutes={"a": 1}': 'minutes must be a number, not {"a": 1}.',
        'model.revision={"a": 1}': 'revision must be text, not {"a": 1}.',
        "corpus.split=test": "split must be one of all, train, validation, not 'test'.",
        "nosuch=1": "Healing has no setting nosuch",
        "corpus.nosuch=1": "HealSpec has no setting 'corpus.nosuch'",
        "control=true": "A control trains the unpruned model on the text alone",
    },
    "distances": {
        "corpus.n_texts=0": "corpus.n_texts must be 1..1,000,000, not 0.",
        "corpus.min_tokens=1": "corpus.min_tokens must be 16..1,048,576, not 1.",
        "corpus.split=test": "split must be one of all, train, validation, not 'test'.",
        "metric=euclid": "metric must be one of angular",
        "model.dtype=int8": "dtype must be one of auto, float32, bfloat16, float16, not 'int8'.",
        "model.quantization=2bit": "quantization must be one of none, 4bit, 8bit, not '2bit'.",
        "nosuch=1": "DistanceSpec has no setting 'nosuch'. It has model, corpus, metric.",
        "corpus.nosuch=1": "DistanceSpec has no setting 'corpus.nosuch'",
        "corpus.seed.deeper=1": "DistanceSpec has no setting 'corpus.seed.deeper'",
        "corpus..seed=1": "DistanceSpec has no setting 'corpus..seed'",
        ".=1": "DistanceSpec has no setting '.'",
        "=1": "A setting is written NAME=VALUE",
        "corpus.seed": "A setting is written NAME=VALUE",
        "": "A setting is written NAME=VALUE",
        "__class__=1": "DistanceSpec has no setting '__class__'",
        "model.identity.x=1": "DistanceSpec has no setting 'model.identity.x'",
        'corpus={"n_texts": "x"}': "corpus.n_texts must be a whole number",
        'corpus={"nosuch": 1}': "A CorpusSpec has no field nosuch",
        'corpus={"seed": [1]}': "corpus.seed must be a whole number, not [1].",
        'model={"source": 3}': "model.source must be text, not 3.",
        "corpus.seed=100000000000000000000": "corpus.seed must be at least 0, not 100,000,000,000,000,000,000.",
    },
    "sweep": {
        "benchmark.shots=6": "shots must be 0..5, not 6.",
        "benchmark.limit=0": "benchmark.limit must be 1..1,000,000, or --limit 0 for all, not 0.",
        "benchmark.limit={}": "benchmark.limit must be a whole number, not {}.",
        'benchmark={"limit": {"a": 1}}': 'benchmark.limit must be a whole number, not {"a": 1}.',
        "benchmark.subset=stem": 'benchmark.subset must be a list, not "stem".',
        "benchmark.subset=[1]": "benchmark.subset must be text, not 1.",
        "strategy=best": "strategy must be one of similarity",
        "blocks=1:1": 'blocks must be a list, not "1:1".',
        'blocks=["1:1"]': 'A Block must be an object with fields by name, not "1:1".',
        'blocks=[{"start": 1}]': "This Block is incomplete: it lacks size.",
        'blocks=[{"start": 1, "size": "x"}]': 'blocks.size must be a whole number, not "x".',
        'blocks=[{"layers": [2, 1]}]': "Removed layers must be distinct, ascending and 0..999, not [2, 1].",
        'blocks=[{"layers": []}]': "Removed layers must be distinct, ascending and 0..999, not [].",
        'blocks=[{"layers": [1.5]}]': "blocks.layers must be a whole number, not 1.5.",
        'blocks=[{"layers": {"a": 1}}]': "blocks.layers must be a list",
        "damage.max_size=1": "damage.max_size cannot be set because damage is not set",
        "generation.seed=1": "generation.seed cannot be set because generation is not set",
        'generation={"n_sums": 0}': "generation.n_sums must be 1..1,000, not 0.",
        'generation={"n_sums": null}': "generation.n_sums must be a whole number, not null.",
    },
    "compare": {
        "variants=[]": "Between 1 and 8 variants can be compared, not 0.",
        "variants=[1]": "variants must be a Variant, not 1.",
        "variants={}": "variants must be a list",
        'variants=[{"label": "odd"}]': "variants.label must be one of unpruned, pruned, instant, healed, not 'odd'.",
        'variants=[{"block": {"start": 1, "size": 1}}]': "The unpruned model has no removed layers and no adapter",
        'variants=[{"label": "healed", "adapter": 5}]': "variants.adapter must be text, not 5.",
        'variants=[{"label": "pruned", "block": 5}]': "A Block must be an object with fields by name, not 5.",
        "max_new_tokens=513": "max_new_tokens must be 1..512, not 513.",
        "seed=-1": "seed must be at least 0, not -1.",
    },
}
"""Values that are impossible although they are of the right type, and names that do not exist."""


def entries() -> Iterator[Bad]:
    """All of this file."""
    for command, fields in _FIELDS.items():
        line = (command, "starter", *_USUAL.get(command, ()))
        for field, values in fields.items():
            kind = next(name for known, name in _KINDS if set(values) <= set(known) and values[1] in known[:14])
            kind = _named(command, field) or kind
            for value in values:
                says = f"{field} must be {kind}, not " if not _is_real(value, kind) else f"{field} must be "
                yield Bad(f"{command} --set {field}={value[:12]}", (*line, "--set", f"{field}={value}"), says)
                if command == "distances" and field == "corpus.seed":
                    yield Bad(f"run {command} --set {field}={value[:12]}", ("run", command, "--set", f"{field}={value}"), says)
    for command, settings in _RANGES.items():
        for setting, says in settings.items():
            yield Bad(f"{command} --set {setting}", (command, "starter", *_USUAL.get(command, ()), "--set", setting), says)
    for part in ("corpus", "model"):
        for value in NO_PART:
            yield Bad(
                f"distances --set {part}={value}", ("distances", "starter", "--set", f"{part}={value}"), f"{part} must be "
            )
    for kind, needs in (("heal", "block"), ("export", "block, name")):
        yield Bad(f"run {kind} lacks {needs}", ("run", kind), f"it lacks {needs}.")
    yield Bad("run export lacks a name", ("run", "export", "--set", 'block={"start": 1, "size": 1}'), "it lacks name.")
    yield Bad(
        "run heal, block as a list",
        ("run", "heal", "--set", "block=[1,2]"),
        "A Block must be an object with fields by name, not [1, 2].",
    )


def _is_real(value: str, kind: str) -> bool:
    """Return whether a value is a number to a computer, which no bounds hold."""
    return kind == "a number" and value in ("NaN", "Infinity", "-Infinity", "1e999")


def _named(command: str, field: str) -> str:
    """Return the kind of values of a field, where its values do not tell."""
    return {
        "protocol": "text",
        "lora_on": "text",
        "prompt": "text",
        "source": "text",
        "split": "text",
        "distill": "a number",
    }.get(field.split(".")[-1], "")
