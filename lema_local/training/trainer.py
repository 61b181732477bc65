"""train(): one QLoRA run, from texts to sealed checkpoints, the same code on CPU and CUDA, one process or several.

    train(examples=[("Please solve ...", "Step 1: ...")], base=base, settings=settings, directory=Path("runs/9f"), ...)
    -> [SavedCheckpoint(step=20, path=.../step-000020, loss=0.61, ...), SavedCheckpoint(step=40, ...)]

transformers' Trainer runs the loop, peft the adapter, bitsandbytes the NF4 base; ours are the order of the data, the
loss, and what a checkpoint is. The loss is the mean over the output tokens of the whole global batch, so micro-batch
size, accumulation and number of GPUs change the speed and not the gradient.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lema_local.errors import TrainingError
from lema_local.settings.training import TrainingSettings
from lema_local.training.base import BaseModel, default_cache, resolve_base
from lema_local.training.checkpoints import SavedCheckpoint, find_checkpoints, survey, tidy
from lema_local.training.failures import is_out_of_memory, out_of_memory
from lema_local.training.launch import refuse_engines, refuse_other_sharding, refuse_unusable_gpus
from lema_local.training.lint import Lint, refuse_flawed, write_lint
from lema_local.training.loop import Loop, build_trainer
from lema_local.training.metrics import StepProgress, recorded
from lema_local.training.model import is_sharded
from lema_local.training.order import data_order
from lema_local.training.packages import require
from lema_local.training.quiet import quiet
from lema_local.training.rows import load_tokenizer, tokenize
from lema_local.training.watch import free_bytes


def run_fingerprint(examples: Sequence[tuple[str, str]], base: BaseModel, settings: TrainingSettings) -> str:
    """What makes a checkpoint usable by a run: data, base and settings, but for what changes only speed or length. The
    base counts by its content, whatever it is called, and by its names where nobody says what that is."""
    fields = {name: value for name, value in settings.identity.items() if name not in ("save_steps", "save_at")}
    place = base.hub_id or (base.gguf_path or base.path or Path()).name
    chat = [] if base.frame is None else [base.frame.id]
    weights = [base.identity] if base.identity else [base.name, place]
    text = json.dumps([*weights, base.bos_text, fields, list(examples), *chat], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def run_in(directory: Path, examples: Sequence[tuple[str, str]], base: BaseModel, settings: TrainingSettings) -> str:
    """The run_fingerprint that the checkpoints in `directory` have and will have: that by the base's names where the
    run was begun by it, when there was no other."""
    run, there = run_fingerprint(examples, base, settings), survey(directory, verify=False)
    if not there.whole or there.of(run):  # nearly always: the examples, which may be many, are gone through once
        return run
    by_names = run_fingerprint(examples, replace(base, identity=""), settings)
    return by_names if there.of(by_names) else run


def finished(directory: Path, *, run: str, settings: TrainingSettings) -> list[SavedCheckpoint] | None:
    """The run's checkpoints if each that the settings want is complete, else None. Loads no torch."""
    found = [saved for saved in find_checkpoints(directory, run=run) if saved.step <= settings.max_steps]
    return None if _missing(found, settings) else found


def _missing(found: Sequence[SavedCheckpoint], settings: TrainingSettings) -> list[int]:
    """The steps whose checkpoints are wanted and not there."""
    return sorted(set(settings.checkpoint_steps) - {saved.step for saved in found})


