"""The loop of a run: the loss, and transformers' Trainer with our order, micro-batches and checkpoints.

What the Trainer is not asked to do: shuffle (training/order.py did), cut a step into micro-batches (packing.py did),
average the loss over those of unequal weight (output_loss divides by the whole batch's output tokens), decide what a
checkpoint is (training/checkpoints.py).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lema_local.settings.training import TrainingSettings
from lema_local.training.base import BaseModel
from lema_local.training.checkpoints import PARTIAL, SavedCheckpoint
from lema_local.training.collate import Collator, StepCollator
from lema_local.training.loss import keep_hidden_states, output_loss
from lema_local.training.metrics import StepProgress
from lema_local.training.model import is_sharded, load_model, uses_flash
from lema_local.training.packages import require
from lema_local.training.packing import Pack, length, pack_steps, refuse_leaks, share_step
from lema_local.training.rows import Row
from lema_local.training.watch import Watch, checkpoint_bytes, free_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What a loop needs to know. `place` is what from_pretrained takes; `rows` are in training order."""

    place: str
    base: BaseModel
    rows: list[Row]
    pad_id: int
    settings: TrainingSettings
    accumulation: int
    capacity: int  # tokens of a micro-batch of separate rows, padding counted
    directory: Path
    cache: Path
    run: str
    missing: Sequence[int]  # the steps whose checkpoints are to be made
    on_checkpoint: Callable[[SavedCheckpoint], None]
    on_progress: Callable[[StepProgress], None]
    last_saved: int | None = None  # the checkpoint that the run goes on from
    free: Callable[[Path], int] = free_bytes


def build_trainer(loop: Loop) -> Any:
    """A transformers.Trainer over `loop.rows`: one epoch of max_steps global batches, of which it does those up to the
    last checkpoint that is missing. Call its train()."""
    torch, transformers, accelerate = require("torch"), require("transformers"), require("accelerate")
    trainer_class: Any = transformers.Trainer
    callback_class: Any = transformers.TrainerCallback
    settings = loop.settings
    on_cuda = torch.cuda.is_available()
    in_bfloat16 = settings.compute_dtype == "bfloat16" or (settings.compute_dtype == "auto" and on_cuda)
    is_cast_by_hand = settings.method == "lora" and not on_cuda  # a bfloat16 base, training/lora_linear.py over it
    # Packs, and what all processes go through together, come as the Trainer cuts them: equally many for each process.
    is_cut_here = not settings.packing and not is_sharded()
    # accelerate's launcher, or a file of its own, may have said otherwise: the settings are the run's identity
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if in_bfloat16 and not is_cast_by_hand else "no"
    data = _shares(loop) if is_cut_here else [{"rows": pack} for pack in _packs(loop)]
    arguments = transformers.TrainingArguments(
        output_dir=str(loop.directory / PARTIAL),
        max_steps=settings.max_steps,
        per_device_train_batch_size=1 if is_cut_here else settings.per_device_batch_size,
        gradient_accumulation_steps=1 if is_cut_here else loop.accumulation * len(data) // len(loop.rows),
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        optim=_optimizer(on_cuda=on_cuda),
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_grad_norm,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        bf16=in_bfloat16 and not is_cast_by_hand,
        use_cpu=not on_cuda,
        seed=settings.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # the callback asks for each one
        report_to=[],
        # else FSDP keeps whole gradients on every GPU until the last micro-batch, and sums them in the compute dtype
        accelerator_config={"gradient_accumulation_kwargs": {"sync_each_batch": True}} if is_sharded() else None,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=on_cuda,
        ddp_find_unused_parameters=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process is one GPU's: several would split its batch (DataParallel)

    class Ordered(trainer_class):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(data)

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            *others, last = inputs["micro_batches"] if is_cut_here else [inputs]
            loss = 0.0
            for batch in others:
                with self.accelerator.no_sync(model):
                    loss += super().training_step(model, batch, num_items_in_batch)
            return loss + super().training_step(model, last, num_items_in_batch)

    model = load_model(loop.place, loop.base, settings, cache=loop.cache)
    collate = Collator(loop.pad_id, is_flat=settings.packing and uses_flash(model))
    if settings.packing and not is_sharded():
        refuse_leaks(model, collate, loop.base.name)
    trainer = Ordered(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=StepCollator(collate) if is_cut_here else collate,
        compute_loss_func=partial(output_loss, head=None if is_sharded() else keep_hidden_states(model)),
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    watch = Watch(
        directory=loop.directory,
        run=loop.run,
        place=loop.place,
        base=loop.base,
        settings=settings,
        missing=loop.missing,
        row_tokens=[len(row.input_ids) for row in loop.rows],
        on_checkpoint=loop.on_checkpoint,
        on_progress=loop.on_progress,
        is_main=trainer.is_world_process_zero(),
        checkpoint_bytes=_checkpoint_bytes(trainer.model),
        last_saved=loop.last_saved,
        free=loop.free,
    )

    class Callback(callback_class):  # type: ignore[misc]
        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            # The adapter's first weights are the same everywhere, the dropout is not. Going on, what was saved counts.
            accelerate.utils.set_seed(settings.seed, device_specific=True)
            watch.begin(state.global_step)

        def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_save = state.global_step in settings.checkpoint_steps
            control.should_training_stop = state.global_step >= loop.missing[-1]

        def on_log(self, _args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                watch.step(
                    state.global_step,
                    loss=logs["loss"],
                    grad_norm=logs["grad_norm"],
                    learning_rate=logs["learning_rate"],
                )
                if control.should_save and state.is_world_process_zero:
                    watch.make_sure_of_room(state.global_step)

        def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            trainer.accelerator.wait_for_everyone()  # every process has written its RNG state
            if state.is_world_process_zero:
                watch.save(state.global_step)
            trainer.accelerator.wait_for_everyone()

    trainer.add_callback(Callback())
    return trainer


def _optimizer(*, on_cuda: bool) -> str:
    """AdamW. Paged: its state moves to host memory when a long batch needs the room. Sharded, each GPU holds a part of
    it. Fused, on a CPU, it goes through weights and moments once, in 40% of the time."""
    if not on_cuda:
        return "adamw_torch_fused"
    return "adamw_torch" if is_sharded() else "paged_adamw_32bit"


def _shares(loop: Loop) -> list[dict[str, list[list[Row]]]]:
    """What each process takes of each step, in training order."""
    batch = loop.settings.global_batch_size
    processes = batch // (loop.accumulation * loop.settings.per_device_batch_size)
    return [
        {"micro_batches": share}
        for start in range(0, len(loop.rows), batch)
        for share in share_step(loop.rows[start : start + batch], processes=processes, capacity=loop.capacity)
    ]


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


def _checkpoint_bytes(model: Any) -> int:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in trained)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in trained)
    is_saved_twice = is_sharded() and not hasattr(model, "peft_config")  # once more as FSDP's own state, to go on from
    return checkpoint_bytes(weights * (1 + is_saved_twice), count)
