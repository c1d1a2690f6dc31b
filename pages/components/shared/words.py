"""Numbers and times as people read them, and the one way for text of outside origin into
Markdown.
"""

import math
import re
import time
import unicodedata
from typing import Literal, TypeAlias

from analysis.core import blocks, escapes, units
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.data.tasks import TASKS
from analysis.experiments import strategies
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.results.score.score import Score
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult

size = units.size
duration = units.duration

Markdown: TypeAlias = str
"""Text that may be rendered: words of our own, and results of `plain`. A test follows every text
that reaches Streamlit."""

_LONGEST = 1000
_MARKS = re.compile(r"[\\`*_\[\](){}#$<>!~|:&]")
_APART = "\u2060"
"""A joiner of no width. Streamlit looks for the patterns after it in the text that is left when the
backslashes are gone."""
_FOUND_LATER = re.compile(
    r":(?=//|material[/_]|(?:\+1|[\w-]+):)|@(?=[-\w]+\.[-\w])|www(?=\.)|(?<!\S)[-<>~](?=(?:->|[->=])(?!\S))",
    re.IGNORECASE,
)
"""Beginnings of links without brackets, of emoji and icons by name, and of arrows."""
_AT_THE_START = re.compile(r"^(\d*)([-+=.)])(?=[-+=\s]|$)")
"""Markup of lists, rules and underlined headings."""


def task_names() -> dict[str, str]:
    """Return people's names of the question sets that can be asked by name."""
    return {name: task.title for name, task in TASKS.items()}


def strategies_help() -> str:
    """All strategies, a line each."""
    return "\n".join(
        f"- **{name}**: {strategy.help}" for name, strategy in strategies.STRATEGIES.items()
    )


def questions(spec: BenchmarkSpec) -> str:
    """Return the name of a question set as plain text."""
    return summaries.in_words(spec)


def strategy(spec: SweepSpec) -> str:
    """Return how a curve's cuts are chosen, with the draw of a random one and the protected layers
    of a search.
    """
    if spec.search is not None and spec.search.protect:
        return f"{spec.strategy} (keeps {blocks.removal(spec.search.protect).brief()})"
    return (
        f"{spec.strategy} (draw {spec.draw})"
        if strategies.needs(spec.strategy, strategies.DRAW)
        else spec.strategy
    )


def curve(spec: SweepSpec) -> str:
    """Return the title of the job of a sweep."""
    n_questions = "all" if spec.benchmark.limit is None else spec.benchmark.limit
    reach = (
        f"{len(spec.blocks)} blocks"
        if spec.blocks
        else "n up to L/2"
        if spec.max_n is None
        else f"n ≤ {spec.max_n}"
    )
    return f"Sweep, {questions(spec.benchmark)} {n_questions}, {reach}, {strategy(spec)}"


def plain(text: str, most: int = _LONGEST) -> Markdown:
    """Return text that someone else wrote, so that Markdown shows it as it is, in one line.

    Nothing in it is a link, picture, formula, icon, colour, heading or list. No character in it
    hides or turns round the text next to it.

    Args:
        text: of any origin: an address, an error, a name, a token, a question.
        most: characters; longer text ends in an ellipsis.
    """
    marked = _MARKS.sub(r"\\\g<0>", _FOUND_LATER.sub(rf"\g<0>{_APART}", seen(text, most)))
    return _AT_THE_START.sub(r"\1\\\2", marked)


def message(text: str) -> Markdown:
    """Return an error message for Markdown: text between backticks as code, the rest as `plain`
    shows it.
    """
    return re.sub(r"\\`([^\[\]]+?)\\`", _code, plain(text))


def _code(escaped: re.Match[str]) -> str:
    content = re.sub(r"\\(.)", r"\1", escaped[1].replace(_APART, ""))
    return f"`{content}`"


