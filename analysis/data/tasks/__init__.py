"""The question sets that can be asked by name, one file a set or family of sets; each registers itself.

Prompts, options and right answers follow the task definitions of lm-evaluation-harness 0.4.13, letter by letter. Every
continuation there begins with its target delimiter, one space, even if the choice itself begins with one.
"""

from analysis.data.tasks.question import LETTERS, Question, Row, continuations, lettered
from analysis.data.tasks.registry import TASKS, Task, register, task

__all__ = ["LETTERS", "TASKS", "Question", "Row", "Task", "continuations", "lettered", "register", "task"]
