"""Trackers of experiments: what a run shows of itself in MLflow, trackio, W&B or TensorBoard, each step once.

    tracker = open_tracker("mlflow", shown)         # goes on with the run of this id, where the tracker has one
    tracker.show(12, {"train/loss": 0.41, "train/learning_rate": 1e-3})
    tracker.show(40, {"eval/gsm-symbolic/pass_at_1": 0.208})
    tracker.close(is_whole=True)

By each library's own interface, not by transformers' callbacks: those begin anew where a run goes on and show the steps
between the last checkpoint and a kill twice. Here a tracker is a view of the database: whoever opens it shows all that
is known so far, and what the tracker has already is passed over.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lema_local.errors import MissingPackageError

PROJECT = "lema_local"  # under which the runs stand, where the environment names no other
TENSORBOARD_FOLDER = "tensorboard"
_TRAIN = "train/"
_FLUSH_S = 5
_PACKAGES = {"tensorboard": "'lema-local[tensorboard]'"}  # as pip takes them, where not by their own name


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a tracker is told of a training run before its steps."""

    id: str  # the run's
    name: str  # arm, seed and the beginning of the id: lema-42-4be2a1f0
    group: str  # runs of one training set
    config: Mapping[str, str | int | float | bool | None]
    directory: Path
    max_steps: int


class Tracker(ABC):
    """One run in a tracker. `known` has the values that are there, by step and name."""

    def __init__(self, known: dict[tuple[int, str], float]) -> None:
        self._known = known

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Show the values of a step that are not there. Of training the first ones stay: a step that is done again has
        the same loss, at another speed. An evaluation is shown again where it came out otherwise."""
        new = {name: value for name, value in values.items() if not self._has(step, name, value)}
        if new:
            self._send(step, new)
            self._known |= {(step, name): value for name, value in new.items()}

    def _has(self, step: int, name: str, value: float) -> bool:
        there = self._known.get((step, name))
        return there is not None and (name.startswith(_TRAIN) or there == value)

    @abstractmethod
    def _send(self, step: int, values: Mapping[str, float]) -> None: ...

    @abstractmethod
    def close(self, *, is_whole: bool) -> None:
        """The end of this process's part; `is_whole`: of the run too."""


def refuse_without_tracker(tracker: str) -> None:
    """MissingPackageError where a tracker is not installed."""
    if importlib.util.find_spec(tracker) is None:
        package = _PACKAGES.get(tracker, tracker)
        raise MissingPackageError(f"--report-to {tracker} needs the package {tracker}: pip install {package}")


def open_tracker(tracker: str, shown: Shown) -> Tracker:
    """The run in this tracker, begun or gone on with. Raises what its library raises."""
    kinds: dict[str, Callable[[Shown], Tracker]] = {
        "mlflow": _MLflow,
        "trackio": _Trackio,
        "wandb": _Wandb,
        "tensorboard": _TensorBoard,
    }
    return kinds[tracker](shown)


