"""Progress of a training run on stderr, from the events of its process."""

import sys
import time
from dataclasses import dataclass, field
from typing import Any, TextIO

from lema_local.progress import PLAIN_EVERY_S, clock


@dataclass(slots=True)
class TrainingProgress:
    """For example: train lema 12/40  loss 0.412  81 tok/s  3.1 GiB  4:10 left"""

    arm: str
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    started: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _line: str = ""

    def show(self, event: dict[str, Any]) -> None:
        """Write a line for a progress event, not too often where there is no terminal."""
        if event["event"] != "progress":
            return
        self._line = (
            f"train {self.arm} {event['step']}/{event['max_steps']}  loss {event['loss']:.3f}  "
            f"{event['tokens_per_second']:.0f} tok/s  {event['memory_gib']:.1f} GiB  "
            f"{clock(event['seconds_left'])} left"
        )
        now = time.monotonic()
        if self.stream.isatty() or now - self._shown >= PLAIN_EVERY_S or event["step"] == event["max_steps"]:
            self._shown = now
            self.stream.write(f"\r\033[K{self._line}" if self.stream.isatty() else f"{self._line}\n")
            self.stream.flush()

    def close(self) -> None:
        """The last word: how long it took."""
        if self._line:
            start = "\n" if self.stream.isatty() else ""
            self.stream.write(f"{start}train {self.arm} took {clock(time.monotonic() - self.started)}\n")
