"""Training tokens per second on the CPU: ours, beside a bare PyTorch loop and TRL's SFTTrainer, in one run.

    python bench/training.py                     SmolLM2-135M, NF4, LoRA r = 64; about 3 minutes on 2 idle cores
    python bench/training.py --packing           ours alone: rows as they come, grouped by length, packed
    python bench/training.py --steps 2           shorter
    python bench/training.py --beside ../before  another build too: a checkout with a .venv of its own

Each side trains in a process of its own, on the same examples in the same order. A step of each in turn, so that what
else the machine does hits all alike; a figure is the median over the steps, a ratio the median of the steps' ratios.
CPU seconds tell the same where the cores are shared with others.
Ours computes in the dtype that `lema train` takes on this machine. The bare loop is plain transformers, bitsandbytes
and peft in float32, with the same adapter, micro-batches and loss, written out below. TRL (pip install trl) has the
same model, its adapter in float32, as ours is; without it that side is left out. A peak is that of the resident set
since the process began. A measurement, not a test: it never fails on time.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lema_local.prompts import cot_input
from lema_local.settings.models import resolve_model
from lema_local.settings.training import TrainingSettings
from lema_local.training.base import BaseModel, default_cache, resolve_base
from lema_local.training.bfloat16 import multiplies_bfloat16
from lema_local.training.collate import IGNORED, Collator
from lema_local.training.job import ENVIRONMENT, Job
from lema_local.training.order import data_order
from lema_local.training.rows import Row, tokenize

SETTINGS = TrainingSettings(
    learning_rate=1e-3,
    max_steps=1000,  # it is stopped long before
    save_steps=1000,
    global_batch_size=4,
    per_device_batch_size=2,
    gradient_checkpointing=False,
)
ITEMS = ("pens", "apples", "tickets", "bricks", "stamps", "marbles")
NAMES = ("Nora", "Omar", "Lena", "Tariq", "Ines", "Pavel")


@dataclass(frozen=True, slots=True)
class Work:
    """What every side gets."""

    base: BaseModel
    settings: TrainingSettings
    examples: tuple[tuple[str, str], ...]

    def rows(self, tokenizer: Any) -> list[Row]:
        """The rows in training order, as train() has them."""
        s = self.settings
        made, _ = tokenize(
            self.examples,
            tokenizer,
            bos_text=self.base.bos_text,
            source_max_length=s.source_max_length,
            target_max_length=s.target_max_length,
        )
        order = data_order(
            [len(row.input_ids) for row in made],
            seed=s.seed,
            batch=s.global_batch_size,
            steps=s.max_steps,
            group_by_length=s.group_by_length,
        )
        return [made[index] for index in order]


@dataclass(frozen=True, slots=True)
class Step:
    """Seconds that a step took, on the clock and of all cores for this process alone, and its peak memory so far."""

    wall: float
    cpu: float
    peak_gib: float


Side = Callable[[Connection, Work], None]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--steps", type=int, default=6, help="timed steps of each side, after one to warm up")
    options.add_argument("--beside", type=Path, help="a checkout of another build, with its .venv")
    options.add_argument("--packing", action="store_true", help="compare our own ways to lay out a batch")
    given = options.parse_args()
    model = resolve_model("smollm2-135m-instruct")
    base = BaseModel(name=model.name, gguf_path=model.gguf_path, bos_text=model.bos_text)
    resolve_base(base, cache=default_cache())
    work = Work(base, SETTINGS, tuple(_examples(200, random.Random(0))))
    if given.packing:
        _compare_layouts(work, given.steps)
        return
    own = replace(work, settings=replace(SETTINGS, compute_dtype="bfloat16" if multiplies_bfloat16() else "float32"))
    sides: dict[str, tuple[Side, Work]] = {"ours": (_ours, own), "bare loop": (_bare, work)}
    if given.beside is not None:
        sides[given.beside.name] = (partial(_build, str(given.beside / ".venv" / "bin" / "python")), work)
    if importlib.util.find_spec("trl") is None:
        print("TRL is not installed (pip install trl): its side is left out")
    else:
        sides["TRL"] = (_trl, work)
    measured = _interleaved(sides, given.steps)
    tokens = _step_tokens(work, given.steps)
    settings = f"NF4, LoRA r = {SETTINGS.lora_r}, batch {SETTINGS.global_batch_size}"
    print(f"SmolLM2-135M, {settings}, CPU; ours computes in {own.settings.compute_dtype}, plain libraries in float32")
    print(f"{'':<12}{'tok/s':>8}{'ours is':>10}{'CPU s a step':>15}{'ours is':>10}{'peak GiB':>10}{'ours is':>9}")
    for name, steps in measured.items():
        rate = statistics.median(count / step.wall for count, step in zip(tokens, steps, strict=True))
        pairs = list(zip(steps, measured["ours"], strict=True))
        wall = statistics.median(other.wall / own.wall for other, own in pairs)
        cpu = statistics.median(other.cpu / own.cpu for other, own in pairs)
        of_cpu = statistics.median(step.cpu for step in steps)
        peak, ours = (side[-1].peak_gib for side in (steps, measured["ours"]))
        print(f"{name:<12}{rate:>8.1f}{wall:>9.2f}x{of_cpu:>15.2f}{cpu:>9.2f}x{peak:>10.2f}{ours / peak:>8.2f}x")


def _compare_layouts(work: Work, steps: int) -> None:
    """Long and short rows in batches of 16: padding is what differs."""
    shuffled = replace(work.settings, group_by_length=False, global_batch_size=16, per_device_batch_size=4)
    shuffled = replace(shuffled, source_max_length=160, target_max_length=160)
    layouts = {
        "shuffled": shuffled,
        "grouped": replace(shuffled, group_by_length=True),
        "packed": replace(shuffled, packing=True),
    }
    sides = {name: (_ours, replace(work, settings=settings)) for name, settings in layouts.items()}
    measured = _interleaved(sides, steps)
    print(f"SmolLM2-135M, NF4, LoRA r = {shuffled.lora_r}, batch 16, micro-batches of 4, CPU")
    print(f"{'':<12}{'tok/s':>8}{'tok/CPU s':>11}")
    for name, done in measured.items():
        tokens = sum(_step_tokens(replace(work, settings=layouts[name]), steps))
        print(f"{name:<12}{tokens / sum(t.wall for t in done):>8.1f}{tokens / sum(t.cpu for t in done):>11.1f}")


def _interleaved(sides: dict[str, tuple[Side, Work]], steps: int) -> dict[str, list[Step]]:
    """Each timed step by side: a process each, of which one works at a time."""
    os.environ.update(ENVIRONMENT)  # for the yardsticks too
    os.environ.update({"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false"})
    context = multiprocessing.get_context("spawn")
    measured: dict[str, list[Step]] = {name: [] for name in sides}
    connections, processes = {}, []
    try:
        for name, (side, work) in sides.items():
            connections[name], theirs = context.Pipe()
            processes.append(context.Process(target=side, args=(theirs, work), daemon=True))
            processes[-1].start()
            theirs.close()  # so that a side that fails is an end of file, not silence
            connections[name].recv()  # loaded
        for step in range(steps + 1):
            names = list(sides)
            for name in names[step % len(names) :] + names[: step % len(names)]:
                connections[name].send("go")
                taken = connections[name].recv()
                if step > 0:
                    measured[name].append(taken)
    finally:
        for process in processes:
            process.kill()
    return measured


class Baton:
    """A side's end of the pipe: pass() after each step tells how long it took, and waits for its next turn."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._wait("loaded")

    def _wait(self, word: Any) -> None:
        self._connection.send(word)
        self._connection.recv()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def pass_on(self) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self._wait(Step(time.perf_counter() - self._wall, time.process_time() - self._cpu, peak))


