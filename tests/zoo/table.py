"""The results of the zoo as a page: `docs/families.md`."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from transformers import __version__

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"
_QUOTE = "'"
"""Stands for a backtick in a message that is quoted as code."""
_SIGNS = {
    "right": "✓",
    "refused": "–",
    "stopped": "(–)",
    "wrong": "wrong",
    "crash": "crash",
    "late": "late",
}
Outcomes = dict[str, dict[str, tuple[str, str]]]
"""Kind and message, by check, by architecture."""


def read(file: Path) -> Outcomes:
    """Results that were written before."""
    lines = map(json.loads, file.read_text().splitlines()) if file.exists() else []
    return {
        line["name"]: {check: (kind, said) for check, (kind, said) in line["outcomes"].items()}
        for line in lines
    }


def write(found: Outcomes, checks: list[str]) -> None:
    """Write the page anew."""
    PAGE.write_text(page(found, checks), encoding="utf-8")


def read_page(text: str, checks: list[str]) -> Outcomes:
    """Return the results that a page was written from, without the parts of a sentence that differ
    between families.
    """
    head, refused, nothing, not_built = re.split(r"\n## [^\n]+\n\n", text)
    kinds = {sign: kind for kind, sign in _SIGNS.items()}
    found: Outcomes = {}
    for line in head.splitlines():
        if line.startswith("| ") and not line.startswith("| family"):
            name, *signs = (cell.strip() for cell in line.strip("|").split("|"))
            found[name] = {
                check: (kinds[sign], "") for check, sign in zip(checks, signs, strict=True)
            }
    for of_one, said, names in _read_reasons(refused, checks):
        for name in names:
            found[name] |= {check: (found[name][check][0], said) for check in of_one}
    for of_one, said, names in _read_reasons(nothing, checks):
        for name in names:
            own = found.get(name, {}) | dict.fromkeys(of_one, ("refused", said))
            found[name] = {check: own[check] for check in checks if check in own}
    for line in not_built.strip().splitlines():
        name, said = line.removeprefix("- ").split(": ", 1)
        found[name] = {"built": ("not built", said.strip("`"))}
    return found


def _read_reasons(section: str, checks: list[str]) -> Iterator[tuple[list[str], str, list[str]]]:
    """Checks, sentence and names of each line."""
    any_check = "|".join(sorted(map(re.escape, checks), key=len, reverse=True))
    for line in section.strip().splitlines():
        read = re.fullmatch(
            rf"- (?:((?:{any_check})(?:, (?:{any_check}))*): )?(.*) \(`([^`]*)`\)", line
        )
        assert read is not None, line
        yield read[1].split(", ") if read[1] else checks, read[2], read[3].split(", ")


def page(found: Outcomes, checks: list[str]) -> str:
    """The page as text."""
    tried = {name: of for name, of in sorted(found.items()) if "built" not in of}
    nothing = {
        name: of for name, of in tried.items() if all(kind == "refused" for kind, _ in of.values())
    }
    counts = Counter(kind for of in tried.values() for kind, _ in of.values())
    head = f"| family | {' | '.join(checks)} |\n|---|{'---|' * len(checks)}"
    rows = [
        f"| {name} | {' | '.join(_SIGNS[of[check][0]] for check in checks)} |"
        for name, of in tried.items()
        if name not in nothing
    ]
    return "\n".join(
        [
            "# Families",
            "",
            (
                f"Every causal architecture that transformers {__version__} builds small, with"
                " random weights in float32."
            ),
            "`make zoo` writes this page:",
            "",
            "- ✓: equal to plain transformers, in which a removed layer returns its input.",
            "- –: Layerscope refuses the check. The reason is below the table.",
            "- (–): the model's own code in transformers fails. The reason is below the table.",
            "",
            (
                "Of an architecture that also takes images or sound (LLaVA, Qwen-VL), the checks"
                " use the text part."
            ),
            "They compare it with the full model. Each export removes layers 2 and 3 of 6.",
            (
                "Some configurations place kinds of layers by a period (`moe_layer_interval` of"
                " Ernie 4.5 MoE,"
            ),
            (
                "`attn_layer_period` of Jamba). Another block exports there if some period"
                " describes the remaining layers."
            ),
            "",
            (
                f"{len(tried)} architectures: {counts['right']} checks correct, {counts['refused']}"
                f" refused, {counts['stopped']} failed in the model's own code, {counts['wrong']}"
                f" wrong, {counts['crash'] + counts['late']} crashed or timed out."
            ),
            "",
            head,
            *rows,
            "",
            "## Refused checks",
            "",
            *_reasons({name: of for name, of in tried.items() if name not in nothing}),
            "",
            "## Architectures without any check",
            "",
            *_reasons(nothing),
            "",
            "## Architectures that transformers does not build small",
            "",
            *(
                f"- {name}: `{of['built'][1].replace('`', _QUOTE)}`"
                for name, of in sorted(found.items())
                if "built" in of
            ),
            "",
        ]
    )


def _reasons(tried: Outcomes) -> list[str]:
    """By sentence, without the family's own names in it, so that those with the same reason stand
    together.
    """
    together: dict[str, list[str]] = {}
    for name, of in tried.items():
        by_sentence: dict[str, list[str]] = {}
        for check, (kind, said) in of.items():
            if kind != "right":
                by_sentence.setdefault(_plain(said), []).append(check)
        for said, checks in by_sentence.items():
            together.setdefault(
                f"{'' if len(checks) == len(of) else ', '.join(checks) + ': '}{said}", []
            ).append(name)
    return [f"- {said} (`{', '.join(names)}`)" for said, names in together.items()]


_PLAIN = {
    r" \(model_type [\w-]+\)": "",
    r"\b\w+(ForCausalLM|LMHeadModel|LMHead|ForConditionalGeneration|Decoder)\b": "this model",
    r"\b([Tt])his [\w-]+ model\b": r"\1his model",
    r"cut of a [\w-]+ model\b": "cut of this model",
    r"configuration of (?!model\b)[\w-]+": "configuration",
    r"code of [\w-]+ models": "code of these models",
    r"^Layer \d+": "A layer",
    r"find \d+ decoder": "find its decoder",
    r"\((\w+Error: .+?)\)(?=\. |, so )": r"(`\1`)",
    r"(difference|differ by) [\d.e-]+": r"\1 …",
}
"""Parts of a sentence that differ between families, and the text in their place."""


def _plain(said: str) -> str:
    for pattern, instead in _PLAIN.items():
        said = re.sub(pattern, instead, said)
    return said[:1].upper() + said[1:]
