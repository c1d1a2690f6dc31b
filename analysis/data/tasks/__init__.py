"""Built-in question sets, each registered by a file of its own.

Prompts, options and right answers are exactly those of lm-evaluation-harness 0.4.13. Each
continuation begins with the target delimiter, one space, even if the choice itself begins with a
space.
"""

from analysis.data.tasks.question import LETTERS, Question, Row, continuations, lettered
from analysis.data.tasks.registry import TASKS, Task, register, task

__all__ = [
    "LETTERS",
    "TASKS",
    "Question",
    "Row",
    "Task",
    "continuations",
    "lettered",
    "register",
    "task",
]
