"""Progress on stderr: done / total, rate, tokens, cost, time left. One moving line on a terminal, a plain line now
and then elsewhere; and a line where nothing comes for a while, as before a slow model's first replies."""

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TextIO

from lema_local import printable

PLAIN_EVERY_S = 5.0
TERMINAL_EVERY_S = 0.2
QUIET_S = 20.0


@dataclass(slots=True)
class Progress:
    """Counts of one stage. `total` is what was pending when it began."""

    label: str
    total: int
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    done: int = 0
    failed: int = 0
    accepted: int | None = None  # right answers, kept corrections: None where it has no meaning
    tokens: int = 0
    cost_usd: float = 0.0
    replicas: int | None = None  # at work on a cluster; None: here
    started: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _last: float = field(default_factory=time.monotonic)  # when a call was last over
    _closed: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        """From now on, until close(), a silence is spoken of."""
        threading.Thread(target=self._speak, daemon=True).start()

    def _speak(self) -> None:
        spoken = time.monotonic()
        while not self._closed.wait(max(0.01, max(spoken, self._shown) + QUIET_S - time.monotonic())):
            spoken = time.monotonic()
            if spoken - self._shown >= QUIET_S:
                self._write(f"{self.line()}  no reply for {clock(spoken - self._last)}")

    def step(
        self, *, tokens: int = 0, cost_usd: float = 0.0, accepted: bool | None = None, failed: bool = False
    ) -> None:
        """One more call is over."""
        self.done += 1
        self.failed += failed
        self.tokens += tokens
        self.cost_usd += cost_usd
        if accepted is not None:
            self.accepted = (self.accepted or 0) + accepted
        now = self._last = time.monotonic()
        if now - self._shown >= (TERMINAL_EVERY_S if self.stream.isatty() else PLAIN_EVERY_S):
            self._shown = now
            self._write(self.line())

    def line(self) -> str:
        """For example: sample 40/160  1.2/s  96 tok/s  accepted 12%  1:38 left"""
        seconds = max(time.monotonic() - self.started, 1e-9)
        parts = [f"{printable.line(self.label)} {self.done}/{self.total}", f"{self.done / seconds:.1f}/s"]
        if self.tokens:
            parts.append(f"{self.tokens / seconds:.0f} tok/s")
        if self.accepted is not None and self.done:
            parts.append(f"accepted {self.accepted / self.done:.0%}")
        if self.failed:
            parts.append(f"failed {self.failed}")
        if self.replicas is not None:
            parts.append(f"{self.replicas} replicas")
        if self.cost_usd:
            in_all = f", ${self.cost_usd / self.done * self.total:.2f} in all" if self.done else ""
            parts.append(f"${self.cost_usd:.2f}{in_all}")
        if self.done < self.total and self.done:
            parts.append(f"{clock(seconds / self.done * (self.total - self.done))} left")
        return "  ".join(parts)

    def close(self) -> None:
        """The last word: what was done, and in how long."""
        self._closed.set()
        if self.total:
            self._write(f"{self.line()}  took {clock(time.monotonic() - self.started)}", last=True)

    def _write(self, line: str, *, last: bool = False) -> None:
        if self.stream.isatty():
            self.stream.write(f"\r\033[K{line}" + ("\n" if last else ""))
        else:
            self.stream.write(line + "\n")
        self.stream.flush()


def clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
