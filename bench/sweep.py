"""How long a sweep takes beside the pure generation in it: at most 1.15 times as long.

    python bench/sweep.py --profile laptop --db lema.duckdb             # the checkpoints of a run that is trained
    python bench/sweep.py --profile my.toml --db my.duckdb --problems 20

The database is copied without its evaluations, so that all of them are made anew; adapters are converted anew too.
Pure generation is what llama.cpp says itself of each request (llama_perf_context: prompt eval + eval), from the logs of
the servers. It is printed beside the parts that are not generation.
"""

import argparse
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb

from lema_local.records.store import Writer
from lema_local.serving.command import ServeOptions
from lema_local.settings.profiles import load_profile
from lema_local.stages import evaluate, sweep
from lema_local.stages.probe import Probe
from lema_local.stages.run import Run

MOST = 1.15
TIMING = re.compile(r"(?<!total) (?:prompt eval|eval) time = +([0-9.]+) ms")


class TimedRun(Run):
    """Its servers write llama.cpp's timings to their logs."""

    @property
    def serve_options(self) -> ServeOptions:
        return replace(super().serve_options, is_verbose=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--profile", default="laptop")
    arguments.add_argument("--db", type=Path, default=Path("lema.duckdb"))
    arguments.add_argument("--problems", type=int, help="only so many test problems")
    given = arguments.parse_args()
    profile = load_profile(given.profile)
    if given.problems:
        profile = replace(profile, data=replace(profile.data, test_problems=given.problems))
    with tempfile.TemporaryDirectory() as scratch:
        db = _without_evaluations(given.db, Path(scratch))
        spent = Counter[str]()
        with Writer(db) as store, ExitStack() as timed:
            run = TimedRun(profile, store, print)
            timed.enter_context(patch.object(sweep, "convert_adapter", _timed(sweep.convert_adapter, spent, "convert")))
            timed.enter_context(
                patch.object(sweep, "refuse_damaged", _timed(sweep.refuse_damaged, spent, "check the adapter"))
            )
            timed.enter_context(
                patch.object(Probe, "refuse_inactive", _timed(Probe.refuse_inactive, spent, "load and probe"))
            )
            started = time.perf_counter()
            targets, outcome = evaluate.evaluate(run)
            wall = time.perf_counter() - started
            (row,) = store.rows(
                "select sum(latency_s) as latency, sum(completion_tokens) as tokens from completion "
                "where purpose = 'evaluate'"
            )
        timings = [float(ms) for log in db.parent.glob("runs/logs/*.log") for ms in TIMING.findall(log.read_text())]
        engine = sum(timings) / 1000
    print(f"{len(targets) - 1} checkpoints and the base, {outcome.done} answers, {row['tokens']} tokens")
    for what, seconds in spent.most_common():
        print(f"{seconds:8.1f} s  {what}")
    print(f"{row['latency'] - engine:8.1f} s  server and client around the generation")
    print(f"{wall - row['latency'] - spent.total():8.1f} s  start of the server, targets, store, grading")
    print(f"{engine:8.1f} s  generation, by the engine's own counters")
    print(f"{wall:8.1f} s  in all: {wall / engine:.3f} times the generation (at most {MOST})")
    raise SystemExit(wall > MOST * engine)


def _without_evaluations(db: Path, scratch: Path) -> Path:
    """A copy of a database and its adapters, with nothing evaluated."""
    copy = scratch / db.name
    shutil.copy(db, copy)
    with duckdb.connect(str(copy)) as connection:
        connection.execute("delete from completion where purpose = 'evaluate'; delete from evaluation")
    checkpoints = db.parent / "runs" / "checkpoints"
    leave = shutil.ignore_patterns("adapter.gguf", "optimizer.pt")
    shutil.copytree(checkpoints, scratch / "runs" / "checkpoints", ignore=leave)
    return copy


def _timed(function: Callable[..., Any], spent: Counter[str], what: str) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent[what] += time.perf_counter() - started  # type: ignore[assignment]

    return call


if __name__ == "__main__":
    main()
