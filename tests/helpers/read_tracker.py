"""What a tracker of experiments has of the one run that is there, by its own reader: `read(tracker, folder)`.

    {"name": "cot-42-4be2a1f0", "config": {"seed": "42", ...}, "points": {"train/loss": [[1, 3.9], [2, 3.7], ...]}}

In a process of its own: trackio reads where its files lie when it is imported.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

PACKAGES = ("mlflow", "tensorboard", "trackio")


def environment(folder: Path) -> dict[str, str]:
    """Where the trackers keep what they are shown."""
    return {
        "MLFLOW_TRACKING_URI": f"file:{folder}/mlruns",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "TRACKIO_DIR": f"{folder}/trackio",
    }


def read(tracker: str, folder: Path) -> dict[str, Any]:
    """The run by name, config and points (step, value) of each metric in the order of the steps."""
    command = [sys.executable, __file__, tracker, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment(folder))
    found = json.loads(done.stdout.splitlines()[-1])
    points = defaultdict(list)
    for name, step, value in sorted(found.pop("points")):
        points[name].append((step, value))
    return {**found, "points": dict(points)}


def _mlflow(folder: Path) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("lema_local")
    (run,) = client.search_runs([experiment.experiment_id])
    history = [(name, client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics]
    points = [(name, point.step, point.value) for name, values in history for point in values]
    return {"name": run.info.run_name, "config": run.data.params, "points": points, "status": run.info.status}


def _trackio(folder: Path) -> dict[str, Any]:
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = SQLiteStorage.get_run_records("lema_local")
    logs = SQLiteStorage.get_logs("lema_local", run["name"])
    points = [(name, log["step"], value) for log in logs for name, value in log.items() if "/" in name]
    config = SQLiteStorage.get_run_config("lema_local", run["name"])
    return {"name": run["name"], "config": config, "points": points}


def _tensorboard(folder: Path) -> dict[str, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (board,) = folder.glob("**/tensorboard")
    found = EventAccumulator(str(board), size_guidance={"scalars": 0}).Reload()
    points = [(name, event.step, event.value) for name in found.Tags()["scalars"] for event in found.Scalars(name)]
    text = found.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines()[2:]]
    return {"name": board.parent.name, "config": dict(cells), "points": points}


if __name__ == "__main__":
    read_it = {"mlflow": _mlflow, "trackio": _trackio, "tensorboard": _tensorboard}[sys.argv[1]]
    print(json.dumps(read_it(Path(sys.argv[2]))))
