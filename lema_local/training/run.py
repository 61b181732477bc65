"""The training process: `python -m lema_local.training.run --job RUN/job.json`, alone or under `accelerate launch`.

stdout carries events, one JSON object a line (training/job.py shows them); stderr one line when it fails, exit code 1:

    No example to train on: 12 given, 12 left out (...); raise source_max_length and target_max_length or ...
"""

import argparse
import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from lema_local.errors import LemaError
from lema_local.training.job import Job, checkpoint_event, lint_event
from lema_local.training.trainer import train

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains the job; the exit code is 0, or 1 with the reason as the last line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m lema_local.training.run", description="Train one job.")
    parser.add_argument("--job", type=Path, required=True, help="the job file, e.g. runs/9f2c/job.json")
    parser.add_argument("--die-with-parent", action="store_true", help="be killed when the starting process ends")
    parser.add_argument("--launch", help="JSON list: the launcher to become, as launch_arguments() gives it")
    options = parser.parse_args(arguments)
    # Killed in the midst of a step nothing is lost, and a backward pass would hold a KeyboardInterrupt up for seconds.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A worker of accelerate launch is started by the launcher, which passes the environment on, not the option.
    if options.die_with_parent or "LEMA_TRAINING_PARENT" in os.environ:
        _die_with_parent(expected=os.environ.get("LEMA_TRAINING_PARENT") if options.die_with_parent else None)
    if options.launch is not None:
        # exec keeps the death signal, so the launcher dies with the parent as well
        os.execv(sys.executable, [sys.executable, "-m", *_as_module(json.loads(options.launch))])  # noqa: S606
    events = _own_stdout()
    try:
        _train(Job.read(options.job), events)
    except LemaError as error:
        return _fail(events, str(error))
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        return _fail(events, f"Training stopped: {error.strerror or error}{where}. Mend it and run again: it goes on.")
    return 0


def _fail(events: TextIO, message: str) -> int:
    """The reason on stderr, for who started this by hand, and as an event, past what a launcher says after it."""
    sys.stderr.write(f"{message}\n")
    events.write(json.dumps({"event": "failed", "message": message}) + "\n")
    events.flush()
    return 1


def _as_module(launch: list[str]) -> list[str]:
    """A launcher's command for `python -m`, whatever PATH says."""
    if launch[:2] == ["accelerate", "launch"]:
        return ["accelerate.commands.launch", *launch[2:]]
    return ["torch.distributed.run", *launch[1:]]


def _train(job: Job, events: TextIO) -> None:
    is_main = os.environ.get("RANK", "0") == "0"

    def say(event: dict[str, Any]) -> None:
        if is_main:
            events.write(json.dumps(event) + "\n")
            events.flush()

    # read by tqdm and the Hub client when they are imported, which happens in train()
    os.environ.update({"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"})
    train(
        examples=job.examples,
        base=job.base,
        settings=job.settings,
        directory=job.directory,
        cache=job.cache,
        on_checkpoint=lambda saved: say(checkpoint_event(saved)),
        on_progress=lambda progress: say({"event": "progress", **asdict(progress)}),
        on_recorded=lambda progress: say({"event": "recorded", **asdict(progress)}),
        on_lint=lambda lint: say(lint_event(lint)),
        strict=job.strict,
        on_notice=lambda message: say({"event": "notice", "message": message}),
    )


def _own_stdout() -> TextIO:
    """The events' stream; from now on all that libraries print on stdout, in C too, goes to stderr."""
    sys.stdout.flush()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _die_with_parent(*, expected: str | None) -> None:
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if expected is not None and str(os.getppid()) != expected:  # it died before the call
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
