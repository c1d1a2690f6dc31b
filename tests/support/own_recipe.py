"""A recipe that one file outside the package registers."""

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from analysis.experiments.heal import recipes
from analysis.experiments.heal.recipes.recipe import RECIPES

NAME = "gentle"
SOURCE = '''
"""A heal of low rank."""

from dataclasses import replace

from analysis.experiments.heal.recipes import Recipe, register
from analysis.experiments.heal.heal_spec import default_heal_corpus
from analysis.models.source.model_spec import ModelSpec

register(
    Recipe(
        name="gentle",
        title="a low rank, few steps",
        why="Rank 2 and two steps, for models that forget easily.",
        values={
            "r": 2,
            "steps": 2,
            "batch_size": 2,
            "learning_rate": 1e-2,
            "separate_documents": False,
            "corpus": replace(default_heal_corpus(), n_texts=40, seq_len=32),
            "model": ModelSpec(quantization="none"),
        },
        on_gpu={"batch_size": 8},
    )
)
'''


@contextlib.contextmanager
def registered(folder: Path) -> Iterator[recipes.Recipe]:
    """The recipe of a file in this folder, known as long as the body of the `with` statement
    runs.
    """
    path = folder / "own_recipe_of_a_test.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    try:
        yield recipes.get(NAME)
    finally:
        RECIPES.remove(NAME)
