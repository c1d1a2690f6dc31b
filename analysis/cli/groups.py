"""Groups, descriptions and examples of the commands, for `--help`."""

import textwrap

MORE = "More"
"""Group of the kinds of extensions."""

COMMANDS = {
    "Look": {
        "dashboard": ("Open the pages in the browser.", ""),
        "open": ("Open a result pack, a file or a Hub dataset, next to your results.", "ORG/NAME"),
        "models": (
            "Show a model's size, memory and commit, from its configuration alone.",
            "starter",
        ),
        "distances": (
            "Measure the distance map: how much each block changes the residual stream.",
            "starter --samples 32",
        ),
        "damage": ("Measure the loss increase of every block.", "starter --max-size 15"),
        "microscope": (
            "Show each layer's effect on each token, and the prediction after it.",
            "starter --prompt Paris",
        ),
    },
    "Measure": {
        "sweep": (
            "Measure accuracy and loss against the number of removed layers.",
            "starter --task arc_easy --limit 100",
        ),
        "evaluate": ("Score one model: unpruned, pruned or healed.", "starter --block 14:5"),
        "speed": (
            "Measure prefill and decode speed against the number of removed layers.",
            "starter --ns 0,5,10",
        ),
        "compare": (
            "Generate from one prompt unpruned, pruned and healed.",
            "starter --prompt Paris --block 14:5",
        ),
        "search": (
            "Search sets of layers whose removal changes the predictions least.",
            "starter --strategy swaps --max-n 10",
        ),
        "methods": (
            "Compare strategies and healing recipes in one paired table.",
            "starter --recipes instant --n 3,5",
        ),
        "grid": (
            "Sweep several models, datasets and strategies in one table.",
            "--models starter --tasks arc_easy,boolq",
        ),
        "precision": (
            "Compare a precision with float32 on the same questions.",
            "starter --dtype bfloat16",
        ),
    },
    "Heal": {
        "heal": (
            "Repair a pruned model in closed form, by training, or both.",
            "starter --block 14:5 --recipe first",
        )
    },
    "Decide and export": {
        "export": (
            "Save a pruned or healed model as a folder, a GGUF file or a recipe.",
            "starter --block 14:5 --out smaller",
        ),
        "push": ("Upload an export to the Hub.", "NAME ORG/NAME"),
        "pack": (
            "Write stored results as one file, without weights, to open elsewhere.",
            "starter --out results.zip",
        ),
        "report": (
            "Write a report of all results of a model.",
            "starter --block 14:5 --out report.html",
        ),
        "sheet": (
            "Write a one-page decision on one removed block.",
            "starter --block 14:5 --out sheet.html",
        ),
        "front": (
            "Prune, quantize, or both? Compare measured variants by size, speed and scores.",
            "starter --bytes 250MB",
        ),
        "dataset": (
            "Save rows of a Hub dataset as a file for --texts or --task.",
            "ORG/NAME --file PATH --out mine.jsonl",
        ),
    },
    "Manage": {
        "jobs": ("List, pause, cancel, resume and move background jobs.", "cancel ID"),
        "mcp": ("Serve stored results and measurements to agents over MCP.", "--allow-run"),
        "packs": ("List and remove opened result packs.", "remove ID"),
        "run": (
            "Run any request by its kind, from --set settings alone.",
            "inspect --set model.source=starter",
        ),
    },
}
"""Description and example arguments of each command, by group and name."""
ABOUT = {name: about for commands in COMMANDS.values() for name, about in commands.items()}
"""Description and example arguments by name. Kinds of extensions are described by their docstrings
instead."""


def about(name: str, kind: type) -> str:
    """Return the description of a command; for a kind of an extension the first paragraph of its
    docstring.
    """
    return (
        ABOUT[name][0]
        if name in ABOUT
        else " ".join((kind.__doc__ or name).partition("\n\n")[0].split())
    )


def overview(lines: dict[str, str]) -> str:
    """Return the commands by group for the help of the program.

    Args:
        lines: the line of each command by its name.
    """
    width = max(map(len, lines))
    groups = {
        group: [name for name in commands if name in lines] for group, commands in COMMANDS.items()
    }
    groups[MORE] = [name for name in lines if name not in ABOUT]
    return "\n\n".join(
        "\n".join([f"{group}:", *(f"  {name:<{width}}  {lines[name]}" for name in names)])
        for group, names in groups.items()
        if names
    )


def recipes() -> str:
    """Return the settings of each built-in healing recipe, for the end of the help of `heal`."""
    from analysis.data.spec import CorpusSpec
    from analysis.experiments.heal import recipes as healing_recipes

    lines = ["recipes:"]
    for name in [name for name in healing_recipes.NAMES if not name.startswith("paper-")]:
        recipe = healing_recipes.get(name)
        texts = recipe.values.get("validation")
        values = {
            **recipe.values,
            "validation.n_texts": texts.n_texts if isinstance(texts, CorpusSpec) else None,
        }
        if recipe.learning_rate is None:
            values["learning_rate"] = "by the model's size"
        settings = (
            f"{field}={value}"
            for field, value in values.items()
            if isinstance(value, str | int | float)
        )
        lines += [
            f"  {name}: {recipe.title}",
            textwrap.indent(textwrap.fill(", ".join(settings), 94), " " * 6),
        ]
    return "\n".join([*lines, "  paper-MODEL: the settings of the paper for one model"])


def example(name: str, program: str) -> str:
    """Return the example of a command for the end of its help; "" if it has none."""
    return f"example:\n  {program} {name} {ABOUT[name][1]}".rstrip() if name in ABOUT else ""
