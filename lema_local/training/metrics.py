"""What is measured at every step of a run: a line in its own file, an event for the database.

    RUN/metrics.jsonl   {"step": 12, "max_steps": 40, "loss": 0.412, "learning_rate": 0.001, "grad_norm": 0.8, ...}

The file is what makes the curve whole: a kill of the starting process between a step and its row loses the row, and a
resumed run, which does not do that step again, tells of it once more from here. The line of a step is written before
its checkpoint.
"""

import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lema_local.training.packages import require

METRICS_FILE = "metrics.jsonl"
_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """Where a run stands after a step. `loss` is that step's mean in nats per output token."""

    step: int
    max_steps: int  # where training ends this time: the run's last step, or the last whose checkpoint is missing
    loss: float
    tokens_per_second: float  # since the process began
    seconds_left: float
    learning_rate: float  # of this step
    grad_norm: float  # before clipping
    step_tokens_per_second: float
    memory_gib: float  # peak: allocated on the GPU, or of the process where there is none
    tokens_seen: int
    samples_seen: int
    at: str  # ISO 8601, UTC


def peak_memory_gib() -> float:
    """The most memory in use so far: what torch allocated on this process's GPU, else the process's resident set."""
    torch = require("torch")
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / _GIB)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _GIB if sys.platform == "darwin" else peak * 1024 / _GIB  # bytes there, KiB elsewhere


def recorded(directory: Path, *, but: range = range(0)) -> list[StepProgress]:
    """The steps in a run's metrics.jsonl, each once, but for those of a range; torn lines are passed over."""
    found = {progress.step: progress for progress in _lines(directory / METRICS_FILE)}
    return [found[step] for step in sorted(found) if step not in but]


def _lines(path: Path) -> Iterator[StepProgress]:
    names = [field.name for field in fields(StepProgress)]
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            row = json.loads(line)
            yield StepProgress(**{name: row[name] for name in names})
        except (ValueError, KeyError, TypeError):  # torn by a kill: that step is done again
            continue


class MetricsLog:
    """Writes the steps of `coming`; what the file has of them from an earlier start goes first."""

    def __init__(self, directory: Path, *, coming: range) -> None:
        path = directory / METRICS_FILE
        kept = "".join(_line(progress) for progress in recorded(directory, but=coming))
        partial = path.with_name(f".{METRICS_FILE}")
        partial.write_text(kept, encoding="utf-8")
        partial.replace(path)
        self._path = path

    def add(self, progress: StepProgress) -> None:
        """Record a step; it survives a kill when this returns."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(progress))


def _line(progress: StepProgress) -> str:
    return json.dumps(asdict(progress)) + "\n"
