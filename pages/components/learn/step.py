"""A step of the lesson: its question, the notes of a teacher, and how it is drawn, printed and put to a class."""

from collections.abc import Callable
from dataclasses import dataclass

from analysis.exports.handout import HandoutTask
from pages.components.learn.ballot import PollQuestion
from pages.components.learn.lesson import Lesson
from pages.components.learn.stored import LessonResults
from pages.components.shared import words


@dataclass(frozen=True)
class Step:
    """A step, made of a module in `steps`."""

    heading: words.Markdown
    """The question over it."""
    opening: words.Markdown
    """A question of a teacher to the class."""
    misunderstanding: words.Markdown
    """A common misunderstanding."""
    show: Callable[[Lesson, LessonResults], None]
    """Draws the step at the visitor's progress, with the stored results of the model."""
    tasks: Callable[[LessonResults], list[HandoutTask]]
    """Return the questions on paper; none where their result is missing."""
    poll: Callable[[LessonResults], list[PollQuestion]]
    """Return the questions that a class answers on phones; none where their result is missing."""
