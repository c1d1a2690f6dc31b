"""lm-evaluation-harness on the starter pack's rows: its own task definitions, its own scoring,
nothing downloaded.
"""

import functools
from pathlib import Path

import datasets
import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from torch import nn

from analysis.data import questions, starter
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import TASKS
from analysis.models.architecture.float32_products import InFloat32
from analysis.models.loading.load import LoadedModel

__all__ = ["HFLM", "Instance"]
_FOLDERS = {
    "arc_easy": "arc",
    "arc_challenge": "arc",
    "mmlu": "mmlu/default",
    "boolq": "super_glue/boolq",
    "hellaswag": "hellaswag",
    "openbookqa": "openbookqa",
    "piqa": "piqa",
    "sciq": "sciq",
    "social_iqa": "siqa",
    "commonsense_qa": "commonsense_qa",
    "winogrande": "winogrande",
    "copa": "super_glue/copa",
}


@functools.cache
def manager():
    """Only the folders of our sets: reading all of the harness's definitions takes a quarter of a
    minute.
    """
    root = Path(lm_eval.__file__).parent / "tasks"
    folders = sorted({str(root / folder) for folder in _FOLDERS.values()})
    return TaskManager(include_path=folders, include_defaults=False)


@functools.cache
def task(name: str, subject: str | None = None):
    """The harness's task object of one of our sets, over the rows of the starter pack."""
    folder = starter.benchmark_folder(TASKS[name].folder + (f"/{subject}" if subject else ""))
    rows = datasets.load_from_disk(str(folder / TASKS[name].split))
    if name == "boolq":  # the harness reads the copy in SuperGLUE, which calls the answer a label
        rows = rows.map(
            lambda row: {"label": int(row["answer"])}, remove_columns="answer", keep_in_memory=True
        )
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    if subject:
        splits["dev"] = datasets.load_from_disk(str(folder / "dev"))
    kept, datasets.load_dataset = (
        datasets.load_dataset,
        lambda *args, **options: datasets.DatasetDict(splits),
    )
    try:
        full_name = f"mmlu_{subject}" if subject else name
        return manager().load([full_name])["tasks"][full_name]
    finally:
        datasets.load_dataset = kept


@functools.cache
def _index(name: str):
    rows = task(name).task_docs
    return {str(value): place for place, value in enumerate(rows[TASKS[name].id_field])}


def document(name: str, question):
    """The harness's task and row of one of our questions."""
    if name == "mmlu":
        subject, _, place = question.id.split("/")
        return task(name, subject), task(name, subject).task_docs[int(place)]
    asked = task(name)
    place = _index(name)[question.id] if TASKS[name].id_field else int(question.id.split("/")[1])
    return asked, asked.task_docs[place]


def model(loaded: LoadedModel, batch_size: int) -> HFLM:
    """A loaded model as the harness has it by itself: torch and transformers compute in their own
    ways.
    """
    for module in loaded.model.modules():
        if isinstance(module, InFloat32):
            module.__class__ = nn.Linear
    return HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch_size)


def requests(name: str, question, shots: int = 0):
    """Return the requests that the harness would make to the model for one of our questions."""
    asked, row = document(name, question)
    context = asked.fewshot_context(row, shots)
    return asked.construct_requests(row, context, metadata=(name, 0, 1))


def loglikelihoods(lm: HFLM, asked: list) -> list[list[float]]:
    """The harness's own log-likelihoods, per question and option."""
    flat = lm.loglikelihood(
        [request for question in asked for request in question], disable_tqdm=True
    )
    values = iter(value for value, _ in flat)
    return [[next(values) for _ in question] for question in asked]


def verdicts(name: str, question, values: list[float]) -> dict:
    """`acc`, and `acc_norm` where the set has it, as the harness counts them for these
    log-likelihoods.
    """
    asked, row = document(name, question)
    return asked.process_results(row, [(value, False) for value in values])


def sample(name: str, n: int | None, **options):
    """Some of our questions, seeded."""
    return questions.load(BenchmarkSpec(name, limit=n, **options))
