"""A training run in a process of its own: the job file it reads, the events it prints, and run_job() that minds it.

The command line stays free of torch, a crash or an out-of-memory kill costs one process, and Ctrl-C stops a training
step at once: the child is killed, which is safe, because a checkpoint is whole or does not exist. One event per line:

    {"event": "lint", "examples": 40, "rows": 37, "left_out": 3, "cut": 0, "findings": [...], ...}
    {"event": "notice", "message": "The checkpoint .../step-000040 does not match its checksums: it is passed over ..."}
    {"event": "recorded", "step": 1, "loss": 1.92, ...}      a step of an earlier start
    {"event": "progress", "step": 2, "max_steps": 40, "loss": 1.73, "tokens_per_second": 165.3, "seconds_left": 214.0}
    {"event": "checkpoint", "step": 20, "path": ".../step-000020", "loss": 0.6, "tokens_seen": 17600, ...}
    {"event": "failed", "message": "No example to train on: ..."}       becomes run_job's TrainingError
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lema_local.errors import DataError, TrainingError
from lema_local.hardware import cores
from lema_local.settings.chat import ChatFrame
from lema_local.settings.training import TrainingSettings
from lema_local.training.base import BaseModel
from lema_local.training.checkpoints import SavedCheckpoint, tidy
from lema_local.training.failures import out_of_memory
from lema_local.training.launch import LISTED_GPUS, PYTHON, Strategy, launch_arguments
from lema_local.training.lint import Lint
from lema_local.training.metrics import recorded
from lema_local.training.trainer import finished, run_in

JOB_FILE = "job.json"
EXAMPLES_FILE = "examples.jsonl"
LOG_FILE = "training.log"
_NO_ROOM_BYTES = 2**20
_STOP_SECONDS = 1.0  # between SIGTERM and SIGKILL: Ctrl-C must be over within two seconds

# Threads that wait for the slowest one sleep, after a few microseconds. By default they spin on, and where another
# program wants a core too, they spin on the core that the slowest needs: three steps beside one busy process, 2 cores,
# took 49 s against over 100 s. Without the few microseconds each small operation waits for a thread to wake: a step of
# bfloat16 took half as long again. A hundred times as many made two runs side by side eight times as slow.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run: (prompt, output) texts, base, settings; checkpoints, job file and log go to `directory`."""

    examples: tuple[tuple[str, str], ...]
    base: BaseModel
    settings: TrainingSettings
    directory: Path
    cache: Path | None = None  # None: training/base.py default_cache()
    strict: bool = False  # stop before the first step where an example was left out or cut

    def write(self) -> Path:
        """Writes examples.jsonl and job.json into the directory, atomically; the path of the latter."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps({"prompt": prompt, "output": output}) + "\n" for prompt, output in self.examples)
        _write(self.directory / EXAMPLES_FILE, "".join(lines))
        table = {
            "base": asdict(self.base),
            "settings": asdict(self.settings),
            "cache": self.cache,
            "strict": self.strict,
        }
        _write(self.directory / JOB_FILE, json.dumps(table, default=str, indent=1) + "\n")
        return self.directory / JOB_FILE

    @classmethod
    def read(cls, path: Path) -> "Job":
        """The job of a file that write() wrote. Raises TrainingError where it is not one."""
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            values, places = table["settings"], table["base"]
            settings = TrainingSettings(**{**values, "save_at": tuple(values.get("save_at", ()))})
            base = BaseModel(
                name=places["name"],
                hub_id=places["hub_id"],
                gguf_path=Path(places["gguf_path"]) if places["gguf_path"] else None,
                path=Path(places["path"]) if places["path"] else None,
                bos_text=places["bos_text"],
                frame=ChatFrame(**places["frame"]) if places.get("frame") else None,
                identity=places.get("identity", ""),
            )
            cache = Path(table["cache"]) if table["cache"] else None
            strict = bool(table.get("strict", False))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrainingError(f"{path} is no training job ({error!r}): run lema train, it writes one.") from error
        examples = tuple(read_examples(path.parent / EXAMPLES_FILE))
        return cls(examples=examples, base=base, settings=settings, directory=path.parent, cache=cache, strict=strict)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_examples(path: Path) -> list[tuple[str, str]]:
    """The (prompt, output) texts of a JSONL file. Raises DataError with file and line where a row is not one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"Cannot read {path} ({error.strerror}): run lema train again, it writes the file.") from error
    examples: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            prompt, output = row["prompt"], row["output"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: no prompt and output in this line: mend or remove it.") from error
        if not isinstance(prompt, str) or not isinstance(output, str):
            raise DataError(f"{path}:{number}: prompt and output must be texts: mend or remove the line.")
        examples.append((prompt, output))
    return examples


def saved_checkpoint(event: Mapping[str, Any]) -> SavedCheckpoint:
    """The checkpoint that a "checkpoint" event tells of."""
    table = {field.name: event[field.name] for field in fields(SavedCheckpoint)}
    return SavedCheckpoint(**{**table, "path": Path(table["path"])})


def checkpoint_event(saved: SavedCheckpoint) -> dict[str, Any]:
    """The "checkpoint" event of a checkpoint, ready for JSON."""
    return {"event": "checkpoint", **asdict(saved), "path": str(saved.path)}


def lint_event(lint: Lint) -> dict[str, Any]:
    """The "lint" event: what became of the examples."""
    return {"event": "lint", **lint.as_dict()}


def run_job(
    job: Job, *, num_gpus: int, on_event: Callable[[dict[str, Any]], None], strategy: Strategy | None = None
) -> None:
    """Trains `job` in a child process and calls `on_event` with each of its events; returns when it is done.

    A run that is finished starts no process: its checkpoint events come from the disk. What starts is the command of
    launch_arguments(): one process a GPU, or settings.processes; ddp unless the plan said fsdp. Call it from the thread
    that lives as long as the training: the child dies with that thread. Raises TrainingError with the child's last
    line; on KeyboardInterrupt, or any error in `on_event`, the child is gone within two seconds and the error goes on.
    """
    run = run_in(job.directory, job.examples, job.base, job.settings)
    done = finished(job.directory, run=run, settings=job.settings)
    if done is not None:
        tidy(job.directory, keep=job.settings.keep, verify=False)
        for progress in recorded(job.directory):
            on_event({"event": "recorded", **asdict(progress)})
        for saved in done:
            on_event(checkpoint_event(saved))
        return
    job_file = job.write()
    arguments = [sys.executable, "-m", "lema_local.training.run", "--job", str(job_file), "--die-with-parent"]
    processes, config = job.settings.processes or max(num_gpus, 1), job.settings.accelerate_config
    if config and not Path(config).is_file():
        raise TrainingError(f"No file {config}: `accelerate config --config_file {config}` makes one.")
    waiting = {} if ENVIRONMENT.keys() & os.environ.keys() else ENVIRONMENT  # whoever sets one of them means it
    ours = {"LEMA_TRAINING_PARENT": str(os.getpid()), LISTED_GPUS: str(num_gpus)}
    environment = {**os.environ, **waiting, **ours}
    strategy = (strategy or "ddp") if num_gpus else "cpu"
    in_float32 = job.settings.compute_dtype == "float32"
    launch = launch_arguments(
        str(job_file), strategy=strategy, num_processes=processes, config=config, in_float32=in_float32
    )
    if launch[0] != PYTHON:
        arguments = [*arguments, "--launch", json.dumps(launch)]
        environment.setdefault("OMP_NUM_THREADS", str(max(cores() // processes, 1)))
    failure: str | None = None
    log = job.directory / LOG_FILE
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # the terminal's Ctrl-C reaches this process alone, which then stops the child
            env=environment,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                event = _event(line)
                if event is not None and event["event"] == "failed":
                    failure = str(event["message"])
                elif event is not None:
                    on_event(event)
            code = process.wait()
        finally:
            _stop(process)
    if code != 0:
        raise TrainingError(_reason(code, log, job, failure, processes=processes))


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _signal_group(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        process.kill()


def _reason(code: int, log: Path, job: Job, failure: str | None = None, *, processes: int = 1) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    # the kernel kills what takes the last of the memory; of several processes their launcher tells
    if code == -signal.SIGKILL or any("Signal 9 (SIGKILL)" in line for line in lines):
        killed = "The training process was killed, as it is when memory runs out."
        return f"{killed} {out_of_memory(job.settings, processes=processes)}"
    # safetensors and torch have errors of their own for a full disk, and the log may find no room for them
    if any("No space left" in line for line in lines) or shutil.disk_usage(job.directory).free < _NO_ROOM_BYTES:
        return f"No room on the disk of {job.directory}: make some; training goes on from its last checkpoint."
    if failure is not None:
        return failure
    if not lines:
        return f"The training process ended with code {code} and said nothing: run it by hand, python -m " + (
            f"lema_local.training.run --job {job.directory / JOB_FILE}"
        )
    last = lines[-1][:400]
    return last if len(lines) == 1 else f"{last} (whole log: {log})"
