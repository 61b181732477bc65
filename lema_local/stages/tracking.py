"""What trackers of experiments are shown of training and evaluation: each step, and pass@1 where it was evaluated.

    tracking = Tracking(run)                       # MissingPackageError before anything is trained
    with tracking.showing(shown_run(...)) as showing:
        showing.step(metric)                       # train/loss, train/learning_rate, train/tokens, ...
        showing.evaluation(row)                    # eval/gsm-symbolic/pass_at_1, with its interval

The database is what is true; a tracker is brought up to it whenever a run is opened. So one that fails holds up nothing
and loses nothing: the same command later shows what it lacks.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lema_local.errors import TrainingError
from lema_local.records.types import TrainingMetric, TrainingSet
from lema_local.settings.models import Model
from lema_local.settings.training import TrainingSettings
from lema_local.stages.run import Run
from lema_local.training.trackers import Shown, Tracker, open_tracker, refuse_without_tracker, stdout_kept

_OF_STEP = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_gib", "tokens_seen")
_ODD = re.compile(r"[^\w.-]")  # MLflow takes letters, digits and few signs in a metric's name


def trackers(settings: TrainingSettings) -> tuple[str, ...]:
    """Those that the settings name; `tensorboard = true` is one beside report_to."""
    named = [settings.report_to, "tensorboard" if settings.tensorboard else None]
    return tuple(dict.fromkeys(name for name in named if name is not None))


def shown_run(
    run_id: str, training_set: TrainingSet, model: Model, settings: TrainingSettings, directory: Path, *, is_chat: bool
) -> Shown:
    """A run's name, and as config all that makes it what it is. No path of this machine is in it."""
    manifest = json.loads(training_set.manifest)
    given = {name: value for name, value in asdict(settings).items() if name not in ("tensorboard", "report_to")}
    config: dict[str, Any] = {
        "arm": training_set.arm,
        "dataset": training_set.dataset,
        "training_set": training_set.id,
        "cot_examples": training_set.cot_examples,
        "correction_examples": training_set.correction_examples,
        "reference_derived": manifest["reference_derived"],
        "base_model": model.name,
        "base_weights": model.gguf_identity if model.gguf_path else model.hf_identity,
        "is_chat": is_chat,
        **given,
        "save_at": ", ".join(map(str, settings.save_at)),
        "accelerate_config": Path(settings.accelerate_config).name,
    }
    name = f"{training_set.arm}-{settings.seed}-{run_id[:8]}"
    return Shown(
        id=run_id, name=name, group=training_set.id, config=config, directory=directory, max_steps=settings.max_steps
    )


class Showing:
    """One run in the trackers that are open."""

    def __init__(self, opened: dict[str, Tracker], failed: Callable[[str, Exception], None]) -> None:
        self._opened, self._failed = opened, failed
        self._tokens = {0: 0}  # seen, by step

    def step(self, metric: TrainingMetric) -> None:
        """Show what was measured at a step of training."""
        self._tokens[metric.step] = metric.tokens_seen
        values = {f"train/{name}": float(getattr(metric, name)) for name in _OF_STEP}
        before = self._tokens.get(metric.step - 1)
        if before is not None:
            values["train/tokens"] = float(metric.tokens_seen - before)
        self._each(lambda tracker: tracker.show(metric.step, values))

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Show a row of `lema eval --json`: the base model stands at step 0."""
        of = f"{'dev' if row['split'] == 'dev' else 'eval'}/{_ODD.sub('_', row['dataset'])}"
        names = ("pass_at_1", "low", "high", "n", "no_answer", "cut_off")
        values = {f"{of}/{name}": float(row[name]) for name in names}
        self._each(lambda tracker: tracker.show(row["step"], values))

    def close(self, *, max_steps: int) -> None:
        """The end of what is shown now."""
        self._each(lambda tracker: tracker.close(is_whole=max_steps in self._tokens))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._opened.items()):
            try:
                with stdout_kept():
                    act(tracker)
            except Exception as error:  # whatever a tracker raises, training goes on
                del self._opened[name]
                self._failed(name, error)


class Tracking:
    """The trackers that a run's profile names. MissingPackageError where one is not installed."""

    def __init__(self, run: Run) -> None:
        self._run, self._names = run, trackers(run.profile.training)
        self._proven: set[str] = set()
        for name in self._names:
            refuse_without_tracker(name)

    def __bool__(self) -> bool:
        return bool(self._names)

    @contextmanager
    def showing(self, shown: Shown) -> Iterator[Showing]:
        """The run in each tracker, up to what the database has. TrainingError where a tracker takes no run at all; one
        that has taken a run before and fails is left out with a notice."""
        opened: dict[str, Tracker] = {}
        for name in self._names:
            try:
                with stdout_kept():
                    opened[name] = open_tracker(name, shown)
                self._proven.add(name)
            except Exception as error:
                if name not in self._proven:
                    raise TrainingError(
                        f"{name} takes no run ({_in_short(error)}): mend that, or leave --report-to away."
                    ) from error
                self._failed(name, error)
        showing = Showing(opened, self._failed)
        try:
            if opened:
                query = "from training_metric where run_id = $run_id order by step"
                for row in self._run.store.rows(query, run_id=shown.id):
                    showing.step(TrainingMetric(**row))
            yield showing
        finally:
            showing.close(max_steps=shown.max_steps)

    def _failed(self, name: str, error: Exception) -> None:
        self._run.notice(
            f"{name} fails ({_in_short(error)}); the work goes on without it. The same command later shows the rest."
        )


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
