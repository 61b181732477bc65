r"""Grading with algebra: math-verify in a pool of processes that can be killed.

Here because symbolic equality may take for ever, eat all memory or crash (towers of powers, factorials of ten digits,
deep nests of fractions), and math-verify's own time limit works in the main thread only. exact.py decides most pairs in
microseconds; only what it leaves open comes here, and no process is started before that happens.

    >>> with Grader() as grader:
    ...     grader.grade("2x - y + 3 = 0", "y = 2x + 3", "latex")
    Verdict(is_correct=True, decided_by='symbolic')

A worker is two processes: a keeper, which imports sympy once (about a second) and then only waits, and its fork, which
does the algebra under an alarm and an address-space limit. A fork that hangs or dies is replaced in milliseconds. Both
end with their pipe, so that nothing outlives a caller that was killed.

`decided_by` is one of
  missing                  there is no answer
  exact                    exact arithmetic, or the very same text
  normalised               the same (or different) once written in one notation
  evaluated                both sides evaluated at the same points: plainly the same, or plainly apart
  symbolic                 algebra says equal, or different
  not decided: timeout     algebra took longer than the limit          ]
  not decided: memory      algebra wanted more memory than the limit   ] is_correct is False
  not decided: crash       the process died                            ] and the run goes on
  not decided: unreadable  one side is no expression                   ]
  not decided: too long    longer than an answer can be                ]
  not decided: failed      our own rules raised: please report it      ]
"""

import contextlib
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Any, Self

from lema_local.answers import exact, latex_notation
from lema_local.records.types import AnswerKind

