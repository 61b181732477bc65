"""The pool for algebra: right, bounded in time and memory, and gone when it is closed."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lema_local.answers.grading import Grader, Verdict

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the process table from /proc")

# a worker that does what it is told: what a parser of others does with some texts (a tower of powers that it tries to
# work out, a factorial of ten digits, a product of a billion factors, groups nested beyond its stack)
OURS = """
import os, time
from lema_local.answers import grading

def work(answer, reference):
    match answer.split()[-1]:
        case "sleeps": time.sleep(60)
        case "spins":
            while True: pass
        case "allocates": return str(len(bytearray(1 << 40)))
        case "dies": os._exit(1)
        case "aborts": os.abort()
        case "raises": raise RecursionError("deep")
        case "swallows":
            try: bytearray(1 << 40)
            except MemoryError: pass
    return "same"

grading._compare, grading._load = work, lambda: None
grading._keep()
"""
DONE = "\\star is done"  # nothing that our own rules understand: each of these goes to a worker
SLEEPS = "\\star sleeps"
FAULTS = {
    "sleeps": "not decided: timeout",
    "spins": "not decided: timeout",
    "allocates": "not decided: memory",
    "dies": "not decided: crash",
    "aborts": "not decided: crash",
    "raises": "not decided: unreadable",
}


def guarded(workers: int = 1, time_limit_s: float = 0.3, *, memory_limit_mb: int = 1024) -> Grader:
    """A grader whose workers are ours."""
    return Grader(workers, time_limit_s, memory_limit_mb=memory_limit_mb, program=OURS)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as grader:
        yield grader


def _processes() -> set[int]:
    """Every living process that descends from this one."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                parents[int(folder.name)] = int(parent)
    found = {os.getpid()}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found - {os.getpid()}
        found |= more


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_until_gone(processes: set[int], limit_s: float) -> set[int]:
    deadline = time.monotonic() + limit_s
    while (left := {p for p in processes if _alive(p)}) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


@pytest.mark.parametrize(
    ("answer", "reference", "is_correct"),
    [
        ("x(x+2)+1", "(x+1)^2", True),
        ("\\{2,1\\}", "\\{1,2\\}", True),
        ("2x - y + 3 = 0", "y = 2x+3", True),
        ("[1,2)", "[1,2]", False),
        ("\\sqrt{x^2+2x+1}", "x+2", False),
        ("-3 \\le x \\le 2", "[-3,2]", True),
        ("x^2 + y^2 = 4", "y^2 + x^2 - 4 = 0", True),
    ],
    ids=lambda value: str(value)[:30],
)
def test_algebra_decides_what_notation_cannot(grader: Grader, answer: str, reference: str, is_correct: bool) -> None:
    verdict = grader.grade(answer, reference, "latex")
    assert verdict.is_correct is is_correct
    assert verdict.decided_by in {"symbolic", "evaluated"}


@pytest.mark.parametrize(
    ("answer", "reference", "kind", "verdict"),
    [
        (None, "0", "number", Verdict(False, "missing")),
        ("18", "18", "number", Verdict(True, "exact")),
        ("19", "18", "number", Verdict(False, "exact")),
        ("\\dfrac12", "\\frac{1}{2}", "latex", Verdict(True, "normalised")),
        ("x = \\sqrt{2}", "\\sqrt2", "latex", Verdict(True, "normalised")),
        ("\\sqrt{3}", "\\sqrt{2}", "latex", Verdict(False, "evaluated")),
        ("b", "(B)", "choice", Verdict(True, "normalised")),
        ("x+" * 900 + "x", "x^2", "latex", Verdict(False, "not decided: too long")),
    ],
    ids=lambda value: str(value)[:30],
)
@needs_proc
def test_what_needs_no_algebra_starts_no_process(answer: str, reference: str, kind: str, verdict: Verdict) -> None:
    before = _processes()
    with Grader() as own:
        assert own.grade(answer, reference, kind) == verdict  # type: ignore[arg-type]
        assert _processes() <= before


@pytest.mark.parametrize("fault", FAULTS)
def test_an_item_that_a_worker_cannot_bear_is_given_up_and_the_next_is_right(fault: str) -> None:
    with guarded() as own:
        assert own.grade(DONE, "1", "latex") == Verdict(True, "symbolic")
        start = time.perf_counter()
        assert own.grade(f"\\star {fault}", "1", "latex") == Verdict(False, FAULTS[fault])
        assert time.perf_counter() - start < 2
        assert own.grade(DONE, "1", "latex").is_correct


def test_a_worker_that_lost_its_memory_is_replaced_though_it_answered() -> None:
    with guarded(memory_limit_mb=64) as own:
        own.grade("\\star swallows", "1", "latex")
        assert own.grade(DONE, "1", "latex").is_correct


