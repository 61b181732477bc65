"""The loop of a run: the loss, and transformers' Trainer with our order, micro-batches and checkpoints.

What the Trainer is not asked to do: shuffle (training/order.py did), average the loss over micro-batches of unequal
weight (output_loss divides by the whole batch's output tokens), decide what a checkpoint is (training/checkpoints.py).
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lema_local.errors import TrainingError
from lema_local.training.base import BaseModel
from lema_local.training.checkpoints import PARTIAL, SavedCheckpoint, StepProgress, checkpoint_path, seal
from lema_local.training.collate import IGNORED, Collator, Row, loss_positions
from lema_local.training.model import is_sharded, load_model, uses_flash
from lema_local.training.packages import require
from lema_local.training.packing import Pack, length, pack_steps
from lema_local.training.settings import TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What a loop needs to know. `place` is what from_pretrained takes; `rows` are in training order."""

    place: str
    base: BaseModel
    rows: list[Row]
    pad_id: int
    settings: TrainingSettings
    accumulation: int
    directory: Path
    run: str
    on_checkpoint: Callable[[SavedCheckpoint], None]
    on_progress: Callable[[StepProgress], None]


def output_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """Cross entropy in nats, summed over the labels that are not -100 and divided by their number in the global batch.

    `outputs.logits` (sequences, kept positions, vocabulary) are those at the loss_positions of `labels` (sequences,
    positions): each predicts the token that follows.
    """
    torch = require("torch")
    targets = labels[:, loss_positions(labels) + 1]
    wanted = targets != IGNORED
    total = torch.nn.functional.cross_entropy(outputs.logits[wanted].float(), targets[wanted], reduction="sum")
    return total / (wanted.sum() if num_items_in_batch is None else num_items_in_batch)


def build_trainer(loop: Loop) -> Any:
    """A transformers.Trainer over `loop.rows`: one epoch of max_steps global batches. Call its train()."""
    torch, transformers, accelerate = require("torch"), require("transformers"), require("accelerate")
    trainer_class: Any = transformers.Trainer
    callback_class: Any = transformers.TrainerCallback
    settings = loop.settings
    on_cuda = torch.cuda.is_available()
    in_bfloat16 = settings.compute_dtype == "bfloat16" or (settings.compute_dtype == "auto" and on_cuda)
    packs = _packs(loop)
    arguments = transformers.TrainingArguments(
        output_dir=str(loop.directory / PARTIAL),
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.per_device_batch_size,
        gradient_accumulation_steps=loop.accumulation * len(packs) // len(loop.rows),
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        # paged: its state moves to host memory when a long batch needs the room; sharded, each GPU holds a part of it
        optim="paged_adamw_32bit" if on_cuda and not is_sharded() else "adamw_torch",
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_grad_norm,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        bf16=in_bfloat16,
        use_cpu=not on_cuda,
        seed=settings.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # the callback asks for each one
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=on_cuda,
        ddp_find_unused_parameters=False,
    )

    class Ordered(trainer_class):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(packs)

    model = load_model(loop.place, loop.base, settings)
    trainer = Ordered(
        model=model,
        args=arguments,
        train_dataset=[{"rows": pack} for pack in packs],
        data_collator=Collator(loop.pad_id, is_flat=settings.packing and uses_flash(model)),
        compute_loss_func=output_loss,
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    watch = _Watch(loop)

    class Callback(callback_class):  # type: ignore[misc]
        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            # The adapter's first weights are the same everywhere, the dropout is not. Going on, what was saved counts.
            accelerate.utils.set_seed(settings.seed, device_specific=True)
            watch.begin(state.global_step)

        def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_save = state.global_step in settings.checkpoint_steps

        def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                watch.step(state.global_step, logs["loss"], is_main=state.is_world_process_zero)

        def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            trainer.accelerator.wait_for_everyone()  # every process has written its RNG state
            if state.is_world_process_zero:
                watch.save(state.global_step)
            trainer.accelerator.wait_for_everyone()

    trainer.add_callback(Callback())
    return trainer


def _packs(loop: Loop) -> list[Pack]:
    """What micro-batches are made of, in training order: the rows one by one, or packed."""
    settings = loop.settings
    if not settings.packing:
        return [(row,) for row in loop.rows]
    return pack_steps(
        loop.rows,
        batch=settings.global_batch_size,
        at_once=settings.global_batch_size // loop.accumulation,
        capacity=max(settings.source_max_length + settings.target_max_length + 1, *map(length, loop.rows)),
    )


class _Watch:
    """Counts what the Trainer does not: tokens without padding, the loss since the last checkpoint, the time left."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._settings = loop.settings
        self._losses: list[float] = []
        self._first_step = 0
        self._started = time.monotonic()
        self._tokens_after = [0]  # by step
        for start in range(0, len(loop.rows), loop.settings.global_batch_size):
            batch = loop.rows[start : start + loop.settings.global_batch_size]
            self._tokens_after.append(self._tokens_after[-1] + sum(len(row.input_ids) for row in batch))

    def begin(self, step: int) -> None:
        self._first_step, self._started = step, time.monotonic()

    def step(self, step: int, loss: float, *, is_main: bool) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} at step {step}: lower training.learning_rate "
                f"({self._settings.learning_rate}); with another rate it begins anew."
            )
        self._losses.append(loss)
        if is_main:
            seconds = max(time.monotonic() - self._started, 1e-9)
            rate = (self._tokens_after[step] - self._tokens_after[self._first_step]) / seconds
            left = (self._tokens_after[self._settings.max_steps] - self._tokens_after[step]) / rate
            self._loop.on_progress(StepProgress(step, self._settings.max_steps, loss, rate, left))

    def save(self, step: int) -> None:
        partial = self._loop.directory / PARTIAL / f"checkpoint-{step}"
        if self._settings.method == "full":  # a model that a server can load by itself
            require("transformers").AutoTokenizer.from_pretrained(self._loop.place).save_pretrained(partial)
        else:
            _name_base(partial / "adapter_config.json", self._loop.base.hub_id or self._loop.base.name)
        saved = SavedCheckpoint(
            step=step,
            path=checkpoint_path(self._loop.directory, step),
            loss=sum(self._losses) / len(self._losses),
            tokens_seen=self._tokens_after[step],
            samples_seen=step * self._settings.global_batch_size,
        )
        self._losses.clear()
        seal(partial, self._loop.directory, saved=saved, run=self._loop.run)
        self._loop.on_checkpoint(saved)


def _name_base(config: Path, name: str) -> None:
    """peft writes where the base was loaded from; a cache directory of this machine means nothing elsewhere."""
    fields = json.loads(config.read_text())
    config.write_text(json.dumps({**fields, "base_model_name_or_path": name}, indent=2) + "\n")
