"""A training job in a process that may die for real at any moment: run_until() starts it.

    {"job": "RUN/job.json", "at": {"event": "os.rename", "name": "step-000004", "count": 1}, "then": "die"}   ->   -9

`at` is a moment that Python's audit hooks see: the count-th time that the event's path (of a rename, where it goes)
ends in the name; then the process kills itself with SIGKILL, before the thing is done, or ("starve") may allocate
almost nothing more.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

STARVED_BYTES = 48 * 2**20


def run_until(job: Path, *, at: dict[str, Any] | None = None, then: str = "die") -> int:
    """The exit code of the training process, negative for a signal; its stderr is in training.log beside the job."""
    order = json.dumps({"job": str(job), "at": at, "then": then})
    return subprocess.run([sys.executable, __file__, order]).returncode


def at_step(step: int) -> dict[str, Any]:
    """When the step has been computed, before it is recorded."""
    return {"event": "open", "name": "/metrics.jsonl", "mode": "a", "count": step}


def _watch(moment: dict[str, Any], then: str) -> None:
    left = moment["count"]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event != moment["event"] or moment.get("mode") not in (None, arguments[1]):
            return
        path = arguments[1] if event == "os.rename" else arguments[0]
        if str(path).endswith(moment["name"]):
            left -= 1
            if left == 0:
                _die() if then == "die" else _starve()

    sys.addaudithook(hook)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _starve() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + STARVED_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(order: dict[str, Any]) -> int:
    from lema_local.training import run

    log = os.open(Path(order["job"]).with_name("training.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if order["at"] is not None:
        _watch(order["at"], order["then"])
    try:
        return run.main(["--job", order["job"]])
    except BaseException as error:  # in one line, where the interpreter would show all of it
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
