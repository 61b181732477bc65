"""TrainingSettings: every knob of a training run, with the paper's values as defaults.

It is pure (no torch), because the command line, the dry run and the database need it where the `[train]` extra is not
installed. A profile's `[training]` table gives its fields:

    [training]
    learning_rate = 1e-3
    max_steps = 40
    save_steps = 20
    global_batch_size = 8
    per_device_batch_size = 2
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from lema_local.errors import TrainingError
from lema_local.records.types import LARGEST_INTEGER

Schedule = Literal["constant", "linear", "cosine"]
Method = Literal["lora", "full"]
Attention = Literal["auto", "sdpa", "flash_attention_2", "eager"]
ComputeDtype = Literal["auto", "float32", "bfloat16"]
Match = Literal["steps", "epochs", "tokens"]
Tracker = Literal["trackio", "wandb", "mlflow", "tensorboard"]

# They fit a run to the memory, or say how it was planned, and leave its gradient.
_NO_IDENTITY = (
    *("per_device_batch_size", "gradient_checkpointing", "attention", "match"),
    *("packing", "processes", "accelerate_config"),
    *("seeds", "first_seed", "keep", "tensorboard", "report_to", "match_beside"),
)
# Where the learning rate is constant, a longer run begins with the steps of a shorter one: it goes on from it.
_LENGTH = ("max_steps", "save_steps", "save_at")
# Younger than the first recorded runs: left out while they have their defaults, so that those runs keep their ids.
_YOUNGER = ("method", "truncate", "save_at")
MOST_SEEDS = 1_000  # runs of an arm; a slip of the keyboard is not planned for minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """What a training run does. The defaults are those of arXiv 2310.20689, section 3.2, for GSM8K below 34B.

    Lengths are in tokens, without the BOS for the source and with the EOS for the target. Seeds the LoRA weights, the
    dropout and the order of the data. `method` lora over quantization nf4 is QLoRA; full trains the weights themselves.
    `compute_dtype` auto is bfloat16 on CUDA, and for adapters on a CPU that multiplies it natively (a run that begins
    there has "bfloat16" in its identity); in a run's own settings auto on a CPU is float32, as it was for older runs.
    `match`: arms of other sizes than the first take as many steps, or as many as give the first arm's epochs or tokens.
    Raises TrainingError where a value makes no sense.
    """

    learning_rate: float = 2e-4  # 1e-4 from 34B on
    max_steps: int = 2000
    save_steps: int = 100
    global_batch_size: int = 96
    per_device_batch_size: int = 6
    lora_r: int = 64
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    weight_decay: float = 0.01
    adam_beta2: float = 0.999
    max_grad_norm: float = 0.3
    warmup_steps: int = 0
    schedule: Schedule = "constant"
    source_max_length: int = 512
    target_max_length: int = 512
    quantization: Literal["nf4", "none"] = "nf4"
    double_quantization: bool = True
    compute_dtype: ComputeDtype = "auto"  # auto: bfloat16 where it is fast
    gradient_checkpointing: bool = True
    group_by_length: bool = True
    seed: int = 42
    method: Method = "lora"
    attention: Attention = "auto"  # auto: the fastest that is there
    packing: bool = False  # several examples in one row, each blind to the others
    processes: int = 0  # 0: one on each GPU, one on a CPU
    accelerate_config: str = ""  # a file of `accelerate config`: it decides on processes, nodes and sharding
    truncate: bool = False  # over-long rows are cut, not left out
    match: Match = "steps"
    match_beside: Match | None = None  # saves the step too at which this match would end, for --match to find
    save_at: tuple[int, ...] = ()  # steps that are saved beside every save_steps
    seeds: int = 1  # so many runs of each arm: with first_seed, first_seed + 1, ...
    first_seed: int | None = None  # None: seed, which is also that of a warm-up: the data hang on it
    keep: int | None = None  # of so many checkpoints, the newest, the weights stay on the disk; None: of all
    tensorboard: bool = False  # show the runs in TensorBoard, beside report_to
    report_to: Tracker | None = None  # a tracker of experiments

    def __post_init__(self) -> None:
        for name in ("max_steps", "save_steps", "global_batch_size", "per_device_batch_size", "lora_r", "lora_alpha"):
            if getattr(self, name) < 1:
                raise TrainingError(f"training.{name} is {getattr(self, name)}: give 1 or more.")
        if any(step < 1 for step in self.save_at):
            raise TrainingError("training.save_at: give steps from 1 on.")
        for name in ("source_max_length", "target_max_length"):
            if getattr(self, name) < 2:
                raise TrainingError(f"training.{name} is {getattr(self, name)}: give 2 tokens or more.")
        for name in ("learning_rate", "max_grad_norm"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise TrainingError(f"training.{name} is {getattr(self, name)}: give a number above 0.")
        if not 0 <= self.lora_dropout < 1:
            raise TrainingError(f"training.lora_dropout is {self.lora_dropout}: give 0 or more, below 1.")
        if not 0 < self.adam_beta2 < 1:
            raise TrainingError(f"training.adam_beta2 is {self.adam_beta2}: give a number between 0 and 1.")
        if self.weight_decay < 0 or self.warmup_steps < 0:
            raise TrainingError("training.weight_decay and training.warmup_steps must be 0 or more.")
        if self.schedule == "constant" and self.warmup_steps:
            raise TrainingError('training.warmup_steps needs schedule = "linear" or "cosine"; constant has no warm-up.')
        if self.match_beside is not None and self.schedule != "constant":
            raise TrainingError(
                'training.match_beside needs schedule = "constant": otherwise a run that ends earlier is another run.'
            )
        if self.seeds < 1 or (self.keep is not None and self.keep < 1):
            raise TrainingError("training.seeds and training.keep must be 1 or more; leave keep out to keep all.")
        if self.seeds > MOST_SEEDS:
            raise TrainingError(f"training.seeds is {self.seeds}: give {MOST_SEEDS} or fewer; 43-51 are those seeds.")
        for name, seed in (("seed", self.seed), ("first_seed", self.all_seeds.start)):
            if seed < 0:
                raise TrainingError(f"training.{name} is {seed}: give 0 or more.")
        if (last := self.all_seeds.stop - 1) > LARGEST_INTEGER:
            raise TrainingError(f"The training's seeds end at {last}: give {LARGEST_INTEGER} or less.")
        if self.processes < 0:
            raise TrainingError(f"training.processes is {self.processes}: give 1 or more, or 0 for one on each GPU.")
        if self.method == "full" and self.quantization != "none":
            raise TrainingError('training.method = "full" trains the weights themselves: set quantization = "none".')

    @property
    def all_seeds(self) -> range:
        """Those of the runs of each arm."""
        first = self.seed if self.first_seed is None else self.first_seed
        return range(first, first + self.seeds)

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that make a run another run: all but those that fit it to the memory and leave its gradient, and
        those of its length where the learning rate does not depend on it."""
        defaults = {field.name: field.default for field in fields(self)}
        left_out = (*_NO_IDENTITY, *(_LENGTH if self.schedule == "constant" else ()))
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in left_out and not (name in _YOUNGER and value == defaults[name])
        }

    @property
    def design(self) -> dict[str, Any]:
        """The identity without seed and length: what runs share that are to differ in their arm or seed alone."""
        return {name: value for name, value in self.identity.items() if name not in ("seed", *_LENGTH)}

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """The steps after which an adapter is saved: each save_steps, those of save_at, and the last."""
        steps = {*range(self.save_steps, self.max_steps, self.save_steps), *self.save_at, self.max_steps}
        return tuple(sorted(step for step in steps if step <= self.max_steps))

    def accumulation(self, processes: int) -> int:
        """Micro-batches per step and process, so that all of them make up the global batch; TrainingError if uneven."""
        at_once = self.per_device_batch_size * processes
        if self.global_batch_size % at_once:
            raise TrainingError(
                f"training.global_batch_size {self.global_batch_size} is no multiple of {self.per_device_batch_size} "
                f"per device x {processes} process(es): change training.per_device_batch_size or the number of GPUs."
            )
        return self.global_batch_size // at_once


def named_seeds(seeds: int | range | None) -> dict[str, int]:
    """The settings of so many seeds, or of these and no others; of None none."""
    if not isinstance(seeds, range):
        return {} if seeds is None else {"seeds": seeds}
    if seeds.step != 1:
        raise TrainingError(f"seeds is {seeds}: give a range without gaps.")
    return {"seeds": len(seeds), "first_seed": seeds.start}