def train(
    *,
    examples: Sequence[tuple[str, str]],
    base: BaseModel,
    settings: TrainingSettings,
    directory: Path,
    on_checkpoint: Callable[[SavedCheckpoint], None],
    on_progress: Callable[[StepProgress], None],
    on_lint: Callable[[Lint], None] = lambda lint: None,
    on_recorded: Callable[[StepProgress], None] = lambda progress: None,
    on_notice: Callable[[str], None] = lambda message: None,
    free: Callable[[Path], int] = free_bytes,
    strict: bool = False,
    cache: Path | None = None,
) -> list[SavedCheckpoint]:
    """Trains an adapter on (prompt, output) texts and returns its checkpoints, the last step's being the last.

    Goes on from the last complete checkpoint in `directory`, to the weights that an uninterrupted run would have; where
    one before others is missing, from the last before it, and as far as the last that is missing: those that are there
    stay as they are, for they may have been evaluated. Where all are there, nothing is loaded. `on_checkpoint` is
    called for every complete checkpoint, those found included (a row that a crash kept from the database is written
    then); for the same reason `on_recorded` is called for every step that was done before. `on_lint` is called once,
    before any weights are loaded, with what became of the examples. `on_notice` is told of checkpoints passed over.
    `free` gives the bytes free on a directory's disk. Raises TrainingError: no usable example, or with `strict` one
    that is left out or cut, uneven batches, NaN loss, out of memory, no room for a checkpoint, a directory of another
    run, a checkpoint that cannot be read.
    """
    run = run_in(directory, examples, base, settings)
    done = finished(directory, run=run, settings=settings)
    if done is not None:
        if os.environ.get("RANK", "0") == "0":
            tidy(directory, keep=settings.keep, verify=False)
        _tell(done, recorded(directory), on_checkpoint, on_recorded)
        return done
    there = survey(directory)
    if there.whole and not there.of(run):
        raise TrainingError(
            f"{directory} holds the checkpoints of another training run{_base_of(there.whole[0].saved.path)}: "
            "move it away, then train again."
        )
    torch, accelerate = require("torch"), require("accelerate")
    refuse_engines(os.environ)
    refuse_unusable_gpus(os.environ, has_cuda=torch.cuda.is_available())
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    accumulation = settings.accumulation(processes)
    with quiet():
        state = accelerate.PartialState(cpu=not torch.cuda.is_available())
        if state.is_main_process:
            directory.mkdir(parents=True, exist_ok=True)
            for line in tidy(directory, keep=settings.keep, wanted=settings.checkpoint_steps):
                on_notice(line)
        state.wait_for_everyone()
        cache = cache or default_cache()
        with state.main_process_first():  # one downloads, the others find it
            tokenizer = load_tokenizer(base, cache=cache)
        rows, lint = tokenize(
            examples,
            tokenizer,
            bos_text=base.bos_text,
            frame=base.frame,
            source_max_length=settings.source_max_length,
            target_max_length=settings.target_max_length,
            truncate=settings.truncate,
        )
        on_lint(lint)
        if state.is_main_process:
            write_lint(directory, lint)
        if strict:
            refuse_flawed(lint)
        if not rows:
            raise TrainingError(_nothing_left(lint))
        with state.main_process_first():  # one dequantises or downloads, the others find it
            place = resolve_base(base, cache=cache)
        order = data_order(
            [len(row.input_ids) for row in rows],
            seed=settings.seed,
            batch=settings.global_batch_size,
            steps=settings.max_steps,
            group_by_length=settings.group_by_length,
        )
        there = survey(directory, verify=False)  # tidy() has read the sums
        missing = _missing(there.of(run), settings)
        resume = there.resumable(run, before=missing[0])
        if resume is not None:
            refuse_other_sharding(resume.path, is_sharded=is_sharded())
        until = 0 if resume is None else resume.step
        coming = range(until + 1, missing[-1] + 1)
        _tell(there.of(run), recorded(directory, but=coming), on_checkpoint, on_recorded)
        if there.whole or until:
            end = "" if coming.stop > settings.max_steps else f", as far as step {missing[-1]}: the rest is there"
            on_notice(f"going on from step {until} of {settings.max_steps}{end}")
        try:
            loop = Loop(
                place=place,
                base=base,
                rows=[rows[index] for index in order],
                pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
                settings=settings,
                accumulation=accumulation,
                capacity=settings.per_device_batch_size * max(len(row.input_ids) for row in rows),
                directory=directory,
                cache=cache,
                run=run,
                missing=missing,
                on_checkpoint=on_checkpoint,
                on_progress=on_progress,
                last_saved=None if resume is None else resume.step,
                free=free,
            )
            build_trainer(loop).train(resume_from_checkpoint=None if resume is None else str(resume.path))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(out_of_memory(settings, processes=processes)) from error
        state.wait_for_everyone()  # at its end the Trainer of each process looks into the directory once more
        if state.is_main_process:
            # a checkpoint made before others kept its state so far, to go on from
            tidy(directory, keep=settings.keep, verify=False)
    return survey(directory, verify=False).of(run)


def _tell(
    checkpoints: Sequence[SavedCheckpoint],
    steps: Sequence[StepProgress],
    on_checkpoint: Callable[[SavedCheckpoint], None],
    on_recorded: Callable[[StepProgress], None],
) -> None:
    for progress in steps:
        on_recorded(progress)
    for saved in checkpoints:
        on_checkpoint(saved)


def _base_of(path: Path) -> str:
    """ " (over NAME)", as the adapter in a checkpoint directory says; "" where it says nothing."""
    try:
        return f" (over {json.loads((path / 'adapter_config.json').read_text())['base_model_name_or_path']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _nothing_left(lint: Lint) -> str:
    return (
        f"No example to train on: {lint.examples} given, {lint.left_out} left out (longest source "
        f"{lint.longest_source}, target {lint.longest_target} tokens); raise source_max_length and target_max_length "
        "or collect more data."
    )