def seen(text: str, most: int = _LONGEST) -> str:
    """Return foreign text for places where nothing is rendered, as in the options of a menu.

    One line, no longer than this, nothing hidden.
    """
    line = " ".join("".join(map(_visible, text[: 8 * most])).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _visible(letter: str) -> str:
    """Return a character for display: a space for a control character, "" for one without width."""
    if not escapes.is_hidden(letter):
        return letter
    kind = unicodedata.category(letter)
    return " " if kind in ("Cc", "Zl", "Zp") else "" if kind == "Cf" else "\ufffd"


def count(number: float) -> str:
    """134515008 -> "134.5 M"."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return f"{number:.0f}"


def counted(number: int, what: Literal["healing run", "layer", "job", "core"]) -> str:
    """1, "layer" -> "1 layer"; 3, "layer" -> "3 layers"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


A_CUT: Markdown = (
    "START:SIZE, counted from 0. Join several with +. The prefix a removes only the attention of"
    " these layers, m only the feed-forward part: a12+m15:2."
)
"""Return the text of a removal."""


def layers(number: int) -> str:
    """1 -> "1 layer"."""
    return counted(number, "layer")


def date(at: float) -> str:
    """Return the local date and minute of a time in seconds since the epoch."""
    return time.strftime("%d %b %H:%M", time.localtime(at))


def saved(entry: FoundResult) -> str:
    """Return when a result was stored; of a read-only one where it comes from. To be shown as plain
    text.
    """
    return entry.origin or date(entry.saved_at)


def percent(value: float | None, ends: tuple[float, float] | None = None) -> str:
    """0.41, (0.32, 0.508) -> "41.0% (32.0 to 50.8)"; the ends are those of its 95 % interval."""
    if value is None:
        return "–"
    return f"{value:.1%}" + (f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else "")


def nats(value: float | None, ends: tuple[float, float] | None = None) -> str:
    """3.1, (2.94, 3.26) -> "3.10 (2.94 to 3.26)"; the ends are those of its 95 % interval."""
    if value is None:
        return "–"
    return f"{value:.2f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def other_losses(loss: Score | None, vocab_size: int) -> str:
    """Return a loss as perplexity, bits per byte and share of uniform guessing; "" if they are not
    known.
    """
    if loss is None or loss.bits_per_byte is None:
        return ""
    perplexity = math.exp(loss.value)
    perplexity_text = f"{perplexity:.1f}" if perplexity < 1000 else count(perplexity)
    share = loss.value / math.log(vocab_size)
    return (
        f"perplexity {perplexity_text}, {loss.bits_per_byte:.2f} bits per byte, {share:.0%} of"
        " uniform guessing"
    )


def texts(corpus: CorpusSpec) -> str:
    """Return the name of a corpus."""
    return summaries.in_words(corpus)


def heal_length(spec: HealSpec) -> str:
    """Return the training duration of a healing run in words."""
    if spec.minutes is not None:
        return f"{spec.minutes:g} minutes"
    return f"{spec.steps} steps" if spec.steps else "instant"


def heal_settings(spec: HealSpec) -> str:
    """Recipe and length of a heal: "distill, 10 minutes"; the length of an instant heal is its
    recipe's name.
    """
    return ", ".join(dict.fromkeys([spec.recipe, heal_length(spec)]))


def scores(point: Point | None) -> tuple[str, str]:
    """Accuracy and loss of a point, each with its 95 % interval."""
    if point is None:
        return "–", "–"
    return percent(point.acc, point.interval), nats(point.loss, point.loss_interval)


def provenance(distances: DistanceResult, sweep: SweepResult | None) -> Markdown:
    """Return the texts and questions that a map and its curves were measured on, the precision and
    the duration.
    """
    corpus = distances.spec.corpus
    skipped = f", {distances.n_skipped} too short and skipped" if distances.n_skipped else ""
    text = (
        f"Map: {distances.n_texts} texts of {plain(texts(corpus))}, up to {corpus.seq_len}"
        f" tokens{skipped}, seed {corpus.seed:d}, {plain(distances.ran_in)},"
        f" {duration(distances.wall_s)}."
    )
    if sweep is None:
        return text
    truncated = f", {sweep.n_truncated} truncated to the window" if sweep.n_truncated else ""
    return (
        f"{text} Curves: {sweep.n_questions} questions, the same for every n{truncated}, seed"
        f" {sweep.spec.benchmark.seed:d}, {duration(sweep.wall_s)}. Shaded: the 95 % interval of an"
        " accuracy (Wilson) or of a loss (Student's t)."
    )
