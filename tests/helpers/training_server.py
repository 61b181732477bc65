"""Runs training jobs in processes forked from one that has torch loaded, and lets them die for real.

`python training_server.py` reads a JSON line for each job and answers with its exit code, negative for a signal:

    {"job": "RUN/job.json", "at": {"event": "os.rename", "name": "step-000004", "count": 1}, "then": "die"}   ->   -9

`at` is a moment that Python's audit hooks see: the count-th time that the event's path (of a rename, where it goes)
ends in the name; then the process kills itself with SIGKILL, before the thing is done, or ("starve") may allocate
almost nothing more. A fork costs a fiftieth of a second, the imports eight.
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


class TrainingServer:
    """The client's side: one process for all tests, its Hub at `hub`."""

    def __init__(self, hub: str, home: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # one thread: a tiny model has no use for more, and sums come out bit for bit as in one_thread() elsewhere
            env={**environment, "HF_ENDPOINT": hub, "HF_HOME": str(home), "OMP_NUM_THREADS": "1"},
        )

    def run(self, job: Path, *, at: dict[str, Any] | None = None, then: str = "die") -> int:
        """The exit code of the training process; its stderr is in training.log beside the job."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"job": str(job), "at": at, "then": then}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        """It holds nothing: taking torch down in order would cost seconds."""
        self._process.kill()
        self._process.communicate()


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


def _child(order: dict[str, Any]) -> None:
    from lema_local.training.run import main

    log = os.open(Path(order["job"]).with_name("training.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if order["at"] is not None:
        _watch(order["at"], order["then"])
    code = 1
    try:
        code = main(["--job", order["job"]])
    except BaseException as error:  # as the interpreter would end
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    import accelerate  # noqa: F401
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401
    import torch  # noqa: F401
    from transformers import AutoTokenizer, LlamaForCausalLM, Trainer  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