def _ours(connection: Connection, work: Work) -> None:
    _build(sys.executable, connection, work)


def _build(python: str, connection: Connection, work: Work) -> None:
    """train() of a build: its own loading is over when the first step is."""
    script = Path(__file__).with_name("training_build.py")
    with tempfile.TemporaryDirectory() as directory:
        job = Job(examples=work.examples, base=work.base, settings=work.settings, directory=Path(directory)).write()
        command = [python, str(script), str(job)]
        own = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for line in process.stdout:
                said = json.loads(line)
                connection.send(said if said == "loaded" else Step(**said))
                connection.recv()
                process.stdin.write("go\n")
                process.stdin.flush()


def _plain_model(place: str, s: TrainingSettings) -> Any:
    """The model as the libraries' own documentation makes it, in float32."""
    import peft
    import torch
    import transformers

    quantization = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        place, dtype=torch.float32, quantization_config=quantization, device_map="cpu"
    )
    model.config.use_cache = False
    lora = peft.LoraConfig(
        r=s.lora_r,
        lora_alpha=s.lora_alpha,
        lora_dropout=s.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, lora)


def _bare(connection: Connection, work: Work) -> None:
    """The same in plain PyTorch."""
    import torch
    from transformers import AutoTokenizer

    place = resolve_base(work.base, cache=default_cache())
    rows, s = work.rows(AutoTokenizer.from_pretrained(place)), work.settings
    model = _plain_model(place, s)
    model.train()
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=s.learning_rate, weight_decay=s.weight_decay)
    collate = Collator(pad_id=2)
    baton: Baton | None = None
    for start in range(0, len(rows), s.global_batch_size):
        batch = rows[start : start + s.global_batch_size]
        wanted = sum(len(row.input_ids) - row.prompt_tokens for row in batch)
        for first in range(0, len(batch), s.per_device_batch_size):
            inputs = collate([{"rows": (row,)} for row in batch[first : first + s.per_device_batch_size]])
            targets = inputs.pop("labels")[:, inputs["logits_to_keep"] + 1]
            logits = model(**inputs).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / wanted
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, s.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        if baton is None:
            baton = Baton(connection)
        else:
            baton.pass_on()


