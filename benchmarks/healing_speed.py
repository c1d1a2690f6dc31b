"""Training speed and memory of the paper's recipe against the usual script with Trainer and PEFT.

    python benchmarks/healing_speed.py --dtype bfloat16

Both train LoRA on the feed-forward modules of the starter model without layers 11-15, on the same
C4 documents. They use NF4 with double quantization and batch 16 by gradient accumulation. The usual
script is transformers' Trainer with PEFT and bitsandbytes and one document per row, padded to the
longest of its batch. Ours is a few steps of the `paper` recipe.

Each runs in its own process, in turns, so that drift of the machine affects both equally. Tokens
are counted without padding.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.work import add_dtype_option, describe_machine, say, seconds

BLOCK = (11, 5)
EFFECTIVE_BATCH = 16


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def loaded(dtype: str):
    from analysis.models.loading import load
    from analysis.models.source.model_spec import ModelSpec

    return load.load(ModelSpec(dtype=dtype, quantization="4bit"))


def ours(options: argparse.Namespace) -> dict:
    """Take packed steps of the paper recipe, as a healing run does, and return their figures."""
    from analysis.core.blocks import Block
    from analysis.data import corpora
    from analysis.data.near_copies import NearCopyFilter
    from analysis.data.spec import CorpusSpec
    from analysis.experiments.heal import adapters, packing, recipes
    from analysis.experiments.heal.training import Trainer
    from analysis.models.architecture.decoder import find_decoder
    from analysis.models.running import pruning

    loaded_model = loaded(options.dtype)
    spec = recipes.heal_spec(
        "paper",
        model=loaded_model.spec,
        block=Block(*BLOCK),
        steps=options.steps + 1,
        batch_size=options.rows,
        gradient_accumulation=EFFECTIVE_BATCH // options.rows,
        seq_len=options.seq_len,
        corpus=corpora.resolve(CorpusSpec("c4", 1000, options.seq_len, "train")),
    )
    packed = packing.training_rows(
        spec.corpus,
        NearCopyFilter([]),
        loaded_model.tokenizer,
        max_rows=EFFECTIVE_BATCH * spec.steps,
    )
    pruning.cut(loaded_model.decoder, spec.block)
    model = adapters.attach(loaded_model.decoder, spec, 0)
    trainer = Trainer(model, find_decoder(model), packed.rows, spec, None, packed.positions)
    trainer.take_step(lambda: None)
    steps = [seconds(lambda: trainer.take_step(lambda: None)) for _ in range(options.steps)]
    return figures(steps, trainer.tokens_per_step)


def figures(steps: list[float], tokens: float) -> dict:
    """Return speed and peak memory from the seconds of steps with this number of tokens, padding
    left out.
    """
    return {"tokens_per_s": tokens / statistics.median(steps), "peak": peak_bytes()}


def usual(options: argparse.Namespace) -> dict:
    """Train with transformers' Trainer, one padded document per row, and return its figures."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    from analysis.core.blocks import Block
    from analysis.data import corpora
    from analysis.data.spec import CorpusSpec
    from analysis.models.running import pruning

    loaded_model = loaded(options.dtype)
    pruning.cut(loaded_model.decoder, Block(*BLOCK))
    model = prepare_model_for_kbit_training(loaded_model.model, use_gradient_checkpointing=False)
    targets = r".*mlp\.(gate|up|down)_proj"
    model = get_peft_model(
        model,
        LoraConfig(
            r=64, lora_alpha=64, lora_dropout=0.05, target_modules=targets, task_type="CAUSAL_LM"
        ),
    )
    texts = corpora.documents(corpora.resolve(CorpusSpec("c4", 1000, options.seq_len, "train")))
    tokenizer = loaded_model.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    rows = [tokenizer(text, truncation=True, max_length=options.seq_len) for text in texts][
        : EFFECTIVE_BATCH * (options.steps + 1)
    ]
    step_ends: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *args, **named):
            step_ends.append(time.perf_counter())

    arguments = transformers.TrainingArguments(
        output_dir=options.scratch,
        max_steps=options.steps + 1,
        per_device_train_batch_size=options.rows,
        gradient_accumulation_steps=EFFECTIVE_BATCH // options.rows,
        learning_rate=3e-4,
        lr_scheduler_type="cosine",
        warmup_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=options.dtype == "bfloat16",
        use_cpu=True,
        logging_strategy="no",
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        callbacks=[Clock()],
        data_collator=transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )
    torch.manual_seed(0)
    trainer.train()
    tokens = sum(len(row["input_ids"]) for row in rows) / len(rows) * EFFECTIVE_BATCH
    return figures([after - before for before, after in pairwise(step_ends)], tokens)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--arm", choices=("ours", "usual"), help="run one of the two in this process"
    )
    parser.add_argument(
        "--steps", type=int, default=2, help="timed steps of each run, after one that is not"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=4, help="rows per forward pass")
    parser.add_argument("--seq-len", type=int, default=512)
    add_dtype_option(parser)
    parser.add_argument("--scratch", default="")
    options = parser.parse_args()
    if options.arm:
        print(json.dumps({"ours": ours, "usual": usual}[options.arm](options)))
        return
    options.dtype = describe_machine(options.dtype)
    runs_by_arm: dict[str, list[dict]] = {"usual": [], "ours": []}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(options.repeats):
            for arm in runs_by_arm:
                command = [sys.executable, __file__, "--arm", arm, "--scratch", scratch]
                for name in ("steps", "rows", "seq_len", "dtype"):
                    command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs_by_arm[arm].append(json.loads(done.stdout.splitlines()[-1]))
                run = runs_by_arm[arm][-1]
                say(
                    f"{arm:6} {run['tokens_per_s']:7.1f} tokens/s, {run['peak'] / 1e9:.2f} GB of"
                    " memory at most"
                )
    speeds = {
        arm: statistics.median(run["tokens_per_s"] for run in runs)
        for arm, runs in runs_by_arm.items()
    }
    peak = {arm: max(run["peak"] for run in runs) for arm, runs in runs_by_arm.items()}
    print(
        f"paper recipe against the usual script: {speeds['ours'] / speeds['usual']:.2f} x the"
        f" tokens/s (median of {options.repeats}), {peak['ours'] / peak['usual']:.2f} x its peak"
        f" memory, {options.rows} rows of {options.seq_len} tokens at once, {options.dtype} compute"
    )


if __name__ == "__main__":
    main()
