"""The commands as `--help` shows them: groups, a line each, and examples."""

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """A command in the words of its help."""

    group: str
    line: str
    examples: tuple[str, ...]
    """Arguments of calls, without the name of the program."""


LOOK, MEASURE, HEAL, EXPORT, MANAGE, MORE = "Look", "Measure", "Heal", "Decide and export", "Manage", "More"
GROUPS = (LOOK, MEASURE, HEAL, EXPORT, MANAGE, MORE)

ABOUT = {
    "dashboard": About(LOOK, "Open the pages in the browser.", ("dashboard",)),
    "open": About(LOOK, "Open a result pack, a file or a Hub dataset, next to your results.", ("open ORG/NAME",)),
    "models": About(LOOK, "Show a model's size, memory and commit, from its configuration alone.", ("models starter",)),
    "distances": About(
        LOOK,
        "Measure the distance map: how much each block changes the residual stream.",
        ("distances starter --samples 32", "distances ORG/NAME --texts wiki --metric cosine-tokens --json map.json"),
    ),
    "damage": About(LOOK, "Measure the loss increase of every block.", ("damage starter --max-size 15",)),
    "microscope": About(
        LOOK,
        "Show each layer's effect on each prompt token, and the predicted next token after each layer.",
        ('microscope starter --prompt "The capital of France is"', "microscope starter --prompt Paris --block 14:5"),
    ),
    "sweep": About(
        MEASURE,
        "Measure accuracy and loss against the number of removed layers.",
        ("sweep starter --task arc_easy --limit 100", "sweep ORG/NAME --strategy greedy --max-n 8 --workers 2"),
    ),
    "evaluate": About(
        MEASURE,
        "Score one model: unpruned, pruned or healed.",
        ("evaluate starter --block 14:5", "evaluate starter --block 14:5 --adapter adapters/ID --per-question --json -"),
    ),
    "speed": About(
        MEASURE, "Measure prefill and decode speed against the number of removed layers.", ("speed starter --ns 0,5,10",)
    ),
    "compare": About(
        MEASURE,
        "Generate from one prompt with the unpruned, pruned and healed model.",
        (
            'compare starter --prompt "The capital of France is" --block 14:5',
            'compare starter --prompt "Once" --block 14:5 --temperature 0.7 --seed 3',
        ),
    ),
    "search": About(
        MEASURE,
        "Search sets of layers whose removal changes the predictions least.",
        ("search starter --strategy swaps --max-n 10", "search starter --strategy greedy --protect 0,29"),
    ),
    "methods": About(
        MEASURE,
        "Compare strategies and healing recipes at several sizes in one paired table.",
        (
            "methods starter --strategies similarity,swaps --recipes instant --n 3,5",
            "methods starter --recipes instant,distill --minutes 5",
        ),
    ),
    "grid": About(
        MEASURE,
        "Sweep several models, datasets and strategies in one table.",
        (
            "grid --models starter --strategies similarity,deepest --tasks arc_easy,boolq",
            "grid --models starter,./mine --tasks arc_easy --csv grid.csv",
        ),
    ),
    "precision": About(
        MEASURE, "Compare a precision with float32 on the same questions.", ("precision starter --dtype bfloat16",)
    ),
    "heal": About(
        HEAL,
        "Repair a pruned model in closed form, by training, or both.",
        ("heal starter --block 14:5 --recipe first", "heal starter --block 14:5 --minutes 10 --detach"),
    ),
    "export": About(
        EXPORT,
        "Save a pruned or healed model as a Hugging Face folder, a GGUF file or a mergekit recipe.",
        ("export starter --block 14:5 --out smaller", "export starter --block 14:5 --adapter adapters/ID --out healed"),
    ),
    "push": About(EXPORT, "Upload an export to the Hub.", ("push NAME ORG/NAME",)),
    "pack": About(
        EXPORT,
        "Write stored results of a model as one file, without weights, to open elsewhere.",
        ("pack starter --out results.zip", "pack starter --kinds distances,sweep --push ORG/NAME"),
    ),
    "report": About(EXPORT, "Write a report of all results of a model.", ("report starter --block 14:5 --out report.html",)),
    "sheet": About(
        EXPORT,
        "Write a one-page decision on one removed block: go, measure more, or don't.",
        ("sheet starter --block 14:5 --out sheet.html", "sheet starter --block 14:5 --accept-points 3 --out sheet.pdf"),
    ),
    "front": About(
        EXPORT,
        "Prune, quantize, or both? Compare all measured precisions, prunings and models by size, speed and scores.",
        ("front starter --bytes 250MB", "front starter --speed 1.3 --points 3 --json -"),
    ),
    "dataset": About(
        EXPORT,
        "Save rows of a Hub dataset as a file for --texts or --task.",
        ("dataset ORG/NAME --file PATH --as questions --out mine.jsonl",),
    ),
    "jobs": About(MANAGE, "List, pause, cancel, resume and move background jobs.", ("jobs cancel ID",)),
    "mcp": About(MANAGE, "Serve stored results and measurements to agents over MCP.", ("mcp --allow-run",)),
    "packs": About(MANAGE, "List and remove opened result packs.", ("packs remove ID",)),
    "run": About(
        MANAGE, "Run any request by its kind, from --set settings alone.", ("run inspect --set model.source=starter",)
    ),
}
"""By name. A kind of an extension is not here: the first paragraph of its docstring is its line, in the group More."""


def overview(lines: dict[str, str]) -> str:
    """Return the commands by group for the help of the program.

    Args:
        lines: the line of each command by its name.
    """
    width = max(map(len, lines))
    parts = []
    for group in GROUPS:
        names = [name for name in lines if (ABOUT[name].group if name in ABOUT else MORE) == group]
        names.sort(key=lambda name: [*ABOUT].index(name) if name in ABOUT else len(ABOUT))
        if names:
            parts.append("\n".join([f"{group}:", *(f"  {name:<{width}}  {lines[name]}" for name in names)]))
    return "\n\n".join(parts)


def recipes() -> str:
    """Return the settings of each built-in healing recipe, for the end of the help of `heal`."""
    from analysis.data.spec import CorpusSpec
    from analysis.experiments.heal import recipes as healing_recipes

    lines = ["recipes:"]
    for name in healing_recipes.NAMES:
        if name.startswith("paper-"):
            continue
        recipe = healing_recipes.get(name)
        simple = {field: value for field, value in recipe.values.items() if isinstance(value, str | int | float | bool)}
        if isinstance(texts := recipe.values.get("validation"), CorpusSpec):
            simple["validation.n_texts"] = texts.n_texts
        by_size = {"learning_rate": "by the model's size"} if recipe.learning_rate is None else {}
        settings = ", ".join(f"{field}={value}" for field, value in (simple | by_size).items())
        lines += [
            f"  {name}: {recipe.title}",
            *textwrap.wrap(settings, 100, initial_indent="      ", subsequent_indent="      "),
        ]
    return "\n".join([*lines, "  paper-MODEL: the settings of the paper for one model"])


def examples(name: str, program: str) -> str:
    """Return the examples of a command for the end of its help; "" if it has none."""
    if name not in ABOUT:
        return ""
    return "\n".join(["examples:", *(f"  {program} {arguments}" for arguments in ABOUT[name].examples)])