def _trl(connection: Connection, work: Work) -> None:
    """SFTTrainer on the same rows in the same order; it makes adapters of 4-bit bases bfloat16, which is undone."""
    import torch
    import transformers
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    place = resolve_base(work.base, cache=default_cache())
    tokenizer = AutoTokenizer.from_pretrained(place)
    rows, s = work.rows(tokenizer), work.settings
    data = [
        {
            "input_ids": list(row.input_ids),
            "labels": [IGNORED] * row.prompt_tokens + list(row.input_ids[row.prompt_tokens :]),
        }
        for row in rows[: 100 * s.global_batch_size]
    ]

    class Ordered(SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(data)

    class Callback(transformers.TrainerCallback):
        baton: Baton | None = None

        def on_log(self, *_: Any, **__: Any) -> None:
            if self.baton is None:
                self.baton = Baton(connection)
            else:
                self.baton.pass_on()

    with tempfile.TemporaryDirectory() as directory:
        trainer = Ordered(
            model=_plain_model(place, s),
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(data),
            args=SFTConfig(
                output_dir=directory,
                per_device_train_batch_size=s.per_device_batch_size,
                gradient_accumulation_steps=s.accumulation(1),
                learning_rate=s.learning_rate,
                weight_decay=s.weight_decay,
                max_grad_norm=s.max_grad_norm,
                lr_scheduler_type=s.schedule,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                dataset_kwargs={"skip_prepare_dataset": True},
                max_length=None,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
        )
        for weights in trainer.model.parameters():
            if weights.requires_grad:
                weights.data = weights.data.float()
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        trainer.add_callback(Callback())
        trainer.train()


def _step_tokens(work: Work, steps: int) -> list[int]:
    """Tokens, without padding, of the timed steps: the third on, since sides load until the end of the first."""
    from transformers import AutoTokenizer

    rows = work.rows(AutoTokenizer.from_pretrained(resolve_base(work.base, cache=default_cache())))
    batch = work.settings.global_batch_size
    return [sum(len(row.input_ids) for row in rows[at * batch : (at + 1) * batch]) for at in range(2, steps + 2)]


def _examples(count: int, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Arithmetic stories of one to nine steps: 70 to 300 tokens."""
    for _ in range(count):
        name, item, total = chance.choice(NAMES), chance.choice(ITEMS), chance.randrange(3, 30)
        question, solution = f"{name} has {total} {item}.", []
        for step in range(1, chance.choice((1, 1, 2, 2, 3, 4, 6, 9)) + 1):
            more = chance.randrange(2, 60)
            question += f" Then {chance.choice(NAMES)} brings {more} more."
            solution.append(f"Step {step}: {total} + {more} = {total + more} {item}.")
            total += more
        yield cot_input(f"{question} How many {item} are there now?"), " ".join(solution) + f" The answer is {total}."


if __name__ == "__main__":
    main()