MAX_SYMBOLIC = 1_000  # characters; longer is no answer, and a parser's favourite way to die
_START_LIMIT_S = 120.0  # the import of sympy on a cold, busy machine
_GRACE_S = 0.75  # for the keeper to kill and replace its fork
_SECOND_TRY = 0.75  # of the time limit, for an item that got little CPU in its first: both together stay below 2 s
_OUT_OF_MEMORY = 3
# one of each sort: what sympy imports and caches on first use is then shared by all forks
_WARM_UP = (("x+1", "1+x"), ("y=x(x+2)", "x^2+2x=y"), ("\\{2,1\\}", "\\{1,2\\}"), ("x \\le 2", "(-\\infty,2]"))
_ROOM = 8 << 20  # bytes that must be left after an item
_KEEPER = "from lema_local.answers.grading import _keep; _keep()"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is correct, and which rule said so (the vocabulary stands in the module's docstring)."""

    is_correct: bool
    decided_by: str


class Grader:
    """Grades answers, from any thread; blocks for at most about the time limit, once its workers have started.

    workers: processes at most; each starts when the ones before it are all busy. time_limit_s: seconds per item.
    memory_limit_mb: address space of a worker (enforced where the system has RLIMIT_AS). program: what a worker's
    process runs.
    """

    def __init__(
        self, workers: int = 2, time_limit_s: float = 1.0, *, memory_limit_mb: int = 1024, program: str = _KEEPER
    ) -> None:
        self._time_limit_s = time_limit_s
        self._memory_limit_mb = memory_limit_mb
        self._program = program
        # last in, first out: a second worker starts only when the first is busy
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._started: weakref.WeakSet[_Worker] = weakref.WeakSet()
        for _ in range(max(1, workers)):
            self._idle.put(None)
        self._slots = max(1, workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def grade(self, answer: str | None, reference: str, kind: AnswerKind) -> Verdict:
        """The verdict on one answer. Never raises for what the texts hold; RuntimeError once the grader is closed."""
        is_same, rule = exact.compare(answer, reference, kind)
        if is_same is not None or answer is None:
            return Verdict(is_same is True, rule)
        if len(answer) > MAX_SYMBOLIC or len(reference) > MAX_SYMBOLIC:
            return Verdict(False, "not decided: too long")
        verdicts = (self._ask(answer, one) for one in exact.alternatives(reference))
        first = next(verdicts)
        return next((verdict for verdict in chain((first,), verdicts) if verdict.is_correct), first)

    def close(self) -> None:
        """End every worker. An item that is being graded in another thread counts as not decided."""
        with self._lock:
            self._is_closed = True
        for worker in list(self._started):
            worker.stop()

    def _ask(self, answer: str, reference: str) -> Verdict:
        worker = self._idle.get()
        try:
            with self._lock:
                if self._is_closed:
                    raise RuntimeError("This Grader is closed. Make a new one.")
                if worker is None or not worker.is_alive():
                    worker = _Worker(self._time_limit_s, self._memory_limit_mb, self._program)
                    self._started.add(worker)
            reply = worker.ask(answer, reference)
            if reply is None:
                worker.stop()
                worker = None
                return Verdict(False, "not decided: crash")
            return (
                Verdict(reply == "same", "symbolic")
                if reply in {"same", "different"}
                else Verdict(False, f"not decided: {reply}")
            )
        finally:
            self._idle.put(worker)


class _Worker:
    """The caller's end of a keeper process."""

    def __init__(self, time_limit_s: float, memory_limit_mb: int, program: str) -> None:
        self._time_limit_s = time_limit_s
        # the caller's import path: a checkout that is not installed works too
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(time_limit_s), str(memory_limit_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C reaches the caller, who closes us
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._is_ready = False
        self._busy = threading.Lock()
        # also where nobody calls close(): at garbage collection and at exit
        self._finalizer = weakref.finalize(self, _end, self._process, self._busy)

    def is_alive(self) -> bool:
        return self._finalizer.alive and self._process.poll() is None

    def stop(self) -> None:
        self._finalizer()

    def ask(self, answer: str, reference: str) -> str | None:
        """What the keeper says; None when it is gone or silent."""
        with self._busy:
            try:
                if not self._is_ready:
                    self._is_ready = _read_line(self._out, _START_LIMIT_S) == "ready"
                    if not self._is_ready:
                        return None
                os.write(self._in, json.dumps([answer, reference]).encode("ascii") + b"\n")
                return _read_line(self._out, (1 + _SECOND_TRY) * self._time_limit_s + _GRACE_S)
            except (OSError, ValueError):
                return None


def _end(process: "subprocess.Popen[bytes]", busy: threading.Lock) -> None:
    """Close the pipe, which ends an idle keeper; kill keeper and fork where an item is being graded."""
    is_idle = busy.acquire(blocking=False)
    if is_idle:
        with contextlib.suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
    if process.poll() is None:
        # the session is ours (start_new_session): keeper and fork together
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # only now: a descriptor that another thread still reads must not be given away
    if is_idle or busy.acquire(timeout=5):
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        busy.release()


def _read_line(descriptor: int, limit_s: float) -> str | None:
    """One line from a pipe within the limit; None at its end or when the time is over. Lines are short."""
    deadline = time.monotonic() + limit_s
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                return None
            line += chunk
    return line.decode("ascii").strip()


# --- in the keeper ---


def _keep() -> None:
    """The keeper's loop: hand each item to the fork, kill and replace the fork when it is late or gone."""
    time_limit_s, memory_limit_mb = float(sys.argv[1]), int(sys.argv[2])
    _load()
    os.write(1, b"ready\n")
    fork: tuple[int, int, int] | None = None
    spent = 0.0  # seconds of CPU that the fork had before this item
    for line in sys.stdin.buffer:
        for limit_s in (time_limit_s, _SECOND_TRY * time_limit_s):
            fork = fork or _fork(time_limit_s, memory_limit_mb)
            process, send, receive = fork
            try:
                os.write(send, line)
                reply = _read_line(receive, limit_s)
            except OSError:
                reply = None
            if reply is not None:
                reply, _, seconds = reply.partition(" ")
                spent = float(seconds)
                break
            fork = None
            os.close(send)
            os.close(receive)
            reply, used = _end_of(process)
            used, spent = used - spent, 0.0
            # on a machine that is overloaded an item may wait for its turn all the time that it has
            if reply != "timeout" or used > limit_s / 2:
                break
        with contextlib.suppress(BrokenPipeError):
            os.write(1, str(reply).encode("ascii") + b"\n")
    if fork is not None:
        os.kill(fork[0], signal.SIGKILL)
        os.waitpid(fork[0], 0)


def _end_of(process: int) -> tuple[str, float]:
    """Why a fork gave no reply, and the seconds of CPU that it had. It is gone after this."""
    time.sleep(0.01)
    pid, status, usage = os.wait4(process, os.WNOHANG)
    if pid == 0:
        os.kill(process, signal.SIGKILL)
        _, _, usage = os.wait4(process, 0)
        return "timeout", usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:  # late, and ended by its own alarm
        return "timeout", usage.ru_utime + usage.ru_stime
    return "memory" if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _OUT_OF_MEMORY else "crash", 0.0


def _fork(time_limit_s: float, memory_limit_mb: int) -> tuple[int, int, int]:
    to_read, to_send = os.pipe()
    from_read, from_send = os.pipe()
    process = os.fork()
    if process:
        os.close(to_read)
        os.close(from_send)
        return process, to_send, from_read
    try:
        # the keeper's pipes must not stay open here: their end is how the caller's end is seen
        for descriptor in (0, 1, to_send, from_read):
            os.close(descriptor)
        _limit_memory(memory_limit_mb)
        _work(to_read, from_send, time_limit_s)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)  # a number needs no memory, a reply would
    finally:
        os._exit(0)


def _limit_memory(megabytes: int) -> None:
    import resource

    with contextlib.suppress(ValueError, OSError):  # not enforced everywhere (macOS)
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _work(receive: int, send: int, time_limit_s: float) -> None:
    # default action: the kernel ends us even inside C code, and even if keeper and caller are gone
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with os.fdopen(receive, "rb") as lines:
        for line in lines:
            signal.setitimer(signal.ITIMER_REAL, time_limit_s + 0.5)
            try:
                answer, reference = json.loads(line)
                reply = _compare(answer, reference)
                bytearray(_ROOM)  # sympy swallows a MemoryError of its own; a full process must not go on
            except MemoryError:
                raise
            except Exception:  # whatever a parser of hostile text raises
                reply = "unreadable"
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.write(send, f"{reply} {time.process_time():.3f}\n".encode("ascii"))


def _load() -> None:
    """Import and warm up math-verify before the first fork: forks share it."""
    import logging

    logging.disable(logging.CRITICAL)
    for answer, reference in _WARM_UP:
        _compare(answer, reference)


def _compare(answer: str, reference: str) -> str:
    from math_verify import verify  # type: ignore[import-untyped]

    gold, target = _parse(reference), _parse(answer)
    if not gold or not target:
        return "unreadable"
    # no timeouts of its own: they are alarms, and ours is the one that holds
    is_same = verify(gold, target, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True)
    return "same" if is_same else "different"


def _parse(expression: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    text = latex_notation.as_latex(expression).strip().replace("\\$", "").replace("$", "").rstrip(".")
    return list(
        parse(
            f"${text}$",
            # formulas only: its other reading would take the last number of a text that it cannot parse
            extraction_config=[LatexExtractionConfig()],
            fallback_mode="no_fallback",
            parsing_timeout=None,
            raise_on_error=True,
        )
    )
