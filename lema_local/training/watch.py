"""What a run does around its steps: counts, measures, stops on a number that is none, saves where there is room.

The Trainer counts steps; tokens without padding, samples, the loss since the last checkpoint and the time left are
counted here, from the rows in training order:

    StepProgress(step=12, loss=0.412, learning_rate=1e-3, grad_norm=0.8, memory_gib=3.1, tokens_seen=9120, ...)
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lema_local.errors import TrainingError
from lema_local.settings.training import TrainingSettings
from lema_local.training import failures
from lema_local.training.base import BaseModel
from lema_local.training.checkpoints import PARTIAL, SavedCheckpoint, checkpoint_path, seal
from lema_local.training.metrics import MetricsLog, StepProgress, peak_memory_gib
from lema_local.training.packages import require

# Beside the weights and AdamW's two moments a checkpoint holds the RNG's state, the scheduler's and a step's log lines.
_SMALL_FILES_BYTES = 2**20
_MOMENT_BYTES = 8  # two float32 values a trained parameter


def free_bytes(directory: Path) -> int:
    """What is free on the disk that `directory` is on."""
    return shutil.disk_usage(directory).free


@dataclass(slots=True)
class Watch:
    """Follows one process of a run. `row_tokens` are the lengths of the rows in training order; `missing` are the steps
    whose checkpoints are not there, the last of them the last that is trained."""

    directory: Path
    run: str
    place: str  # what from_pretrained takes
    base: BaseModel
    settings: TrainingSettings
    missing: Sequence[int]
    row_tokens: list[int]
    on_checkpoint: Callable[[SavedCheckpoint], None]
    on_progress: Callable[[StepProgress], None]
    is_main: bool
    checkpoint_bytes: int  # of one checkpoint, with the state to go on from
    last_saved: int | None = None
    free: Callable[[Path], int] = free_bytes
    _losses: list[float] = field(default_factory=list)  # of the steps after _first_step
    _first_step: int = 0
    _started: float = 0.0
    _step_started: float = 0.0
    _tokens_after: list[int] = field(default_factory=lambda: [0])  # by step
    _log: MetricsLog | None = None

    def __post_init__(self) -> None:
        batch = self.settings.global_batch_size
        for start in range(0, len(self.row_tokens), batch):
            self._tokens_after.append(self._tokens_after[-1] + sum(self.row_tokens[start : start + batch]))

    def begin(self, step: int) -> None:
        """Training starts after `step` (0: from the start). TrainingError where the first checkpoint has no room."""
        self._first_step = step
        self._started = self._step_started = time.monotonic()
        if self.is_main:
            self.make_sure_of_room(next(s for s in self.settings.checkpoint_steps if s > step))
            self._log = MetricsLog(self.directory, coming=range(step + 1, self.missing[-1] + 1))

    def step(self, step: int, *, loss: float, grad_norm: float, learning_rate: float) -> None:
        """A step is done. TrainingError where loss or gradient is no number: before it could be saved."""
        for name, value in (("loss", loss), ("gradient's norm", grad_norm)):
            if not math.isfinite(value):
                what = f"{name} is {value}"
                raise TrainingError(failures.not_finite(what, step, self.settings, last=self.last_saved))
        self._losses.append(loss)
        if not self.is_main or self._log is None:
            return
        now, seen = time.monotonic(), self._tokens_after
        rate = (seen[step] - seen[self._first_step]) / max(now - self._started, 1e-9)
        progress = StepProgress(
            step=step,
            max_steps=self.missing[-1],
            loss=loss,
            tokens_per_second=rate,
            seconds_left=(seen[self.missing[-1]] - seen[step]) / rate,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            step_tokens_per_second=(seen[step] - seen[step - 1]) / max(now - self._step_started, 1e-9),
            memory_gib=peak_memory_gib(),
            tokens_seen=seen[step],
            samples_seen=step * self.settings.global_batch_size,
            at=datetime.now(UTC).isoformat(),
        )
        self._step_started = now
        self._log.add(progress)
        self.on_progress(progress)

    def make_sure_of_room(self, step: int) -> None:
        """TrainingError where the disk has no room for the checkpoint of a step: asked before its files are written."""
        free = self.free(self.directory)
        if free < self.checkpoint_bytes:
            raise TrainingError(
                failures.no_room(
                    step, needed=self.checkpoint_bytes, free=free, directory=self.directory, last=self.last_saved
                )
            )

    def save(self, step: int) -> None:
        """The Trainer has written a step's files: make them a checkpoint."""
        partial = self.directory / PARTIAL / f"checkpoint-{step}"
        if self.settings.method == "full":  # a model that a server can load by itself
            require("transformers").AutoTokenizer.from_pretrained(self.place).save_pretrained(partial)
        else:
            _name_base(partial / "adapter_config.json", self.base.hub_id or self.base.name)
        before = max((s for s in self.settings.checkpoint_steps if s < step), default=0)
        losses = self._losses[max(before - self._first_step, 0) :]
        saved = SavedCheckpoint(
            step=step,
            path=checkpoint_path(self.directory, step),
            loss=sum(losses) / len(losses),
            tokens_seen=self._tokens_after[step],
            samples_seen=step * self.settings.global_batch_size,
        )
        saved = seal(partial, self.directory, saved=saved, run=self.run, keep=self.settings.keep)
        self.last_saved = step
        self.on_checkpoint(saved)
        self._step_started = time.monotonic()  # the time of a save is no training time


def _name_base(config: Path, name: str) -> None:
    """peft writes where the base was loaded from; a cache directory of this machine means nothing elsewhere."""
    fields = json.loads(config.read_text())
    config.write_text(json.dumps({**fields, "base_model_name_or_path": name}, indent=2) + "\n")


def checkpoint_bytes(weights: int, trained: int) -> int:
    """Disk that one checkpoint takes: `weights` bytes of what is saved, AdamW's state of `trained` parameters."""
    return weights + _MOMENT_BYTES * trained + _SMALL_FILES_BYTES
