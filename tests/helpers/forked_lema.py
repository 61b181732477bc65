"""Runs `lema` in processes forked from one that has everything imported, so that a thousand of them can be killed.

`python forked_lema.py` reads a JSON line for each run, answers with its PID, and at the next line with how it ended:

    {"arguments": ["data", "--db", "lema.duckdb"], "cwd": ".", "output": "said"}   ->   4711   ->   -9

A fork costs a fiftieth of a second, the imports two. LEMA_FAULTS shrinks the counts of what is inflicted: 0.1 is a
tenth of the kills.
"""

import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_PACKAGES = (
    "duckdb", "openai.types", "openai.resources", "aiohttp", "scipy.stats", "starlette.applications", "uvicorn",
    "uvicorn.protocols.http.h11_impl", "lema_local", "lema_local.cli",
)  # fmt: skip


def import_lema() -> None:
    """Every module of ours, and what they import when it is needed, but for torch and the like."""
    for name in _PACKAGES:
        package = importlib.import_module(name)
        if name.startswith("lema_local"):
            for module in pkgutil.walk_packages(package.__path__, f"{name}."):
                importlib.import_module(module.name)


def how_many(whole: int) -> int:
    """How often a fault is inflicted: `whole`, or the share of it that LEMA_FAULTS says."""
    return max(1, round(whole * float(os.environ.get("LEMA_FAULTS", "1"))))


class ForkedLema:
    """The client's side. One run at a time."""

    def __init__(self) -> None:
        quick = os.environ.get("LEMA_TESTS_PYTHON", sys.executable)  # see forking_python.py
        self._process = subprocess.Popen([quick, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ask(None)  # all is imported

    def start(self, *arguments: str | Path, cwd: Path) -> int:
        """The PID of a run; what it prints goes to `said` in `cwd`."""
        return self._ask({"arguments": [*map(str, arguments)], "cwd": str(cwd), "output": str(cwd / "said")})

    def wait(self) -> int:
        """How the run ended: its exit code, negative for a signal."""
        return self._ask(None)

    def run(self, *arguments: str | Path, cwd: Path) -> tuple[int, str]:
        """Exit code, and what was printed on both outputs."""
        self.start(*arguments, cwd=cwd)
        return self.wait(), (cwd / "said").read_text(encoding="utf-8")

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, order: dict[str, Any] | None) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _child(order: dict[str, Any]) -> None:
    from lema_local.cli.main import main

    os.chdir(order["cwd"])
    said = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (said, 1), (said, 2)):
        os.dup2(descriptor, target)
    code: Any = 1
    try:
        main(order["arguments"])
    except SystemExit as end:
        code = end.code
    except BaseException as error:  # as the interpreter would end
        sys.stderr.write(f"Traceback: {type(error).__name__}: {error}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import_lema()
    child = 0
    for line in sys.stdin:
        order = json.loads(line)
        if order is None:
            _, status = os.waitpid(child, 0) if child else (0, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        else:
            child = os.fork()
            if child == 0:
                _child(order)
            print(child, flush=True)


if __name__ == "__main__":
    _serve()