@contextlib.contextmanager
def stdout_kept() -> Iterator[None]:
    """What trackers say goes to stderr: stdout is for data."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


class _MLflow(Tracker):
    """A run is found by its tag `lema.run`. A parameter stays as it was first given: MLflow lets none change."""

    def __init__(self, shown: Shown) -> None:
        mlflow = importlib.import_module("mlflow")
        self._entities, self._client = mlflow.entities, mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        place = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        found = self._client.search_runs([place], f"tags.`lema.run` = '{shown.id}'")
        tags = {"lema.run": shown.id, "lema.training_set": shown.group}
        run = found[0] if found else self._client.create_run(place, run_name=shown.name, tags=tags)
        self._run = run.info.run_id
        self._client.update_run(self._run, status="RUNNING")
        given = [self._entities.Param(k, str(v)) for k, v in shown.config.items() if k not in run.data.params]
        self._client.log_batch(self._run, params=given)
        history = [(m, self._client.get_metric_history(self._run, m)) for m in run.data.metrics]
        super().__init__({(each.step, name): each.value for name, values in history for each in values})

    def _send(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self, *, is_whole: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if is_whole else "KILLED")


class _Trackio(Tracker):
    """A run is found by its name. What a Space or a server has is not read: steps up to its last count as there."""

    def __init__(self, shown: Shown) -> None:
        self._trackio = importlib.import_module("trackio")
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        begun = {"group": shown.group, "config": dict(shown.config), "resume": "allow"}
        self._run = self._trackio.init(project, shown.name, **begun)
        known: dict[tuple[int, str], float] = {}
        self._last = 0
        if self._run._is_local:
            storage = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
            logs = storage.get_logs(project, shown.name, run_id=self._run.id)
            known = {(log["step"], name): value for log in logs for name, value in log.items()}
        else:
            self._last = self._run._initial_last_step or 0
        super().__init__(known)

    def _has(self, step: int, name: str, value: float) -> bool:
        return (name.startswith(_TRAIN) and step <= self._last) or super()._has(step, name, value)

    def _send(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, *, is_whole: bool) -> None:
        self._trackio.finish()


class _Wandb(Tracker):
    """W&B's own steps only grow, so ours are columns: train/step, eval/step. What it has is read from its summary."""

    def __init__(self, shown: Shown) -> None:
        wandb = importlib.import_module("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=shown.id,
            name=shown.name,
            group=shown.group,
            config=dict(shown.config),
            resume="allow",
            settings=wandb.Settings(console="off"),
        )
        for part in ("train", "eval", "dev"):
            self._run.define_metric(f"{part}/*", step_metric=f"{part}/step")
        self._last = int(self._run.summary.get("train/step") or 0)
        evaluated = json.loads(self._run.summary.get("lema_evaluations") or "[]")
        super().__init__({(step, name): value for step, name, value in evaluated})

    def _has(self, step: int, name: str, value: float) -> bool:
        return (name.startswith(_TRAIN) and step <= self._last) or super()._has(step, name, value)

    def _send(self, step: int, values: Mapping[str, float]) -> None:
        for part in sorted({name.partition("/")[0] for name in values}):
            of_part = {name: value for name, value in values.items() if name.startswith(f"{part}/")}
            self._run.log({**of_part, f"{part}/step": step})

    def close(self, *, is_whole: bool) -> None:
        evaluated = [(*key, value) for key, value in self._known.items() if not key[1].startswith(_TRAIN)]
        self._run.summary["lema_evaluations"] = json.dumps(evaluated)
        self._run.finish(exit_code=0 if is_whole else 1)


class _TensorBoard(Tracker):
    """Its files are written anew at each start; one that is open drops what it read before. The config is a text."""

    def __init__(self, shown: Shown) -> None:
        self._proto = importlib.import_module("tensorboard.compat.proto.event_pb2")
        self._summary = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        tensor = importlib.import_module("tensorboard.compat.proto.tensor_pb2").TensorProto
        types = importlib.import_module("tensorboard.compat.proto.types_pb2")
        writer = importlib.import_module("tensorboard.summary.writer.event_file_writer").EventFileWriter
        folder = shown.directory / TENSORBOARD_FOLDER
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = writer(str(folder), flush_secs=_FLUSH_S)
        begin = self._proto.SessionLog(status=self._proto.SessionLog.START)
        self._writer.add_event(self._proto.Event(wall_time=time.time(), step=0, session_log=begin))
        rows = "\n".join(f"| {name} | {value} |" for name, value in shown.config.items())
        plugin = self._summary.SummaryMetadata.PluginData(plugin_name="text")
        text = self._summary.Summary.Value(
            tag="config/text_summary",
            metadata=self._summary.SummaryMetadata(plugin_data=plugin),
            tensor=tensor(dtype=types.DT_STRING, string_val=[f"| setting | value |\n|---|---|\n{rows}".encode()]),
        )
        self._write(0, [text])
        super().__init__({})

    def _write(self, step: int, values: list[Any]) -> None:
        summary = self._summary.Summary(value=values)
        self._writer.add_event(self._proto.Event(wall_time=time.time(), step=step, summary=summary))

    def _send(self, step: int, values: Mapping[str, float]) -> None:
        self._write(step, [self._summary.Summary.Value(tag=name, simple_value=v) for name, v in values.items()])

    def close(self, *, is_whole: bool) -> None:
        self._writer.close()
