"""The installed command in a process of its own, and where the checkout and the tests' data are."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lema_local.training.metrics import recorded

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
PROBLEMS = DATA / "loop_problems.jsonl"


def lema(
    *arguments: str | Path, cwd: Path, stdin: str | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """The installed command in a process of its own, which is a quick one: see forking_python.py."""
    quick, with_torch = map(os.environ.get, ("LEMA_TESTS_PYTHON", "LEMA_TESTS_PYTHON_WITH_TORCH"))
    python = sys.executable if sys.executable == with_torch else quick or sys.executable
    command = [python, *lema_command(*arguments)[1:]]
    given = os.environ | environment
    return subprocess.run(command, cwd=cwd, env=given, input=stdin, capture_output=True, text=True, timeout=300)


def lema_command(*arguments: str | Path) -> list[str]:
    """The entry point, whatever the PATH."""
    script = "from importlib.metadata import entry_points as e; e(group='console_scripts')['lema'].load()()"
    return [sys.executable, "-c", script, *map(str, arguments)]


def kill_training(*command: str | Path, run_directory: Path, at_step: int, cwd: Path, **environment: str) -> None:
    """Starts a `lema train` and kills it once so many steps of a run are recorded."""
    given = os.environ | environment
    with subprocess.Popen(lema_command(*command), cwd=cwd, env=given, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while len(recorded(run_directory)) < at_step:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
