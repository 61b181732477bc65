"""One build's train() at a step's turn: `PYTHON bench/training_build.py JOB_FILE`, PYTHON being that of the build.

Says "loaded", then after each step {"wall": 4.1, "cpu": 8.0, "peak_gib": 1.9}, and waits for a line before it goes on.
It uses what builds of different age have in common, so that bench/training.py can hold one against another.
"""

import json
import os
import resource
import sys
import time
from dataclasses import fields
from pathlib import Path

from lema_local.training import job as jobs
from lema_local.training.trainer import BaseModel, TrainingSettings, train

_SAID = os.fdopen(os.dup(1), "w")


def main(job_file: str) -> None:
    _leave_out_what_is_younger(Path(job_file))
    os.environ.update(getattr(jobs, "ENVIRONMENT", {"OMP_WAIT_POLICY": "PASSIVE"}))  # as its run_job does
    job = jobs.Job.read(Path(job_file))
    begun: tuple[float, float] | None = None

    def on_progress(_progress: object) -> None:
        nonlocal begun
        said: object = "loaded"
        if begun is not None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            said = {"wall": time.perf_counter() - begun[0], "cpu": time.process_time() - begun[1], "peak_gib": peak}
        _SAID.write(json.dumps(said) + "\n")
        _SAID.flush()
        if not sys.stdin.readline():
            os._exit(0)  # the bench is over
        begun = time.perf_counter(), time.process_time()

    train(
        examples=job.examples,
        base=job.base,
        settings=job.settings,
        directory=job.directory,
        on_checkpoint=lambda saved: None,
        on_progress=on_progress,
    )


def _leave_out_what_is_younger(job_file: Path) -> None:
    """Keys that this build does not know; the bench sets none of them."""
    table = json.loads(job_file.read_text(encoding="utf-8"))
    for part, kind in (("settings", TrainingSettings), ("base", BaseModel)):
        known = {field.name for field in fields(kind)}
        table[part] = {name: value for name, value in table[part].items() if name in known}
    job_file.write_text(json.dumps(table), encoding="utf-8")


if __name__ == "__main__":
    os.dup2(2, 1)  # what libraries print is no turn
    main(sys.argv[1])