def test_the_time_limit_is_the_callers() -> None:
    for limit, at_least, at_most in ((0.1, 0.1, 1.5), (0.6, 0.6, 3)):
        with guarded(time_limit_s=limit) as own:
            own.grade(DONE, "1", "latex")
            start = time.perf_counter()
            assert own.grade(SLEEPS, "1", "latex").decided_by == "not decided: timeout"
            assert at_least <= time.perf_counter() - start < at_most


def test_a_process_without_memory_leaves_its_item_undecided() -> None:
    # less than the interpreter itself takes: the first allocation fails, or the stack cannot grow
    with guarded(time_limit_s=5, memory_limit_mb=8) as own:
        for _ in range(3):
            verdict = own.grade(DONE, "1", "latex")
            assert not verdict.is_correct
            assert verdict.decided_by in {"not decided: memory", "not decided: crash"}


def test_fifty_faults_in_a_row_leave_the_pool_working() -> None:
    _faults_in_a_row(50)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_faults_in_a_row_leave_the_pool_working() -> None:
    _faults_in_a_row(1_000)


def _faults_in_a_row(count: int) -> None:
    with guarded(workers=2, time_limit_s=0.1) as own, ThreadPoolExecutor(2) as threads:
        faults = [list(FAULTS)[number % len(FAULTS)] for number in range(count)]
        verdicts = threads.map(lambda fault: own.grade(f"\\star {fault}", "1", "latex"), faults)
        assert [verdict.decided_by for verdict in verdicts] == [FAULTS[fault] for fault in faults]
        assert own.grade(DONE, "1", "latex").is_correct


def test_many_threads_share_the_pool() -> None:
    items = [(f"x(x+{n})=y", f"x^2+{n}x=y", True) for n in range(12)]
    items += [(f"x^2={n}y", f"x^2={n + 1}y", False) for n in range(12)]
    with Grader(workers=2) as own, ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda item: own.grade(item[0], item[1], "latex"), items))
    assert [v.is_correct for v in verdicts] == [wanted for _, _, wanted in items]


def test_an_event_loop_goes_on_while_an_item_hangs() -> None:
    async def run(own: Grader) -> tuple[Verdict, int]:
        hanging = asyncio.create_task(asyncio.to_thread(own.grade, SLEEPS, "1", "latex"))
        ticks = 0
        while not hanging.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return await hanging, ticks

    with guarded(time_limit_s=0.5) as own:
        verdict, ticks = asyncio.run(run(own))
    assert verdict.decided_by == "not decided: timeout"
    assert ticks > 10


@needs_proc
def test_a_worker_that_was_killed_is_replaced() -> None:
    before = _processes()
    with guarded() as own:
        assert own.grade(DONE, "1", "latex").is_correct
        for process in _processes() - before:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
        own.grade(DONE, "1", "latex")  # may have met the dead worker
        assert own.grade(DONE, "1", "latex") == Verdict(True, "symbolic")


@needs_proc
@pytest.mark.parametrize("how", ["closed", "collected"])
def test_no_process_outlives_the_grader(how: str) -> None:
    before = _processes()
    own = guarded(workers=2)
    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(own.grade, DONE, str(n), "latex") for n in range(4)]
    assert all(future.result().is_correct for future in done)
    done.clear()
    ours = _processes() - before
    assert ours
    if how == "closed":
        own.close()
    del own
    gc.collect()
    assert _wait_until_gone(ours, 2.0) == set()


@needs_proc
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_no_process_outlives_a_caller_that_is_killed_while_an_item_hangs(how: signal.Signals) -> None:
    code = (
        "from lema_local.answers.grading import Grader\n"
        f"g = Grader(workers=1, program={OURS!r})\n"
        f"g.grade({DONE!r}, '1', 'latex')\n"
        "print('up', flush=True)\n"
        f"while True: g.grade({SLEEPS!r}, '1', 'latex')\n"
    )
    before = _processes()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as caller:
        assert caller.stdout is not None
        caller.stdout.readline()
        time.sleep(0.3)
        ours = _processes() - before
        assert len(ours) >= 3  # the caller, a keeper and its fork
        caller.send_signal(how)
        caller.wait(timeout=10)
    assert _wait_until_gone(ours, 4.0) == set()


def test_a_closed_grader_says_so() -> None:
    own = guarded()
    own.close()
    own.close()
    with pytest.raises(RuntimeError, match="closed"):
        own.grade(DONE, "1", "latex")


def test_closing_while_another_thread_grades_ends_that_item() -> None:
    own = guarded(time_limit_s=5)
    own.grade(DONE, "1", "latex")
    seen: list[Verdict] = []
    thread = threading.Thread(target=lambda: seen.append(own.grade(SLEEPS, "1", "latex")))
    thread.start()
    time.sleep(0.2)
    own.close()
    thread.join(timeout=2)
    assert not thread.is_alive()
    assert [verdict.is_correct for verdict in seen] == [False]
